"""What several runs of one call gave together: means over seeds, the table of a sweep."""

from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, stdev

from common.files import write_json, write_text
from common.tables import markdown_table, mean_std
from experiment.report import figures_module
from experiment.runs.folder import mark_finished, read_config, read_metrics
from experiment.runs.run import Run
from experiment.runs.saved import SavedRun, read_run
from experiment.values import as_typed

GAP_NOTE = (
    "A gap below 0 is no mistake: training accuracy is the mean over the last epoch, while the\n"
    "network learns, with dropout and augmentation; validation accuracy is measured after it."
)


@dataclass
class Group:
    """The runs with one combination of options: one, or with --repeats one for each seed."""

    overview: Run  # whose folder holds those of the seeds; the run itself when it is alone
    combination: dict  # the options in which it differs from the other groups
    runs: list[Run] = field(default_factory=list)

    @property
    def tested(self) -> list[Run]:
        """The runs that have a result. Those stopped early count only if there are no others."""
        runs = [run for run in self.runs if run.metrics]
        return [run for run in runs if not run.metrics["stopped_early"]] or runs

    def values(self, name: str) -> list[float]:
        """A measurement of each tested run; empty where one lacks it."""
        values = [run.metrics[name] for run in self.tested]
        return [] if None in values else values

    def saved(self) -> SavedRun:
        """What the group's tested runs have left, as a tool reads it."""
        folder = self.overview.folder
        members = tuple(read_run(run.folder) for run in self.tested)
        if members[0].folder == folder:
            return members[0]
        return SavedRun(folder, read_config(folder), read_metrics(folder), members)


def summarise(group: Group) -> None:
    """Write metrics.json and curves.png over a group's seeds."""
    if not group.tested:
        return
    dataset, folder = group.overview.dataset, group.overview.folder
    metrics = {"dataset": dataset.title, "synthetic": dataset.synthetic}
    metrics["seeds"] = [run.args.seed for run in group.tested]
    for name in ("test_accuracy", "test_loss"):
        values = group.values(name)
        metrics[name] = mean(values)
        metrics[f"{name}_sd"] = stdev(values) if len(values) > 1 else None
        metrics[f"{name}_of_each"] = values
    metrics["training_seconds"] = mean(r.metrics["seconds"]["training"] for r in group.tested)
    write_json(folder / "metrics.json", metrics)
    if figures := figures_module(group.overview.args):
        figures.draw_run(group.saved(), group.overview.args.figures)
    if group.combination and all(run.metrics and not run.history.stopped for run in group.runs):
        mark_finished(folder)


def result_line(group: Group) -> str:
    """Test accuracy and loss in words."""
    seeds, dataset = len(group.tested), group.overview.dataset
    over = f" (mean ± standard deviation over {seeds} seeds)" if seeds > 1 else ""
    on = f" on {dataset.title}" if dataset.synthetic else ""
    loss = mean(group.values("test_loss"))
    return f"test accuracy {mean_std(group.values('test_accuracy'))}, loss {loss:.4f}{over}{on}"


def report_sweep(folder: Path, groups: list[Group]) -> str:
    """Write the table and the figure that compare the combinations of options; return the table."""
    rows = [table_row(group) for group in groups]
    table = markdown_table(rows)
    gaps = [row.get("gap, points", "-") for row in rows]
    if any(gap[0] == "-" and gap != "-" for gap in gaps):
        table += f"\n\n{GAP_NOTE}"
    write_text(folder / "sweep.md", table)
    if figures := figures_module(groups[0].overview.args):
        figures.draw_sweep(folder, [group.saved() for group in groups if group.tested])
    return table


def table_row(group: Group) -> dict[str, str]:
    """What a sweep's table says of one combination of options."""
    row = {key.replace("_", " "): as_typed(value) for key, value in group.combination.items()}
    if not group.tested:
        return row | {"test accuracy": "failed" if group.runs else "not run"}
    training, validation = group.values("training_accuracy"), group.values("validation_accuracy")
    gap = f"{100 * (mean(training) - mean(validation)):.2f}" if training and validation else "-"
    return row | {
        "parameters": f"{group.tested[0].metrics['parameters']:,}",
        "training": mean_std(training) if training else "-",
        "validation": mean_std(validation) if validation else "-",
        "gap, points": gap,
        "test accuracy": mean_std(group.values("test_accuracy")),
        "test loss": f"{mean(group.values('test_loss')):.4f}",
        "training time": f"{mean(run.history.seconds for run in group.tested):.1f} s",
    }
