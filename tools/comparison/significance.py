"""Whether chance may explain that one run did better than another, in numbers and in words."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean, variance

import numpy as np
from scipy.special import bdtr, stdtr  # scipy.stats would take seconds to import

SIGNIFICANT = 0.05


def mcnemar(only_first: int, only_second: int) -> float:
    """The p-value of McNemar's exact test, two-sided (https://doi.org/10.1007/BF02295996).

    `only_first` counts the test images on which the first network alone is right, `only_second`
    those on which the second alone is. If both were equally good, either count of such an image
    would be as likely as the other: p is how often coins would fall at least as unevenly.
    """
    discordant = only_first + only_second
    return min(1.0, 2 * float(bdtr(min(only_first, only_second), discordant, 0.5)))


def welch(first: Sequence[float], second: Sequence[float]) -> float:
    """The p-value of Welch's t-test, two-sided (https://doi.org/10.1093/biomet/34.1-2.28).

    Of two or more accuracies each. Without any spread among the seeds it is 1 where the means are
    equal, else 0.
    """
    shares = [variance(values) / len(values) for values in (first, second)]
    difference = mean(first) - mean(second)
    if not any(shares):
        return float(difference == 0)
    t = difference / sum(shares) ** 0.5
    freedom = sum(shares) ** 2 / sum(
        share**2 / (len(values) - 1) for share, values in zip(shares, (first, second), strict=True)
    )
    return 2 * float(stdtr(freedom, -abs(t)))


def compare_networks(first: np.ndarray, second: np.ndarray, labels: Sequence[str]) -> str:
    """What McNemar's test says of two networks, from which test images each gets right.

    first, second: bool (n,); `labels` are what to call the two.
    """
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    better = labels[0] if only_first > only_second else labels[1]
    return (
        f"Of {len(first):,} test images, {labels[0]!r} alone is right on {only_first:,}, "
        f"{labels[1]!r} alone on {only_second:,}. McNemar's exact test: "
        f"{conclusion(mcnemar(only_first, only_second), better)}\n"
        "This is about these two networks only: with other seeds the same options may give "
        "another answer. To compare options, train each with --repeats 5."
    )


def compare_seeds(first: Sequence[float], second: Sequence[float], labels: Sequence[str]) -> str:
    """What Welch's t-test says of two runs, from the test accuracies of their seeds."""
    if min(len(first), len(second)) < 2:
        return (
            "Whether chance explains the difference cannot be told: one of the two has a single "
            "seed. Train it with --repeats, too."
        )
    points = 100 * (mean(first) - mean(second))
    better = labels[0] if points > 0 else labels[1]
    return (
        f"The mean test accuracies of {labels[0]!r} ({len(first)} seeds) and {labels[1]!r} "
        f"({len(second)} seeds) are {abs(points):.2f} points apart. Welch's t-test: "
        f"{conclusion(welch(first, second), better)}"
    )


def conclusion(p: float, better: str) -> str:
    """A p-value, and what it means."""
    value = f"p = {p:.2g}" if p >= 0.0001 else "p < 0.0001"
    if p < SIGNIFICANT:
        return f"{value}, so chance alone would seldom do this: {better!r} is better."
    return f"{value}, so chance alone may well do this: neither is shown to be better."
