"""Every published result of the five projects this one grew out of, measured here.

Measures the seeds that `benchmarks/records/` lacks, and adds them there as they come. Writes the
tables between the markers of docs/published-results.md, and its figures. The runs are kept in the
results folder, in `published_results/`, and are not trained again.

    python -m benchmarks.published_results              # everything: many hours on two cores
    python -m benchmarks.published_results B1 D1        # these rows alone
    python -m benchmarks.published_results --write      # tables and figures of what is measured
"""

from argparse import Namespace
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from statistics import mean, median, stdev

from benchmarks import classical, from_scratch, published_figures, records
from benchmarks.published_rows import CLAIMS, CLASSICAL, COMMANDS, INSIGHTS, LOSS, QUANTITIES, TEST
from benchmarks.runs import BenchmarkParser, percent, run_script
from benchmarks.verdict import t_value, verdict
from common.errors import one_line_errors
from common.files import REPOSITORY, read_json, write_atomically
from experiment.runs.folder import MARKER
from experiment.values import one_of
from tools.saved import read_runs

PAGE = REPOSITORY / "docs" / "published-results.md"


def main() -> None:
    """Measure what the command line names and the records lack, and write the page."""
    known = list(dict.fromkeys(row.id for row in (*CLAIMS, *INSIGHTS)))
    parser = BenchmarkParser("published_results", __doc__, seeds=5)
    kind, which = one_of("row", known), f"which to measure: {', '.join(known)}"
    parser.add_argument("rows", nargs="*", type=kind, metavar="ROW", help=which)
    parser.add_argument("--write", action="store_true", help="measure nothing")
    args = parser.parse_args()
    with one_line_errors(args.debug):
        for key, seed in () if args.write else missing(args):
            print(key, seed, flush=True)
            records.add(key.partition("/")[0], measure(key, seed, args))
            write()
        write()
        print(f"{PAGE} and its figures show what is measured")


def missing(args: Namespace) -> Iterator[tuple[str, int]]:
    """The records and seeds to measure."""
    wanted = {row.record for row in (*CLAIMS, *INSIGHTS) if row.id in args.rows}
    for key, command in COMMANDS.items():
        name, _, member = key.partition("/")
        alone = command == CLASSICAL or "--repeats" in command  # which measure once
        for seed in range(1, 2 if alone else args.seeds + 1):
            kept = [row for row in records.read(name) if member in ("", row["member"])]
            done = seed in (row["seed"] for row in kept)
            if (not wanted or name in wanted) and (args.fresh or not done):
                yield key, seed


def measure(key: str, seed: int, args: Namespace) -> list[dict]:
    """The rows that a seed adds to a record; a run that an earlier call finished is read."""
    command, (name, _, member) = COMMANDS[key], key.partition("/")
    if command == CLASSICAL:
        return measure_classical(args)
    results, run = args.results_dir / "published_results", f"{key.replace('/', '-')}-{seed}"
    folder = results / Path(command.split()[0]).stem / run
    if args.fresh or not (folder / "config.json").exists() or (folder / MARKER).exists():
        options = ("--seed", seed, "--figures", "none")
        run_script(command, *options, results=results, name=run)
    runs = read_runs(folder)
    if name == "from_scratch_sizes":
        from_scratch.keep_details(runs[-1])  # the largest network
    sweep = len(runs) > 1 or any(row.member and row.record == name for row in (*CLAIMS, *INSIGHTS))
    return [row for one in runs for row in records.rows_of(one, member or one.folder.name * sweep)]


def measure_classical(args: Namespace) -> list[dict]:
    """What each classical method reaches on MNIST, as its `member`; they hardly draw at random."""
    classical.main(["--results-dir", str(args.results_dir), *["--fresh"] * args.fresh])
    measured = read_json(args.results_dir / "classical.json")["measured"]
    where = records.here() | {"versions": f"scikit-learn {metadata.version('scikit-learn')}"}
    return [
        where | {"member": method, "seed": 1, TEST: result[TEST], "seconds": result["fit_seconds"]}
        for method, by_number in measured.items()
        for result in by_number.values()
    ]


def write() -> None:
    """Write the tables into the page, and draw the figures, from the records."""
    write_atomically(PAGE, page().encode())
    published_figures.write(CLAIMS)


def page() -> str:
    """The page's text with the tables of what the records hold."""
    text = PAGE.read_text(encoding="utf-8")
    for name, rows in (("claims", claim_rows()), ("insights", insight_rows())):
        text = records.fill(text, name, rows)
    return text


def formatted(values: Sequence[float], measure: str) -> str:
    """Mean ± standard deviation of an accuracy, in percent, or of a loss; `-` of nothing."""
    if measure != LOSS or not values:
        return percent(values)
    return f"{mean(values):.4f}" + (f" ± {stdev(values):.4f}" if len(values) > 1 else "")


def seed_count(values: Sequence[float], wanted: int = 5) -> str:
    """How many seeds, and whether some are still to be measured."""
    return str(len(values)) if len(values) >= wanted else f"{len(values)}, to be measured"


def claim_rows() -> Iterator[dict[str, str]]:
    """A row of the first table for each number that was reported."""
    for row in CLAIMS:
        for measure, reported in row.reported.items():
            values = records.values(row.record, measure, row.member)
            number = f"{reported:.4f}" if measure == LOSS else f"{100 * reported:.4g} %"
            several = len(values) > 1
            yield {
                "": row.id,
                "system": row.system,
                "quantity": QUANTITIES[measure],
                "reported": f"above {number}" if row.above else number,
                "measured": formatted(values, measure),
                "t": f"{t_value(reported, values):+.2f}" if several else "-",
                "verdict": verdict(reported, values, above=row.above, accuracy=measure != LOSS),
                "seeds": seed_count(values),
                "command": f"`{COMMANDS[row.record]}`",
            }


def insight_rows() -> Iterator[dict[str, str]]:
    """A row of the second table for each system without a reported number."""
    for row in INSIGHTS:
        values = {name: records.values(row.record, name, row.member) for name in records.MEASURES}
        once = row.record == "classical"
        yield {
            "": row.id,
            "system": row.system,
            **{QUANTITIES[name]: formatted(values[name], name) for name in QUANTITIES},
            "seconds": f"{median(values['seconds']):.0f}" if values["seconds"] else "-",
            "seeds": seed_count(values[TEST], 1 if once else 5),
            "command": f"`{COMMANDS[row.record]}`",
        }


if __name__ == "__main__":
    main()
