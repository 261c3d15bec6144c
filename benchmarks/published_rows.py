"""What the five projects report, and the commands that measure it here."""

from dataclasses import dataclass

TEST, TRAINING, VALIDATION, LOSS = (
    "test_accuracy training_accuracy validation_accuracy test_loss".split()
)
QUANTITIES = {TEST: "test", TRAINING: "training", VALIDATION: "validation", LOSS: "test loss"}
DENSE, CNN = "mnist_dense.py --recipe", "mnist_cnn.py --recipe"
BATCHES = f"{DENSE} batch_sizes"
SIZES = (32, 64, 128, 256, 512, 1024, 2048, 4096)  # of the sweep over batch sizes
CLASSICAL = "-m benchmarks.classical"
# What each record is measured with, in this order. NAME/MEMBER is one member of a record.
COMMANDS = {
    "untrained": f"{BATCHES} --epochs 0 --batch-size 128 --repeats 100",
    "batch_sizes_5_epochs": f"{BATCHES} --epochs 5",
    "depth_few_images": f"{CNN} depth --images 2000 --validation 0.5 --epochs 40",
    "low_level": f"{DENSE} low_level",
    "batch_sizes": BATCHES,
    "batch_size_sweep": f"{BATCHES} --epochs 5 --batch-size {' '.join(map(str, SIZES))}",
    **{
        f"batch_size_scaled/batch-size-{size}": f"{BATCHES} --epochs 5 --batch-size {size} "
        f"--learning-rate {0.001 * (size / 128) ** 0.5:.3g} --repeats 5"
        for size in SIZES
    },
    "from_scratch_sizes": f"{DENSE} from_scratch_sizes",
    "dense_unscaled": f"{DENSE} activations --activation relu --no-rescale",
    "three_convolutions": f"{CNN} three_convolutions",
    "low_level_adam": f"{DENSE} low_level --optimizer adam",
    "low_level_layers": f"{DENSE} low_level --hidden 128,256,256",
    "low_level_shift": f"{DENSE} low_level --shift 1",
    "activations": f"{DENSE} activations",
    "three_convolutions_unscaled": f"{CNN} three_convolutions --no-rescale",
    "image_data_generator": "fashion_cnn_augment.py --recipe image_data_generator",
    "unscaled": f"{CNN} unscaled",
    "classical": CLASSICAL,
    "depth": f"{CNN} depth",
    "mnist_cnn_default": "mnist_cnn.py",
    "growing": f"{CNN} growing",
    "unshifted": "mnist_cnn.py --shift 0",
}


@dataclass(frozen=True)
class Row:
    """A system that a project describes, and the record of it here."""

    id: str
    system: str
    record: str
    member: str = ""
    reported: dict[str, float] | None = None  # by measure; None where there is no number
    above: bool = False  # reported is "more than this"


def published(id: str, system: str, record: str, member: str = "", above=False, **reported) -> Row:
    """A row with reported numbers."""
    return Row(id, system, record, member, reported, above)


CLAIMS = (
    published("A2", "CNN", "three_convolutions", above=True, test_accuracy=0.99),
    published("A3", "Fashion CNN", "image_data_generator", above=True, test_accuracy=0.90),
    published(
        "B1",
        "256-128-64 units",
        "from_scratch_sizes",
        "hidden-256,128,64",
        validation_accuracy=0.92,
        training_accuracy=0.927,
    ),
    published("B2", "32 units", "from_scratch_sizes", "hidden-32", validation_accuracy=0.83),
    published(
        "B2", "32 units, notebook", "from_scratch_sizes", "hidden-32", validation_accuracy=0.8405
    ),
    published(
        "B2",
        "128-32 units, notebook",
        "from_scratch_sizes",
        "hidden-128,32",
        validation_accuracy=0.9032,
    ),
    published(
        "B2", "128 units, notebook", "from_scratch_sizes", "hidden-128", validation_accuracy=0.9067
    ),
    published(
        "C1", "CNN, pixels 0 to 255", "unscaled", test_accuracy=0.9815, training_accuracy=0.9951
    ),
    published(
        "D1", "low-level TensorFlow", "low_level", test_accuracy=0.902, training_accuracy=0.921
    ),
    *(
        published("E1", system, record, member, test_accuracy=0.1263, test_loss=2.3577)
        for system, record, member in (
            ("batch 128, 100 epochs", "batch_sizes", "batch-size-128"),
            ("batch 128, 5 epochs (a guess)", "batch_sizes_5_epochs", "batch-size-128"),
            ("untrained (a guess)", "untrained", ""),
        )
    ),
    *(
        published("E2", system, record, "batch-size-2048", test_accuracy=0.9206, test_loss=0.2843)
        for system, record in (
            ("batch 2048, 100 epochs", "batch_sizes"),
            ("batch 2048, 5 epochs (a guess)", "batch_sizes_5_epochs"),
        )
    ),
    published("E3", "CNN", "growing", test_accuracy=0.9936, test_loss=0.0219),
)
INSIGHTS = (
    *(
        Row("A1", f"dense, {name}", "activations", f"activation-{name}")
        for name in ("relu", "tanh", "sigmoid")
    ),
    Row("A1", "dense, relu, pixels 0 to 255", "dense_unscaled"),
    Row("A2", "CNN, pixels 0 to 255", "three_convolutions_unscaled"),
    *(
        Row("A4", f"{system}, depth {n}", record, f"blocks-{n}")
        for system, record in (("CNN", "depth"), ("CNN on 1,000 images", "depth_few_images"))
        for n in (1, 2, 3, 4)
    ),
    Row("A5", "CNN, default", "mnist_cnn_default"),
    *(
        Row("A5", method, "classical", method)
        for method in (
            "RBF SVM (C 10)",
            "PCA (50), k-nearest neighbours",
            "k-nearest neighbours (k 3)",
            "linear SVM (C 0.1)",
        )
    ),
    Row("D1", "with Adam", "low_level_adam"),
    Row("D1", "with a third layer of 256", "low_level_layers"),
    Row("D1", "with shifts of a pixel", "low_level_shift"),
    Row("E3", "default CNN, without shifts", "unshifted"),
)
