"""Training a Keras model by Keras's own `fit`, on any backend and any number of devices."""

import itertools
import sys
from argparse import Namespace
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import keras
import numpy as np

from common.errors import UserError
from experiment.backend.device import Device
from experiment.backend.processes import peer_watchdog
from experiment.backend.replicas import replica_scopes
from experiment.runs.checkpoints import share_checkpoint
from experiment.runs.run import Run
from experiment.train.batches import Batches, Schedule, schedule_of
from experiment.train.recorder import Recorder

# Steps for each return to Python, which is slow; Ctrl-C waits for no more than these.
STEPS_PER_EXECUTION = 16
IMAGES_AT_ONCE = 2048  # from Python to TensorFlow, at least a batch


def compile_options(args: Namespace, steps_per_epoch: int, device: Device) -> dict:
    """The keyword arguments of `model.compile`."""
    metrics = [keras.metrics.SparseCategoricalAccuracy(name="accuracy")]
    if args.label_smoothing or vars(args).get("loss") == "sum":
        # History holds the mean cross-entropy all the same, so that runs can be compared.
        metrics.append(keras.metrics.SparseCategoricalCrossentropy(name="mean", from_logits=True))
    # Keras runs single steps on PyTorch, and with TensorFlow on several devices.
    single = device.count > 1 or device.backend == "torch"
    return {
        "optimizer": make_optimizer(args, schedule_of(args, steps_per_epoch), device),
        "loss": make_loss(args),
        "metrics": metrics,
        "steps_per_execution": 1 if single else min(STEPS_PER_EXECUTION, steps_per_epoch),
    }


def make_loss(args: Namespace):
    """The cross-entropy of labels (n,) and logits (n, 10) that the options name."""
    total = vars(args).get("loss") == "sum"
    if not args.label_smoothing:
        reduction = "sum" if total else "sum_over_batch_size"
        return keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction=reduction)

    def smoothed_cross_entropy(labels, logits):
        """Keras smooths one-hot labels (https://arxiv.org/abs/1512.00567)."""
        one_hot = keras.ops.one_hot(keras.ops.cast(labels, "int32"), logits.shape[-1])
        options = {"from_logits": True, "label_smoothing": args.label_smoothing}
        losses = keras.losses.categorical_crossentropy(one_hot, logits, **options)
        return keras.ops.sum(losses) if total else losses

    return smoothed_cross_entropy


def make_optimizer(args: Namespace, schedule: Schedule, device: Device) -> keras.Optimizer:
    """The optimizer that the options name, with its schedule; UserError where Keras lacks it."""
    rate = args.learning_rate if args.schedule == "constant" else Rates(schedule)
    if args.optimizer == "momentum":
        return keras.optimizers.SGD(rate, momentum=0.9)
    classes = {name.lower(): kind for name, kind in vars(keras.optimizers).items()}
    if keras.backend.backend() == "tensorflow" and device.count == 1:
        classes["adam"] = FusedAdam
    if args.optimizer == "adam_short":  # averages over about 5 and 20 steps, not 10 and 1,000
        return classes["adam"](rate, beta_1=0.8, beta_2=0.95)
    if args.optimizer not in classes:
        older = f"Keras {keras.__version__} has no optimizer {args.optimizer}"
        raise UserError(f"{older}: choose another, or pip install --upgrade keras", status=2)
    return classes[args.optimizer](rate)


class FusedAdam(keras.optimizers.Adam):
    """Keras's Adam as one operation of TensorFlow for each variable, instead of fifteen."""

    def update_step(self, gradient, variable, learning_rate):
        import tensorflow as tf

        index, kind = self._get_variable_index(variable), variable.dtype
        step = tf.cast(self.iterations + 1, kind)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=self.beta_1**step,
            beta2_power=self.beta_2**step,
            lr=tf.cast(learning_rate, kind),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=tf.cast(gradient, kind),
        )


class Rates(keras.optimizers.schedules.LearningRateSchedule):
    """A `Schedule` as Keras takes it: the rate of each step, from a table."""

    def __init__(self, schedule: Schedule) -> None:
        self.rates = np.array([schedule(step) for step in range(schedule.steps + 1)], np.float32)

    def __call__(self, step):
        return keras.ops.take(self.rates, keras.ops.minimum(step, len(self.rates) - 1))


def fit(model: keras.Model, batches: Batches, validation: tuple | None, run: Run) -> None:
    """Train a compiled model. Where several devices share each batch, they train a copy of it."""
    several, (creating, training) = run.device.count > 1, replica_scopes(run.device)
    with creating:
        trained = replica(model, batches, run) if several else model
        # With its variables there from the start, TensorFlow traces the network once, not twice.
        trained.optimizer.build(trained.trainable_variables)
    variables = [*trained.variables, *trained.optimizer.variables]  # dropout's state included
    read, write = partial(values_of, variables), partial(assign, variables)
    recorder = Recorder(run, trained, batches, read, write, partial(rate_of, trained.optimizer))
    # Keras's progress bar redraws its line, which only a terminal can show.
    recorder.progress_bar = sys.stdout.isatty() and not run.args.quiet
    calls = ("on_epoch_begin", "on_train_batch_end", "on_test_begin", "on_epoch_end")
    callback = keras.callbacks.LambdaCallback(**{name: getattr(recorder, name) for name in calls})
    logs = []
    if run.args.tensorboard:
        logs = [keras.callbacks.TensorBoard(run.folder / "tensorboard", write_graph=False)]
    if several and validation:
        recorder.evaluate = partial(evaluate_on_one, model, trained, validation)
    plain = not (several or trained.run_eagerly or trained.jit_compile)
    if run.device.backend == "tensorflow" and plain:
        trained.train_function = train_function(trained, len(batches))
    with training, peer_watchdog(run.device.process, run.device.processes):
        if run.device.processes > 1:
            share_checkpoint(run.folder, run.device.process)
        trained.fit(
            to_dataset(batches),
            initial_epoch=recorder.restore_checkpoint(),
            epochs=run.args.epochs,
            shuffle=False,  # Batches does, from the run's seed; Keras would from the global state
            validation_data=None if several else validation,
            validation_batch_size=1000,
            verbose=int(recorder.progress_bar),
            callbacks=[callback, ProgressBar(), *logs],
        )
    trained.train_function = None  # whoever calls `fit` next has other batches
    recorder.finish()
    if several:
        model.set_weights(trained.get_weights())


def train_function(model: keras.Model, steps_per_epoch: int):
    """What Keras's `fit` calls for its next 16 steps, for TensorFlow.

    It does the same as the function that Keras would make. AutoGraph, which would have to rewrite
    all of Keras's Python for that, is left out: training begins earlier by a third of a second.
    """
    import tensorflow as tf

    @tf.function(autograph=False)
    def train(iterator, steps):
        def step(done):
            model.train_step(iterator.get_next())
            return done + 1

        tf.while_loop(lambda done: done < steps, step, [tf.constant(0)], parallel_iterations=1)
        return model.get_metrics_result()

    most = model.steps_per_execution
    rests = range(steps_per_epoch, 0, -most)  # the steps that are left of an epoch
    counts = itertools.cycle([tf.constant(min(most, rest)) for rest in rests])
    return lambda iterator: train(iterator, next(counts))


class ProgressBar(keras.callbacks.ProgbarLogger):
    """Keras's own, which counts past the end of an epoch where it takes several steps at once."""

    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_end(min(batch, self.target - 1), logs)


def replica(model: keras.Model, batches: Batches, run: Run) -> keras.Model:
    """A compiled copy, whose batch normalization sees the whole batch, as on one device."""
    copy = copy_of(model)
    for layer in copy.layers:
        if isinstance(layer, keras.layers.BatchNormalization):  # JAX does so by itself
            layer.synchronized = run.device.backend == "tensorflow"
    copy.compile(**compile_options(run.args, len(batches), run.device))
    return copy


def copy_of(model: keras.Model) -> keras.Model:
    """A network like `model`, with the same weights and the same state of dropout."""
    copy = type(model).from_config(model.get_config())
    assign(copy.variables, values_of(model.variables))
    return copy


def evaluate_on_one(model, trained, validation: tuple) -> dict[str, float]:
    """Loss and accuracy on one device: several cannot always share the images evenly."""
    model.set_weights(trained.get_weights())
    spread = keras.distribution.distribution()
    keras.distribution.set_distribution(None)
    try:
        return model.evaluate(*validation, batch_size=1000, verbose=0, return_dict=True)
    finally:
        keras.distribution.set_distribution(spread)


def rate_of(optimizer: keras.optimizers.Optimizer) -> np.ndarray:
    """The learning rate of the next step, on one device or mirrored on several."""
    return keras.ops.convert_to_numpy(optimizer.learning_rate)


def values_of(variables: list) -> list[np.ndarray]:
    """Copies of the values of variables."""
    return [variable.numpy() for variable in variables]


def assign(variables: list, state: list[np.ndarray]) -> None:
    """Put values back into variables."""
    for variable, values in zip(variables, state, strict=True):
        variable.assign(values)


def to_dataset(batches: Batches):
    """Batches as `fit` takes them."""
    if keras.backend.backend() != "tensorflow":
        return BatchSequence(batches)
    import tensorflow as tf

    arrays = (batches.images, batches.labels)
    specs = tuple(tf.TensorSpec((None, *array.shape[1:]), array.dtype) for array in arrays)
    blocks = tf.data.Dataset.from_generator(partial(blocks_of, batches), output_signature=specs)
    # Keras would leave it to TensorFlow to tune: a thread that takes time from the training, and is
    # sometimes waited for at its end, for seconds.
    options = tf.data.Options()
    options.autotune.enabled = False
    counted = tf.data.experimental.assert_cardinality(len(batches))
    return blocks.rebatch(batches.batch_size).apply(counted).with_options(options)


def blocks_of(batches: Batches) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Images and labels of several batches at a time, while the next are being prepared.

    With deterministic operations, TensorFlow's own `prefetch` would wait for them.
    """
    numbers, count = range(len(batches)), max(1, IMAGES_AT_ONCE // batches.batch_size)
    blocks = ([batches[n] for n in numbers[first : first + count]] for first in numbers[::count])
    joined = (tuple(map(np.concatenate, zip(*block, strict=True))) for block in blocks)
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, joined, None)
        while ready := coming.result():
            coming = thread.submit(next, joined, None)
            yield ready


class BatchSequence(keras.utils.PyDataset):
    """Batches as `fit` takes them on JAX and PyTorch."""

    def __init__(self, batches: Batches) -> None:
        super().__init__()
        self.batches = batches

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, batch):
        return self.batches[batch]
