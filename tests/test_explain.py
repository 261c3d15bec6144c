import numpy as np
import pytest
from scipy.special import softmax as reference_softmax
from scipy.stats import binomtest

from common.plotting.calibration import (
    calibrate,
    confident_mistakes,
    recognised_examples,
    softmax,
    wilson_interval,
)


def test_softmax_agrees_with_scipy():
    logits = np.random.default_rng(0).normal(0, 50, (100, 10)).astype(np.float32)
    np.testing.assert_allclose(softmax(logits), reference_softmax(logits.astype(float), axis=1))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_logits_that_are_no_numbers_are_refused(value):
    logits = np.zeros((2, 10))
    logits[1, 3] = value
    with pytest.raises(ValueError, match="no finite numbers"):
        softmax(logits)


def test_the_surest_mistake_comes_first():
    probabilities = np.array([[0.6, 0.4], [0.9, 0.1], [0.2, 0.8], [0.3, 0.7]])
    assert confident_mistakes(probabilities, np.array([1, 1, 1, 0])).tolist() == [1, 3, 0]
    assert confident_mistakes(probabilities, np.array([0, 0, 1, 1])).tolist() == []


def test_examples_are_recognised_where_any_is():
    # Class 2 has no image; of class 1 none is recognised.
    probabilities = np.eye(4)[[1, 0, 0, 3, 3]]
    labels = np.array([0, 0, 1, 1, 3])
    assert recognised_examples(probabilities, labels).tolist() == [1, 2, 4]


def test_the_calibration_error_of_a_case_worked_out_by_hand():
    confidence = np.array([0.55, 0.6, 0.95, 0.85, 1.0])
    right = np.array([True, False, True, True, False])
    probabilities = np.column_stack([confidence, 1 - confidence])
    measured = calibrate(probabilities, np.where(right, 0, 1), bins=5)
    # Bins up to 0.6, 0.8 and 1: two images of mean 0.575, one right; three of 14/15, two right.
    assert measured.counts.tolist() == [0, 0, 2, 0, 3]
    assert measured.accuracy[[2, 4]] == pytest.approx([1 / 2, 2 / 3])
    assert measured.confidence[[2, 4]] == pytest.approx([0.575, 14 / 15])
    assert np.isnan(measured.accuracy[[0, 1, 3]]).all()
    assert measured.error == pytest.approx((2 * 0.075 + 3 * (14 / 15 - 2 / 3)) / 5)


def test_a_network_that_is_right_as_often_as_it_says_has_almost_no_error():
    generator = np.random.default_rng(0)
    confidence = generator.uniform(0.5, 1, 200_000)
    labels = (generator.random(200_000) > confidence).astype(int)
    measured = calibrate(np.column_stack([confidence, 1 - confidence]), labels)
    assert measured.error < 0.005
    assert measured.counts.sum() == 200_000


@pytest.mark.parametrize(("right", "count"), [(0, 3), (1, 1), (7, 9), (990, 1000)])
def test_the_interval_agrees_with_scipy(right, count):
    low, high = wilson_interval(np.array([right / count]), np.array([count]))
    wanted = binomtest(right, count).proportion_ci(method="wilson")
    assert (low[0], high[0]) == pytest.approx((wanted.low, wanted.high), abs=1e-6)
