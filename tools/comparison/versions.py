"""Which layers differ between saved runs, and whether their scripts do."""

import difflib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from common.files import read_text
from experiment.runs.folder import NETWORK, SCRIPT
from experiment.runs.saved import SavedRun

SHOWN = 8  # layers of each network


def differing_layers(runs: Sequence[SavedRun], names: Sequence[str]) -> str:
    """For each run, the layers that not all have; empty where all are alike or unknown."""
    networks = dict(zip(names, map(network_of, runs), strict=True))
    networks = {name: rows for name, rows in networks.items() if rows}
    layers = {name: [layer for layer, *_ in rows] for name, rows in networks.items()}
    if len({tuple(each) for each in layers.values()}) < 2:
        return ""
    counts = [Counter(each) for each in layers.values()]
    common = counts[0]
    for count in counts[1:]:
        common = common & count
    if all(count == common for count in counts):
        return "The networks have the same layers in another order."
    lines = ["Layers that not all networks have:", ""]
    for name, rows in networks.items():
        rest, own = Counter(common), []
        for layer, *output in rows:
            if rest[layer]:
                rest[layer] -= 1
            else:
                own.append(f"  - {layer}: output {', parameters '.join(output[:2])}")
        more = [f"  - and {len(own) - SHOWN} more"] if len(own) > SHOWN else []
        lines += [f"- {name}{':' if own else ': no other'}", *own[:SHOWN], *more]
    return "\n".join(lines)


def network_of(run: SavedRun) -> list[list[str]]:
    """Layer, output, parameters and multiply-adds of each layer; empty for older runs."""
    path = run.trainings[0].folder / NETWORK
    text = read_text(path) if path.is_file() else ""
    rows = [line.strip("|").split("|") for line in text.splitlines()[2:]]
    return [[cell.strip() for cell in row] for row in rows]


def differing_scripts(runs: Sequence[SavedRun]) -> str:
    """Which scripts changed between the runs, and where to see it; empty for none."""
    first, lines = {}, []
    for run in runs:
        if copy := script_of(run):
            name = f"{run.config['script']}.py"
            before = first.setdefault(name, copy)
            if changes := changed_lines(before.read_bytes(), copy.read_bytes()):
                lines.append(f"{name} changed ({changes}): {before} and {copy}")
    return "\n".join(lines)


def script_of(run: SavedRun) -> Path | None:
    """The copy of a run's script: in its folder, or in that of its sweep; None for older runs."""
    places = [run.folder, *run.folder.parents[:2]]  # of a sweep with seeds two levels up
    return next((place / SCRIPT for place in places if (place / SCRIPT).is_file()), None)


def changed_lines(old: bytes, new: bytes) -> str:
    """`lines added: 2, removed: 1`; empty where a script is the same."""
    texts = [text.decode(errors="replace").splitlines() for text in (old, new)]
    marks = Counter(line[0] for line in difflib.ndiff(*texts))
    changed = marks["+"] + marks["-"]
    return f"lines added: {marks['+']}, removed: {marks['-']}" if changed else ""
