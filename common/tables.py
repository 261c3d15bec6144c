"""Numbers as text: a mean with its standard deviation, a Markdown table."""

from collections.abc import Sequence
from statistics import mean, stdev


def mean_std(fractions: Sequence[float]) -> str:
    """`99.50% ± 0.06%`: mean and sample standard deviation; of a single value `99.50%`."""
    deviation = f" ± {stdev(fractions):.2%}" if len(fractions) > 1 else ""
    return f"{mean(fractions):.2%}{deviation}"


def markdown_table(rows: Sequence[dict[str, str]]) -> str:
    """Rows as a Markdown table with aligned columns; the longest row names the columns."""
    columns = list(max(rows, key=len))
    lines = [columns, *([row.get(column, "") for column in columns] for row in rows)]
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        f"| {' | '.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))} |"
        for line in lines
    )
