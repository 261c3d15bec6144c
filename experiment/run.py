"""One call of a script: a run for each combination of options and each seed, often just one."""

import contextlib
import os
import tempfile
import zlib
from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from common.console import say, warn
from common.data.dataset import Dataset
from common.data.load import load
from common.errors import Interrupted, UserError, one_line_errors
from common.files import write_json
from experiment.backend.device import NUMPY_DEVICE, Device, prepare, set_seed
from experiment.backend.processes import check_alike
from experiment.command_line import as_words, parse
from experiment.gallery.live import kept_live
from experiment.gallery.page import refresh, refresh_after
from experiment.options import OPTIONS, SETTINGS
from experiment.report import show
from experiment.resume import resumed_options
from experiment.runs.checkpoints import load_checkpoint
from experiment.runs.folder import (
    MARKER,
    STARTED,
    create_folder,
    keep_script,
    lock,
    mark_finished,
    mark_unfinished,
    metrics_of_finished,
    read_config,
    read_metrics,
    remove_partial_files,
    why_unfinished,
    writable_folder,
)
from experiment.runs.history import read_history
from experiment.runs.run import Run, configuration, git_commit, resumed_configuration
from experiment.summary import Group, report_sweep, result_line, summarise
from experiment.values import as_list, in_words

LONGEST_NAME = 160  # of a folder, in characters
STOPPED = "stopped on request; everything up to then is saved"


@contextlib.contextmanager
def open_experiment(
    script: str,
    description: str,
    dataset: str,
    recipes: dict[str, dict],
    options: dict[str, str | dict[str, str]],
    argv: str | Sequence[str] = (),
) -> Iterator["Runs"]:
    """The runs that a command line asks for, to be trained one after the other.

    `script` is the script's `__file__`, `description` its docstring, `dataset` "mnist" or
    "fashion_mnist"; see `command_line.parse` for the rest. Creates the folder
    `results/<script>/<name>`, or continues in the one that is resumed, and prints the result at
    the end. A UserError is printed as one line, and sets the exit status.
    """
    with one_line_errors("--debug" in argv), contextlib.ExitStack() as stack:
        args = parse(script, description, recipes, options, as_words(argv))
        args = resumed_options(args) if args.resume else args
        folder = writable_folder(args.results_dir / args.script)  # fail now, not after loading
        data = load(dataset, args.data, args.data_dir, args.quiet)
        engine = vars(args).get("engine", "keras")
        device = prepare(engine, args.precision, args.devices, args.distributed, args.batch_size)
        if device.processes > 1:
            alike = {key: vars(args)[key] for key in SETTINGS if key in args}
            check_alike([alike, data.fingerprint, device.precision, device.count])
        if device.process:  # all compute the same results: the first process saves them
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            args.resume, args.quiet = None, True
        args.git_commit = git_commit()  # which may take seconds, and the folder is created last
        name = args.name or args.started.strftime("%Y-%m-%d_%H-%M-%S")
        name += "-synthetic" if data.synthetic else ""
        folder = args.resume or create_folder(folder, name, numbered=args.name is None)
        stack.enter_context(lock(folder))
        runs = Runs(args, data, device, folder)
        keep_script(script, folder)
        stack.enter_context(runs.marked())
        with runs.shown():
            yield runs
        if not device.process:
            runs.finish()


class Runs:
    """The runs of one call, to iterate over, and their results."""

    def __init__(self, args: Namespace, dataset: Dataset, device: Device, folder: Path) -> None:
        """Begin or resume in `folder`. Raises UserError where there is nothing left to train."""
        self.args, self.dataset, self.device, self.folder = args, dataset, device, folder
        self.groups: list[Group] = []
        self.printed_networks: set[str] = set()
        if not args.resume and (folder / "config.json").exists():  # before it was locked
            raise UserError(f"{folder} exists already: choose another --name")
        remove_partial_files(folder)
        self.overview = self._begin(folder, args)
        if self.overview.metrics:
            ended = self.overview.metrics.get("out_of_patience")
            advice = "--patience ended it" if ended else "train it further with more --epochs"
            raise UserError(f"{folder} is finished: {advice}")
        settings = {name: vars(args)[name] for name in SETTINGS if name in args}
        notable = {name: v for name, v in settings.items() if v != OPTIONS[name].default}
        self.overview.say(f"data: {dataset.title} from {dataset.source}")
        self.overview.say(f"device: {device.name} ({device.reason}), {device.precision}")
        self.overview.say(f"recipe: {args.recipe} ({in_words(notable)})")

    @property
    def results(self) -> Run | list[Run]:
        """The run, or a list of several: each with its folder, history, metrics and model."""
        runs = [run for group in self.groups for run in group.runs]
        several = len(self.args.combinations) * len(self.args.seeds) > 1
        return runs if several else runs[0]

    def __iter__(self) -> Iterator[Run]:
        """The runs, until one is stopped; each is to be trained and reported in its turn.

        Raises UserError when training fails; of several runs, that is a warning, and the others
        are trained all the same.
        """
        for combination in self.args.combinations:
            overview = self.overview
            if combination:
                words = in_words(combination).replace(", ", "_").replace(" ", "-")
                if len(words) > LONGEST_NAME:  # which a file system may not take
                    words = f"{words[:LONGEST_NAME]}-{zlib.crc32(words.encode()):08x}"
                args = Namespace(**vars(self.args) | combination | {"combinations": [{}]})
                overview = self._begin(self.folder / words, args)
            self.groups.append(group := Group(overview, combination))
            for seed in self.args.seeds:
                run, values = overview, dict(combination)
                if self.args.repeats > 1:
                    values["seed"] = seed
                    own = {"seed": seed, "seeds": [seed], "repeats": 1}
                    args = Namespace(**vars(overview.args) | own)
                    run = self._begin(overview.folder / f"seed-{seed}", args)
                group.runs.append(run)
                if values:
                    run.say(f"--- {in_words(values)}{': finished before' if run.metrics else ''}")
                if run.metrics:
                    continue
                if not run.custom_engine:
                    set_seed(seed)
                yield run
                self._close(run, group)
                if run.history.stopped:
                    return

    def _close(self, run: Run, group: Group) -> None:
        """Mark the folder of one of several runs, and of all its seeds, as what became of it."""
        failure = run.history.failure
        if run is self.overview:
            if failure:
                raise UserError(failure)
        elif failure or run.history.stopped:
            for folder in {run.folder, group.overview.folder} - {self.folder}:
                mark_unfinished(folder, failure or STOPPED)
            if failure:
                warn(failure)
        else:
            mark_finished(run.folder)

    def _begin(self, folder: Path, args: Namespace) -> Run:
        """The run in a folder: new, to resume, or, with its metrics, finished before."""
        device, engine = self.device, vars(args).get("engine")
        if engine == "numpy":  # also where other runs use a GPU
            device = NUMPY_DEVICE
        elif engine == "tensorflow":  # also where Keras computes in bfloat16
            device = replace(device, backend="tensorflow", precision="float32", count=1)
        run = Run(folder, args, self.dataset, device, printed_networks=self.printed_networks)
        resumed = (folder / "config.json").exists()
        if resumed and (metrics := metrics_of_finished(folder, args.epochs)):
            run.history, run.metrics = read_history(folder), metrics
            run.history.seconds = metrics["seconds"]["training"]
            return run
        config = configuration(args, self.dataset, device)
        if resumed:
            config = resumed_configuration(read_config(folder), config, epochs_done(folder))
        folder.mkdir(exist_ok=True)
        started = args.started.isoformat(" ", "seconds")
        mark_unfinished(folder, f"{STARTED} {started} by process {os.getpid()}")
        write_json(folder / "config.json", config)
        return run

    def shown(self) -> contextlib.AbstractContextManager:
        """Keep the gallery up to date while the runs are trained, unless figures are unwanted."""
        if self.device.process or self.args.figures == "none":
            return contextlib.nullcontext()
        return kept_live(self.folder, self.args.show)

    @contextlib.contextmanager
    def marked(self) -> Iterator[None]:
        """Keep the folder, and those in it, marked as unfinished unless the block ends well."""
        try:
            yield
        except BaseException as error:
            stopped = isinstance(error, Interrupted)
            # On a full disk the first mark stays, and it is the error that matters.
            with contextlib.suppress(UserError, OSError):
                reason = STOPPED if stopped else f"ended by {type(error).__name__}: {error}"
                for folder in [mark.parent for mark in self.folder.rglob(MARKER)]:
                    if why_unfinished(folder).startswith(STARTED):
                        mark_unfinished(folder, reason)
                if not self.device.process:
                    refresh(self.folder.parent.parent, reports=False)
            raise
        mark_finished(self.folder)

    def finish(self) -> None:
        """Print the result, of all runs where there are several, and say where it is kept.

        Raises Interrupted where training was stopped, and UserError where one of several failed.
        """
        args, runs, sweep = self.args, as_list(self.results), len(self.args.combinations) > 1
        last, failed = runs[-1].history, [run for run in runs if run.history.failure]
        if args.repeats > 1:
            for group in self.groups:
                summarise(group)
        if last.stopped:
            kept = "everything is saved, and --resume"
            say(f"stopped after epoch {len(last.rows)}; {kept} {self.folder.name} continues")
        if sweep:
            say(*report_sweep(self.folder, self.groups).split("\n"))
        elif self.groups[0].tested:
            say(result_line(self.groups[0]))
        elapsed = (datetime.now().astimezone() - args.started).total_seconds()
        training = sum(run.history.seconds for run in runs)
        say(f"{elapsed:.0f} s in all, {training:.0f} s of it training")
        say(f"results in {self.folder}")
        refresh_after(self.folder)
        if args.show:
            show(self.folder / ("sweep.png" if sweep else "curves.png"))
        if last.stopped:
            raise Interrupted(128 + last.stopped)
        if failed:
            reason = failed[0].history.failure
            raise UserError(f"{len(failed)} of {len(runs)} runs failed: {reason}")


def epochs_done(folder: Path) -> int:
    """The epochs that a run can be resumed after.

    Raises UserError where it has a result but no checkpoint, so that no result is trained over.
    """
    if checkpoint := load_checkpoint(folder):
        return len(checkpoint.history.rows)
    # After Ctrl-C in the first epoch there is a result of 0 epochs, and nothing to lose; nor is
    # there after a full disk, which kept the model from being saved.
    cut_off = (folder / MARKER).exists() and not any(folder.glob("model.*"))
    tested = (folder / "test_predictions.npz").exists()
    if tested and not cut_off and read_metrics(folder).get("epochs"):
        raise UserError(
            f"{folder} cannot be trained further, because its checkpoint is gone: start a new run; "
            "its results stay as they are"
        )
    return 0
