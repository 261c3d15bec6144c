"""The measured claims: one small CSV each in `benchmarks/records/`, a row for each seed.

    python -m benchmarks.records                        # each record: mean ± standard deviation
    python -m benchmarks.records NEW RUN --than OLD     # keep a run, and say whether it is better

RUN is a run as `tools.compare` takes it (`latest`, `mnist_cnn/mine`), best one with --repeats 5.
"""

import csv
import hashlib
import io
from collections.abc import Iterable
from datetime import date

from benchmarks.runs import machine
from common.errors import UserError, one_line_errors
from common.files import REPOSITORY, write_atomically
from common.tables import markdown_table, mean_std
from experiment.runs.run import git_commit
from experiment.runs.saved import SavedRun
from experiment.values import run_name
from tools.command_line import ToolParser
from tools.comparison.significance import compare_seeds
from tools.saved import find_network

FOLDER = REPOSITORY / "benchmarks" / "records"
MEASURES = "test_accuracy test_loss training_accuracy validation_accuracy seconds".split()
COLUMNS = ["member", "seed", *MEASURES, *"precision versions processor commit date".split()]


def read(name: str) -> list[dict]:
    """A record's rows, the measures as numbers or None; no rows where it is not there."""
    path = FOLDER / f"{name}.csv"
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row |= {key: float(row[key]) if row[key] else None for key in MEASURES}
        row["seed"] = int(row["seed"])
    return rows


def values(name: str, measure: str, member: str = "") -> list[float]:
    """What each seed measured, of one member of a sweep or of a record without members."""
    found = [row[measure] for row in read(name) if row["member"] == member]
    return [value for value in found if value is not None]


def add(name: str, rows: Iterable[dict]) -> None:
    """Add rows to a record, in place of those of the same members and seeds."""
    kept = {(row["member"], row["seed"]): row for row in [*read(name), *rows]}
    write_table(f"{name}.csv", COLUMNS, [kept[key] for key in sorted(kept)])


def write_table(file: str, columns: list[str], rows: list[dict]) -> None:
    """Write a CSV of the records' folder; numbers have at most six digits."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()})
    (FOLDER / file).parent.mkdir(parents=True, exist_ok=True)
    write_atomically(FOLDER / file, text.getvalue().encode())


def rows_of(run: SavedRun, member: str = "") -> list[dict]:
    """A row for each seed of a run that this machine has trained."""
    processor, packages = machine().rpartition("; ")[0], "tensorflow keras jax torch numpy".split()
    rows = []
    for training in run.trainings:
        config, metrics = training.config, training.metrics
        known = {key: value for key, value in config["versions"].items() if key in packages}
        measured = {name: metrics.get(name) for name in MEASURES} | {
            "member": member,
            "seconds": float(metrics["seconds"]["training"]),
            "seed": config["seed"],
            "precision": config["precision"],
            "versions": " ".join(f"{name} {version}" for name, version in known.items()),
            "processor": processor,
            "commit": config.get("git_commit"),
            "date": config["started"][:10],
        }
        rows.append(measured)
    return rows


def here() -> dict:
    """This machine, its versions, the commit and the date."""
    processor, _, versions = machine().rpartition("; ")
    now = {"commit": git_commit(), "date": date.today().isoformat()}
    return now | {"processor": processor, "versions": versions}


def fill(page: str, name: str, rows: Iterable[dict[str, str]]) -> str:
    """A page with a table of rows between its markers `<!-- NAME: begin -->` and `... end -->`.

    Raises UserError where it lacks them.
    """
    begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
    if page.count(begin) != 1 or page.count(end) != 1:
        raise UserError(f"the page lacks the markers {begin.strip()} and {end}")
    before, _, rest = page.partition(begin)
    return f"{before}{begin}\n{markdown_table(list(rows))}\n\n{end}{rest.partition(end)[2]}"


def digest() -> str:
    """A SHA-256 of all records, which their figures carry: a figure is never older than these."""
    sha = hashlib.sha256()
    for path in sorted(FOLDER.rglob("*.csv")):
        sha.update(path.name.encode() + path.read_bytes())
    return sha.hexdigest()


def summary(name: str) -> str:
    """A record's test accuracy, for each member, in a line."""
    lines = []
    for member in dict.fromkeys(row["member"] for row in read(name)):
        found = values(name, "test_accuracy", member)
        lines.append(f"{name} {member}: {mean_std(found)}, seeds {len(found)}")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    """List the records, or add one and compare it."""
    parser = ToolParser("records", __doc__, "benchmarks")
    parser.add_argument("new", nargs="?", type=run_name, metavar="NEW", help="name of the record")
    parser.add_argument("run", nargs="?", metavar="RUN", help="the run to keep")
    parser.add_argument("--than", metavar="OLD", help="the record it is compared with")
    args = parser.parse_args(argv)
    with one_line_errors(args.debug):
        if not args.run:
            print("\n".join(summary(path.stem) for path in sorted(FOLDER.glob("*.csv"))))
            return
        run = find_network(args.run, args.results_dir)
        if run.config["synthetic"]:
            raise UserError(f"{run.name} was trained on synthetic images: a record is of real ones")
        rows = rows_of(run)
        if args.than:
            if not (old := values(args.than, "test_accuracy")):
                raise UserError(f"there is no record {args.than!r} of one network in {FOLDER}")
            ours = [row["test_accuracy"] for row in rows]
            print(compare_seeds(ours, old, [args.new, args.than], 10_000))
        add(args.new, rows)
        print(f"kept in {FOLDER / args.new}.csv")


if __name__ == "__main__":
    main()
