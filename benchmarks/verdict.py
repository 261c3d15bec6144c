"""Whether a reported number is what another seed would give: the prediction interval, in words."""

from collections.abc import Sequence
from statistics import mean, stdev

LEVEL = 0.95
WIDEST = 0.02  # a wider interval of accuracies agrees with too much to say anything


def t_value(reported: float, measured: Sequence[float]) -> float:
    """How far a further seed with the reported value would lie from the mean of the measured ones.

    In standard deviations of such a difference: of the further seed, and of the mean.
    """
    return (reported - mean(measured)) / (stdev(measured) * (1 + 1 / len(measured)) ** 0.5)


def verdict(
    reported: float, measured: Sequence[float], *, above: bool = False, accuracy: bool = True
) -> str:
    """One of: agrees, reported higher, reported lower, claim met, not informative.

    A reported value agrees where it lies in the 95 % prediction interval of a further seed: the
    quantile is that of Student's t with n - 1 degrees of freedom. `above`: reported is "more than
    this", which a one-sided test judges: it is met where a further seed would be above it with
    95 % probability. An interval of accuracies wider than two points that holds the reported value
    is not informative.
    """
    from scipy.stats import t as student  # not at the top: it takes a second

    if len(measured) < 2:
        return "one seed only" if measured else "not measured yet"
    if not stdev(measured):
        raise ValueError("the seeds show no spread")
    t, degrees = t_value(reported, measured), len(measured) - 1
    quantile = student.ppf(LEVEL if above else (1 + LEVEL) / 2, degrees)
    if t > quantile:
        return "reported higher"
    if t < -quantile:
        return "claim met" if above else "reported lower"
    half_width = quantile * stdev(measured) * (1 + 1 / len(measured)) ** 0.5
    return "not informative" if accuracy and 2 * half_width > WIDEST else "agrees"
