"""What the scripts call for a network of any engine: `with_logits`, `compile_options`, `fit`."""

from contextlib import nullcontext

from common.console import warn
from common.data.dataset import Dataset
from common.errors import UserError
from experiment.film import Film
from experiment.network import keep_network
from experiment.runs.run import Run
from experiment.train.batches import Batches, schedule_of
from experiment.train.recorder import Recorder, advice_on_memory, stop_requests


def with_logits(model, run: Run):
    """The network, with logits (n, 10) at its end: a softmax or sigmoid there is left out.

    Another activation there is a warning. Raises UserError for a Keras network of other
    shapes than `check_shapes` allows.
    """
    if run.custom_engine:
        return model
    import keras  # not at the top: it takes seconds

    check_shapes(model)
    last = model
    while isinstance(last, keras.Model):  # a network may be the last layer of another
        whole, last = last, last.outputs[0]._keras_history.operation
    function = getattr(last, "activation", last)  # of Dense or Activation; or a Softmax itself
    name = getattr(function, "__name__", type(function).__name__).lower().partition("_")[0]
    if name not in ("softmax", "sigmoid"):
        if function is not last and name not in ("linear", "log"):  # log_softmax gives logits
            warn(f"{name} at the network's end limits the logits")
        return model
    run.say(f"note: the {name} at the network's end is left out: loss and tests take logits")
    if function is not last:
        last.activation = keras.activations.linear
    elif isinstance(whole, keras.Sequential):
        whole.pop()
    else:
        return keras.Model(model.input, last.input)
    return model


def check_shapes(model) -> None:
    """Raise UserError unless a model takes (n, 28, 28) or (n, 28, 28, 1), and gives (n, 10)."""
    taken, given = (getattr(model, f"{end}_shape", None) for end in ("input", "output"))
    known = taken in ((None, 28, 28), (None, 28, 28, 1)) and given == (None, 10)
    if not known or isinstance(getattr(model, "output", None), dict | list):  # of one output
        shapes = f"takes {taken} and gives {given}".replace("(None", "(n")
        wanted = 'begin with Input((28, 28), dtype="uint8") and end with Dense(10)'
        raise UserError(f"the network {shapes}; it must {wanted}, a logit for each class")


def compile_options(data: Dataset, run: Run) -> dict:
    """What `model.compile` takes: optimizer, learning-rate schedule, loss, metrics."""
    args, steps_per_epoch = run.args, len(batches_of(data, run))
    if run.custom_engine:
        rate = schedule_of(args, steps_per_epoch)
        return {"optimizer": args.optimizer, "learning_rate": rate, "loss": args.loss}
    from experiment.train import keras_loop  # not at the top: it takes seconds

    return keras_loop.compile_options(args, steps_per_epoch, run.device)


def fit(model, data: Dataset, run: Run) -> None:
    """Train a compiled model, whose outputs are logits (n, 10), by its own `fit`.

    Each epoch adds a row to the run's history.csv and writes a checkpoint, from which training
    resumes. Ctrl-C or SIGTERM ends it after the step in progress (Keras: up to 16 steps). When the
    loss is no longer finite, the model gets back the weights of the epoch before; when memory runs
    out, it keeps those it has. `run.history.failure` says why.
    """
    keep_network(model, run)
    run.film = Film(model, data, run)
    fit_any = fit_from_scratch
    if not run.custom_engine:
        from experiment.train.keras_loop import fit as fit_any
    images, labels = data.validation_images, data.validation_labels
    validation = (images, labels) if len(labels) else None
    if run.args.patience and not validation:
        raise UserError("--patience needs validation images: raise --validation", status=2)
    # Of several processes none can end its training alone: Ctrl-C ends them at once.
    alone = run.device.processes == 1
    with stop_requests(run.history) if alone else nullcontext(), advice_on_memory(run):
        fit_any(model, batches_of(data, run), validation, run)


def batches_of(data: Dataset, run: Run) -> Batches:
    """The training images of a run in batches."""
    return Batches(data, run.args.batch_size, run.args.seed, run.augmentation, run.device)


def fit_from_scratch(network, batches: Batches, validation: tuple | None, run: Run) -> None:
    """Train a `DenseNetwork`."""

    def learning_rate() -> float:
        return network.learning_rate(int(network.steps))

    recorder = Recorder(run, network, batches, network.state, network.restore, learning_rate)
    initial_epoch = recorder.restore_checkpoint()
    network.fit(batches, run.args.epochs, initial_epoch, validation, recorder)
    recorder.finish()
