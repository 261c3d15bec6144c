"""Find a learning rate: it rises from step to step, and the loss shows at which rates it learns.

The script's own network, with any of its options, is trained on its own batches while the rate
rises from 1e-6 to 10 (Smith 2017, https://arxiv.org/abs/1506.01186, section 3.3; here each step
multiplies the rate). The figure, `learning_rate/<script>-<recipe>.png` in the results folder, marks
where the loss starts to fall, where it diverges, and the recipe's own rate. No validation or test
image is looked at.

    python -m tools.learning_rate mnist_cnn.py
    python -m tools.learning_rate mnist_dense.py --recipe best --optimizer sgd
"""

import contextlib
import importlib
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from unittest import mock

if not __package__:  # started as a file: python tools/learning_rate.py
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from common.console import say
from common.data.dataset import Dataset
from common.data.load import load
from common.errors import UserError, one_line_errors
from common.files import REPOSITORY, atomic_path
from experiment import command_line
from experiment.backend.device import prepare, set_seed
from experiment.runs.run import Run
from experiment.train.fit import batches_of
from experiment.values import one_of
from tools.command_line import ToolParser

LOWEST, HIGHEST = 1e-6, 10
STEPS, FEWEST = 200, 50
SECONDS = 10  # of training, about: where a step is slow, there are fewer of them
WARM_UP = 3  # steps at the lowest rate, in which the engine sets itself up
DIVERGED = 4  # times the first loss: then higher rates need not be tried
SMOOTHING = 0.02  # of the whole range, the standard deviation of a Gaussian
FALL, RISE = 0.1, 0.5  # fractions of the whole fall, after which the loss falls or diverges
FALLS, DIVERGES, OWN = "the loss starts to fall at", "it diverges at", "the recipe's own rate is"


def main(argv: Sequence[str] = ()) -> None:
    """Test the learning rates of the script that `argv` names, and draw the loss at each."""
    parser = ToolParser("learning_rate", __doc__)
    known = one_of("script", [path.stem for path in REPOSITORY.glob("*.py")])
    kind = {"metavar": "SCRIPT", "type": lambda text: known(Path(text).stem)}
    parser.add_argument("script", **kind, help="such as mnist_cnn.py, and then its own options")
    args, options = parser.parse_known_args(argv)
    script = importlib.import_module(args.script)
    with one_line_errors(args.debug):
        run, rates, losses = range_test(script, options)
        smooth = smoothed(rates, losses)
        marks = marked_rates(rates, smooth) | {OWN: run.args.learning_rate}
        path = args.results_dir / "learning_rate" / f"{args.script}-{run.args.recipe}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as partial:
            draw(run, rates, losses, smooth, marks).savefig(partial, dpi=100)
        say(", ".join(f"{name} {rate:.2g}" for name, rate in marks.items()))
        say(f"loss by learning rate in a figure: {path}")


def range_test(script: ModuleType, options: Sequence[str]) -> tuple[Run, np.ndarray, np.ndarray]:
    """Try rising rates in the script's own main(): the run, the rates, and the loss at each.

    Nothing is saved. Raises UserError for options of several runs.
    """
    found = []

    @contextlib.contextmanager
    def open_run(file, description, dataset, recipes, own, argv) -> Iterator["OneRun"]:
        args = command_line.parse(file, description, recipes, own, argv)
        if len(args.combinations) * len(args.seeds) > 1:
            raise UserError("give each option one value, and one seed", status=2)
        args.schedule = "constant"  # which can be changed at each step
        data = load(dataset, args.data, args.data_dir, args.quiet)
        engine = vars(args).get("engine", "keras")
        run = Run(Path(), args, data, prepare(engine, args.precision, devices=1))
        if not run.custom_engine:
            set_seed(args.seed)
        yield OneRun([run])

    def fit(model, data, run) -> None:
        found.extend([run, *rising_rates(one_step(model, data, run))])

    of_a_run = {"open_experiment": open_run, "fit": fit, "report": lambda *_: None}
    with mock.patch.multiple(script, **of_a_run):
        script.main(options)
    return tuple(found)


class OneRun(list):
    """What `open_experiment` gives, for one run that leaves no folder."""

    results = None


def one_step(model, data: Dataset, run: Run) -> Callable[[int, float], float]:
    """A training step with a number and a learning rate: the loss of its batch, before it."""
    batches = batches_of(data, run)
    whole = max(1, batches.images_per_epoch // batches.batch_size)  # others would be traced anew

    def step(number: int, rate: float) -> float:
        epoch, batch = divmod(number, whole)
        if epoch != batches.epoch:
            batches.start_epoch(epoch)
        images, labels = batches[batch]
        if run.custom_engine:
            return float(model.train_step(images, labels, rate, batches.dropout_seed(batch))[0])
        model.optimizer.learning_rate = rate
        model.steps_per_execution = 1
        return float(model.train_on_batch(images, labels, return_dict=True)["loss"])

    return step


@np.errstate(all="ignore")  # an overflow shows in the loss
def rising_rates(step: Callable[[int, float], float]) -> tuple[np.ndarray, np.ndarray]:
    """The learning rates of a range test, and the loss at each, as long as it is no huge one."""
    seconds = []
    for number in range(WARM_UP):
        began = time.perf_counter()
        first = step(number, LOWEST)
        seconds.append(time.perf_counter() - began)
    steps = max(FEWEST, min(STEPS, int(SECONDS / min(seconds))))
    rates, losses = np.geomspace(LOWEST, HIGHEST, steps), []
    for number, rate in enumerate(rates.tolist(), WARM_UP):
        loss = step(number, rate)
        if not math.isfinite(loss):
            break
        losses.append(loss)
        if loss > DIVERGED * first:
            break
    return rates[: len(losses)], np.array(losses)


def smoothed(rates: np.ndarray, losses: np.ndarray) -> np.ndarray:
    """Losses (n,) without most of the noise of single batches, as means of their logarithms."""
    from scipy.ndimage import gaussian_filter1d

    steps = SMOOTHING * math.log(HIGHEST / LOWEST) / math.log(rates[1] / rates[0])
    return np.exp(gaussian_filter1d(np.log(np.maximum(losses, 1e-9)), steps, mode="nearest"))


def marked_rates(rates: np.ndarray, losses: np.ndarray) -> dict[str, float]:
    """At which rates a smooth loss starts to fall and diverges, where it does."""
    lowest = int(losses.argmin())
    first, fall = losses[0], losses[0] - losses[lowest]
    marks = {}
    if fall > FALL * first:
        falling = np.flatnonzero(losses < first - FALL * fall)
        marks[FALLS] = rates[falling[0]]
        rising = np.flatnonzero(losses[lowest:] > losses[lowest] + RISE * fall)
        if rising.size:
            marks[DIVERGES] = rates[lowest + rising[0]]
    return marks


def draw(run: Run, rates, losses, smooth, marks: dict[str, float]):
    """The matplotlib Figure of the losses by learning rate, with the marked rates."""
    from common.plotting import style  # not at the top: --help need not wait for matplotlib

    caption = (
        f"Each dot is the loss of one training batch, before a step of {run.args.optimizer} at "
        "that learning rate; the rate rises from step to step, and the weights are those that "
        "the steps before have left. It diverges where the smoothed loss has risen by half of its "
        "fall. A good rate is well above the one at which the loss starts to fall, and well below "
        "that one."
    )
    title = f"{run.args.script} · {run.args.recipe} · {run.dataset.title} · learning rates"
    figure = style.titled(title, caption, 5.5)
    axes = figure.subplots()
    axes.plot(rates, losses, "o", color="0.7", ms=3, label="a batch")
    axes.plot(rates, smooth, color=style.COLOURS[0], lw=2, label="smoothed")
    looks = {
        FALLS: (style.COLOURS[2], ":"),
        DIVERGES: (style.WRONG_COLOUR, "--"),
        OWN: ("black", "-"),
    }
    for name, rate in marks.items():
        colour, line = looks[name]
        axes.axvline(rate, color=colour, ls=line, label=f"{name} {rate:.2g}")
    style.set_quantity(axes, "loss")
    axes.set(xlabel="learning rate", ylabel="loss of a training batch", xscale="log")
    axes.set(xlim=(LOWEST, HIGHEST), ylim=(0.7 * smooth.min(), 2 * losses[0]))
    axes.legend(loc="lower left")
    return figure


if __name__ == "__main__":
    main(sys.argv[1:])
