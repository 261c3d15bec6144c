"""The recipes of published results: of the five student projects that this repository grew from.

docs/published-results.md sets them beside what was reported. They compute in float32, as they were
measured: bfloat16 would repeat them on some processors only.
"""

NETWORKS = ("two_convolutions", "three_convolutions", "growing")  # of `mnist_cnn.py`

# What the projects have in common. Most train at a constant rate and without dropout.
PLAIN = {"precision": "float32", "shift": 0}
CONSTANT = PLAIN | {"dropout": 0, "schedule": "constant"}
THREE_CONVOLUTIONS = {
    **CONSTANT,
    "network": "three_convolutions",
    "filters": 32,
    "validation": 0,
    "epochs": 5,
    "batch_size": 64,
    "learning_rate": 0.001,
}

MNIST_DENSE = {
    "activations": {
        **PLAIN,
        "about": "two hidden layers of 512 with ReLU, tanh and sigmoid",
        "activation": ["relu", "tanh", "sigmoid"],
        "dropout": 0.3,
    },
    "from_scratch": {
        **CONSTANT,
        "about": "in NumPy: three hidden layers, 150 steps of full-batch gradient descent",
        "engine": "numpy",
        "hidden": "256,128,64",
        "initializer": "fan_out_normal",
        "images": 42000,
        "validation": 0.2,
        "epochs": 150,
        "batch_size": "all",
        "optimizer": "sgd",
        "learning_rate": 0.1,
    },
    "low_level": {
        **CONSTANT,
        "about": "in low-level TensorFlow: sigmoid, normal weights, summed loss, 3,055 steps; "
        "with --loss mean the steps are 256 times smaller and learn almost nothing",
        "engine": "tensorflow",
        "hidden": "128,256",
        "activation": "sigmoid",
        "initializer": "standard_normal",
        "loss": "sum",
        "validation": 0,
        "epochs": 13,
        "batch_size": 256,
        "optimizer": "sgd",
        "learning_rate": 0.001,
    },
    "batch_sizes": {
        **CONSTANT,
        "about": "two batch sizes: 128 takes 16 times as many steps in an epoch as 2048",
        "hidden": "64",
        "validation": 0.2,
        "epochs": 100,
        "batch_size": [128, 2048],
        "optimizer": "rmsprop",
        "learning_rate": 0.001,
    },
}
MNIST_DENSE["from_scratch_sizes"] = MNIST_DENSE["from_scratch"] | {
    "about": "from_scratch with four sizes of network",
    "hidden": ["32", "128", "128,32", "256,128,64"],
}

MNIST_CNN = {
    "three_convolutions": {
        **THREE_CONVOLUTIONS,
        "about": "three convolutions, five epochs, Keras's defaults, batches of 64",
    },
    "growing": {
        **CONSTANT,
        "about": "three pooled convolutions of 16, 128 and 256 filters, 100 epochs",
        "network": "growing",
        "filters": 16,
        "dropout": 0.25,
        "validation": 0.2,
        "epochs": 100,
        "batch_size": 2048,
        "learning_rate": 0.001,
    },
    "depth": {
        **CONSTANT,
        "about": "one to four convolutions, each pooled, without regularization",
        "network": "pooled",
        "blocks": [1, 2, 3, 4],
        "filters": 16,
        "epochs": 8,
        "learning_rate": 0.002,
    },
    "unscaled": {
        **CONSTANT,
        "about": "two convolutions and one pooling on pixels from 0 to 255, Keras's defaults",
        "network": "two_convolutions",
        "rescale": False,
        "validation": 0.02,
        "epochs": 10,
        "batch_size": 32,
        "learning_rate": 0.001,
    },
}

FASHION_CNN_AUGMENT = {
    "image_data_generator": {
        **THREE_CONVOLUTIONS,
        "about": "flipped, shifted, rotated and zoomed by Keras's own ImageDataGenerator",
        "augmenter": "keras",
        "flip": True,
        "shift": 3,
        "rotation": 10,
        "zoom": 0.1,
        "label_smoothing": 0,
    },
}
