"""Whether one run did better than another, or the difference may be chance: tests, in words."""

from collections.abc import Sequence
from statistics import mean

import numpy as np

SIGNIFICANT = 0.05
FEWEST_SEEDS = 3  # two accuracies say too little about their spread
ADVICE = "Train it with more seeds: --repeats 5."


def mcnemar(only_first: int, only_second: int) -> float:
    """The two-sided p-value of McNemar's exact test (https://doi.org/10.1007/BF02295996).

    only_first, only_second: on how many test images one network is right and the other is wrong.
    """
    from scipy.stats import binomtest  # not at the top: it takes a second

    return float(binomtest(only_first, max(only_first + only_second, 1)).pvalue)


def welch(first: Sequence[float], second: Sequence[float]) -> float:
    """The two-sided p-value of Welch's t-test (https://doi.org/10.1093/biomet/34.1-2.28)."""
    from scipy.stats import ttest_ind

    return float(ttest_ind(first, second, equal_var=False).pvalue)


def compare_networks(first: np.ndarray, second: np.ndarray, labels: Sequence[str]) -> str:
    """What McNemar's test says of two networks that `labels` name.

    first, second: bool (n,), which test images each gets right.
    """
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    better = labels[0] if only_first > only_second else labels[1]
    return (
        f"Of {len(first):,} test images, {labels[0]!r} alone is right on {only_first:,}, "
        f"{labels[1]!r} alone on {only_second:,}. McNemar's exact test: "
        f"{conclusion(mcnemar(only_first, only_second), better)}\n"
        "This holds for these two networks, not for their options: with other seeds the same "
        "options may give another answer. To compare options, train each with --repeats 5."
    )


def compare_seeds(first: list[float], second: list[float], labels: list[str], images: int) -> str:
    """What Welch's t-test says of two runs that `labels` name, from the accuracy of each seed.

    images: how many the test set holds.
    """
    points = 100 * (mean(first) - mean(second))
    text = f"{labels[0]!r} and {labels[1]!r} differ by {abs(points):.2f} points in mean accuracy."
    for label, accuracies in zip(labels, (first, second), strict=True):
        if len(accuracies) < FEWEST_SEEDS:
            return f"{text} No conclusion: {label!r} has fewer than {FEWEST_SEEDS} seeds. {ADVICE}"
        if len(set(accuracies)) == 1:
            return f"{text} No conclusion: the seeds of {label!r} show no spread. {ADVICE}"
    better = labels[0] if points > 0 else labels[1]
    error = 100 * max((p * (1 - p) / images) ** 0.5 for p in (mean(first), mean(second)))
    return (
        f"{text} Welch's t-test: {conclusion(welch(first, second), better)}\n"
        f"The test knows the spread of the seeds only. The {images:,} test images are a sample, "
        f"too: with others, each mean would be off by about ± {error:.2f} points."
    )


def conclusion(p: float, better: str) -> str:
    """A p-value, and what it means."""
    value = f"p = {p:.2g}" if p >= 0.0001 else "p < 0.0001"
    if p < SIGNIFICANT:
        return f"{value}, so chance is an unlikely cause: {better!r} is better."
    return f"{value}, so the difference may be chance: neither is shown to be better."
