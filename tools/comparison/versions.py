"""Which layers differ between saved runs, and whether their scripts do."""

import difflib
from collections import Counter
from collections.abc import Sequence

from experiment.runs.saved import SavedRun

SHOWN = 8  # layers of each network


def differing_layers(runs: Sequence[SavedRun], names: Sequence[str]) -> str:
    """For each run, the layers that not all have; empty where all are alike or unknown."""
    networks = {name: run.network for name, run in zip(names, runs, strict=True) if run.network}
    layers = {name: [row["layer"] for row in rows] for name, rows in networks.items()}
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
        for row in rows:
            if rest[row["layer"]]:
                rest[row["layer"]] -= 1
            else:
                parameters = f", {row['parameters']:,} parameters" if row["parameters"] else ""
                own.append(f"  - {row['layer']}: output {row['output']}{parameters}")
        more = [f"  - and {len(own) - SHOWN} more"] if len(own) > SHOWN else []
        lines += [f"- {name}{':' if own else ': no other'}", *own[:SHOWN], *more]
    return "\n".join(lines)


def differing_scripts(runs: Sequence[SavedRun]) -> str:
    """Which scripts changed between the runs, and where to see it; empty for none."""
    first, lines = {}, []
    for run in runs:
        if copy := run.script:
            name = f"{run.config['script']}.py"
            before = first.setdefault(name, copy)
            if changes := changed_lines(before.read_bytes(), copy.read_bytes()):
                lines.append(f"{name} changed ({changes}): {before} and {copy}")
    return "\n".join(lines)


def changed_lines(old: bytes, new: bytes) -> str:
    """`lines added: 2, removed: 1`; empty where a script is the same."""
    texts = [text.decode(errors="replace").splitlines() for text in (old, new)]
    marks = Counter(line[0] for line in difflib.ndiff(*texts))
    changed = marks["+"] + marks["-"]
    return f"lines added: {marks['+']}, removed: {marks['-']}" if changed else ""
