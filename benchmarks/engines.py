"""How long the three engines of `mnist_dense.py` take for an epoch of the same network.

Runs the script with each engine in turns, and writes `engines.md` into the results folder: the
seconds of an epoch, without each run's first.

    python -m benchmarks.engines        # about two minutes on two cores
"""

from benchmarks.runs import BenchmarkParser, epoch_seconds, run_script, timing

ENGINES = ("keras", "tensorflow", "numpy")
COMMAND = (
    "mnist_dense.py --hidden 256,128,64 --batch-size 256 --dropout 0 --shift 0 "
    "--epochs 6 --precision float32 --figures none"
)


def main() -> None:
    """Measure in turns, and write the table."""
    with BenchmarkParser("engines", __doc__, turns=5).results(rows) as results:
        for engine, turn in results.missing(ENGINES, range(1, results.args.turns + 1)):
            (run,) = run_script(f"{COMMAND} --engine {engine}")
            print(f"turn {turn}, {engine}: {epoch_seconds(run):.3f} s", flush=True)
            results.keep(engine, turn, epoch_seconds(run))


def rows(measured: dict[str, dict]) -> list[dict[str, str]]:
    """A row of the table for each engine."""
    seconds = {engine: list(turns.values()) for engine, turns in measured.items()}
    return [{"engine": name} | timing(seconds[name], seconds["keras"]) for name in seconds]


if __name__ == "__main__":
    main()
