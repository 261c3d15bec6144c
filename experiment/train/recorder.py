"""The recorder: a row of history and a checkpoint an epoch, and what ends training early."""

import contextlib
import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from common.console import say, warn
from common.errors import UserError, out_of_memory
from experiment.runs.checkpoints import check_fits, load_checkpoint, read_best, save_checkpoint
from experiment.runs.history import History, write_history
from experiment.runs.run import Run
from experiment.train.batches import DROPOUT, Batches

# Ctrl-C, the request of other programs, and, not on Windows, a terminal that is closed.
SIGNALS = [getattr(signal, n) for n in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, n)]


@dataclass
class Recorder:
    """Called by `fit` as a Keras callback is, whatever the engine."""

    run: Run
    model: object  # Keras's or a DenseNetwork; `stop_training` ends its `fit`
    batches: Batches
    read: Callable[[], list[np.ndarray]]  # weights, the state of optimizer and dropout
    write: Callable[[list[np.ndarray]], None]
    learning_rate: Callable[[], float]  # of the next step
    evaluate: Callable[[], dict] | None = None  # where `fit` does not validate by itself
    progress_bar: bool = False  # which shows the epochs already

    def __post_init__(self) -> None:
        """Start the clock."""
        self.history, self.warned, self.began = self.run.history, False, time.perf_counter()
        self.best = None  # with --patience, the state after the best epoch

    def restore_checkpoint(self) -> int:
        """Resume from the checkpoint in the run's folder: the number of epochs that are done."""
        if checkpoint := load_checkpoint(self.run.folder):
            check_fits(checkpoint.state, self.read())
            self.write(checkpoint.state)
            self.history.rows = checkpoint.history.rows
            self.began -= checkpoint.history.seconds
            self.run.say(f"resuming after epoch {len(self.history.rows)}")
            self.note_best(checkpoint.state)
        write_history(self.run.folder, self.history)
        return self.run.args.epochs if self.history.out_of_patience else len(self.history.rows)

    @property
    def seconds(self) -> float:
        """How long training has taken, including that before it was resumed."""
        return time.perf_counter() - self.began

    @property
    def should_stop(self) -> bool:
        """Whether training is to end now."""
        return bool(self.history.stopped or self.history.failure or self.history.out_of_patience)

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Shuffle and start the clock."""
        self.batches.start_epoch(epoch)
        if torch := sys.modules.get("torch"):  # which draws dropout from a state of its own
            seeds = np.random.SeedSequence((self.batches.seed, DROPOUT, epoch))
            torch.manual_seed(seeds.generate_state(1)[0])
        self.epoch_began, self.epoch_seconds, self.cut_short = time.perf_counter(), None, False

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Stop in mid-epoch; an epoch whose last batch this was is recorded first."""
        if self.should_stop and batch + 1 < len(self.batches):
            self.cut_short = self.model.stop_training = True

    def on_test_begin(self, logs: dict | None = None) -> None:
        """Stop the clock: validation is not training."""
        self.epoch_seconds = time.perf_counter() - self.epoch_began

    def on_epoch_end(self, epoch: int, logs: dict) -> None:
        """Keep a completed epoch's row and checkpoint, or end training if it has failed."""
        if self.cut_short:
            return
        seconds = self.epoch_seconds or time.perf_counter() - self.epoch_began
        if self.evaluate:
            logs = logs | {f"val_{name}": value for name, value in self.evaluate().items()}
        state = self.read()
        if problem := not_finite(logs, state):
            self.fail(f"{problem} in epoch {epoch + 1}")
        else:
            row = row_of(epoch, seconds, self.learning_rate(), logs)
            self.history.rows.append(row)
            self.history.seconds = self.seconds
            if self.run.film:  # before the checkpoint: a resumed run lacks no frame
                self.run.film.add(epoch + 1)
            self.save(state)  # which keeps the best checkpoint of the epochs before this one
            self.note_best(state)
            if not self.progress_bar:
                self.run.say(epoch_line(row, self.run.args.epochs))
        self.model.stop_training = self.should_stop

    def note_best(self, state: list[np.ndarray]) -> None:
        """With --patience, note which epoch was the best, and keep its state.

        All follows from the rows of history, so that a resumed run stops where it would have.
        """
        if patience := self.run.args.patience:
            losses = self.history.column("validation_loss")
            self.history.kept = best = losses.index(min(losses)) + 1
            self.history.out_of_patience = len(losses) - best >= patience
            if best == len(losses):
                self.best = state
            elif self.best is None:  # the run was resumed
                self.best = read_best(self.run.folder, best)

    def finish(self) -> None:
        """Stop the clock, and with --patience put back the best epoch's weights, and say so."""
        args, kept = self.run.args, self.history.kept
        self.history.seconds = self.seconds
        if self.best is None or self.history.failure:
            return
        self.write(self.best)
        self.run.say(
            f"trained {len(self.history.rows)} of {args.epochs} epochs, and kept the weights of "
            f"epoch {kept}, with the lowest validation loss"
        )
        if args.schedule != "constant" and kept < args.epochs:
            rate = self.history.rows[kept - 1]["learning_rate"]
            advice = "fewer --epochs or --schedule constant may be better"
            self.run.say(f"note: the learning rate was not yet annealed, {rate:.2g}: {advice}")

    def save(self, state: list[np.ndarray]) -> None:
        """Write history and checkpoint, or warn: they are written again later."""
        try:
            write_history(self.run.folder, self.history)
            save_checkpoint(self.run.folder, self.history, state)
        except UserError as error:
            if not self.warned:
                warn(f"{error}; training goes on")
            self.warned = True

    def fail(self, problem: str) -> None:
        """End training, with the weights of the last good epoch where there is one."""
        kept = "no epoch before it was completed"
        if checkpoint := load_checkpoint(self.run.folder):
            self.write(checkpoint.state)
            kept = f"the weights of epoch {len(checkpoint.history.rows)} are in {self.run.folder}"
        advice = f"lower --learning-rate (it was {self.run.args.learning_rate:g})"
        self.history.failure = f"{problem}: {advice}; {kept}"


def not_finite(logs: dict, state: list[np.ndarray]) -> str | None:
    """What in an epoch's measurements or in the trained state is not a finite number."""
    for loss in (logs["loss"], logs.get("val_loss", 0)):
        if not math.isfinite(loss):
            return f"the loss became {loss}"
    whole = all(np.isfinite(values).all() for values in state)
    return None if whole else "the weights became infinite or not a number"


def row_of(epoch: int, seconds: float, learning_rate: float, logs: dict) -> dict[str, float]:
    """An epoch's row of history, with the mean cross-entropy for another loss."""
    loss = "mean" if "mean" in logs else "loss"
    return {
        "epoch": epoch + 1,
        "seconds": round(seconds, 3),
        "learning_rate": float(learning_rate),
        "loss": float(logs[loss]),
        "accuracy": float(logs["accuracy"]),
        "validation_loss": float(logs.get(f"val_{loss}", math.nan)),
        "validation_accuracy": float(logs.get("val_accuracy", math.nan)),
    }


def epoch_line(row: dict[str, float], epochs: int) -> str:
    """One epoch's row in words."""
    line = f"epoch {row['epoch']:>{len(str(epochs))}}/{epochs}  {row['seconds']:5.1f} s"
    line += "   training: loss {loss:.4f}, accuracy {accuracy:.2%}".format(**row)
    if math.isnan(row["validation_loss"]):  # there are no validation images
        return line
    measured = "loss {validation_loss:.4f}, accuracy {validation_accuracy:.2%}".format(**row)
    return f"{line}   validation: {measured}"


@contextlib.contextmanager
def stop_requests(history: History) -> Iterator[None]:
    """Note the first of `SIGNALS` in `history.stopped`; a second one ends at once."""
    if threading.current_thread() is not threading.main_thread():  # which alone handles signals
        yield
        return

    def note(number: int, frame: object) -> None:
        if history.stopped:
            raise KeyboardInterrupt(number)
        history.stopped = number
        say("", "stopping as soon as everything is saved (again: at once)", stderr=True)

    ignored = signal.getsignal(SIGNALS[-1]) == signal.SIG_IGN  # SIGHUP, by nohup
    numbers = SIGNALS[: len(SIGNALS) - ignored]
    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def advice_on_memory(run: Run) -> Iterator[None]:
    """Turn an engine's out-of-memory error into a failure that names a smaller batch size."""
    try:
        yield
    except Exception as error:
        if not out_of_memory(error):
            raise
        size = run.args.batch_size
        advice = f"try --batch-size {1000 if size == 'all' else max(size // 2, 1)}"
        run.history.failure = f"out of memory with batches of {size} images: {advice}"
