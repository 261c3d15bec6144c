"""The numbers behind the figures that explain a network: how sure it is, and where it is wrong."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

BINS = 15  # as in the paper on calibration


def softmax(logits: np.ndarray) -> np.ndarray:
    """The probabilities that `logits` (n, classes) stand for: float64 of the same shape.

    Raises ValueError where a logit is no finite number.
    """
    if not np.isfinite(logits).all():
        raise ValueError("some of the network's outputs are no finite numbers")
    return special.softmax(logits.astype(np.float64), axis=1)


def confident_mistakes(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Which images were taken for another class than their own, the surest mistake first.

    `probabilities`: (n, classes); `labels`: (n,); the answer: indices, int64.
    """
    (wrong,) = np.nonzero(probabilities.argmax(axis=1) != labels)
    return wrong[np.argsort(-probabilities[wrong].max(axis=1), kind="stable")]


def recognised_examples(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The first image of each class that there is, taken for what it is if any was: indices."""
    right = probabilities.argmax(axis=1) == labels
    # Of each class the recognised ones come first, and otherwise the order stays.
    order = np.argsort(~right, kind="stable")
    _, firsts = np.unique(labels[order], return_index=True)
    return order[firsts]


@dataclass(frozen=True, eq=False)
class Calibration:
    """How well a network's confidence agrees with how often it is right, in bins of confidence."""

    edges: np.ndarray  # (bins + 1,), from 0 to 1
    counts: np.ndarray  # images in each bin: int (bins,)
    confidence: np.ndarray  # their mean confidence, nan in an empty bin
    accuracy: np.ndarray  # the share of them that is right, nan in an empty bin
    interval: np.ndarray  # that share's 95 % interval: (2, bins)
    error: float  # the expected calibration error


def calibrate(probabilities: np.ndarray, labels: np.ndarray, bins: int = BINS) -> Calibration:
    """Compare confidence, the predicted class's probability, with the share of right predictions.

    `probabilities`: (n, classes); `labels`: (n,). The expected calibration error is the mean of
    their distance over the bins, weighted by the images in each (Guo and others, On Calibration of
    Modern Neural Networks, https://arxiv.org/abs/1706.04599, equations 2 and 3).
    """
    edges = np.linspace(0, 1, bins + 1)
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    # A bin holds its upper edge, as in the paper.
    places = np.clip(np.searchsorted(edges, confidence) - 1, 0, bins - 1)
    counts = np.bincount(places, minlength=bins)
    with np.errstate(invalid="ignore"):  # 0 / 0 in an empty bin
        confidence = np.bincount(places, confidence, bins) / counts
        accuracy = np.bincount(places, right, bins) / counts
    error = np.nansum(counts * np.abs(accuracy - confidence)) / len(labels)
    interval = wilson_interval(accuracy, counts)
    return Calibration(edges, counts, confidence, accuracy, interval, float(error))


def wilson_interval(share: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The 95 % interval of a share that was seen in so many cases: (2, n), nan for none.

    E. B. Wilson, Journal of the American Statistical Association 22, 1927.
    """
    z = 1.959964  # of the normal distribution, 95 % lies within so many standard deviations
    with np.errstate(invalid="ignore", divide="ignore"):
        centre = share + z * z / (2 * counts)
        half = z * np.sqrt(share * (1 - share) / counts + z * z / (4 * counts * counts))
        return np.clip(np.array([centre - half, centre + half]) / (1 + z * z / counts), 0, 1)
