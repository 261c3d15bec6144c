import numpy as np
import pytest
from scipy.stats import norm

from common.plotting.predictions import (
    calibrate,
    calibration,
    confident_mistakes,
    confusion_matrix,
    mistakes,
    recognised_examples,
    softmax,
)

NAMES = tuple("0123456789")


def test_softmax_gives_probabilities_in_double_precision():
    logits = np.array([[0, np.log(3)], [800, 0]], np.float32)  # exp(800) is infinite
    assert softmax(logits) == pytest.approx(np.array([[0.25, 0.75], [1, 0]]))
    assert softmax(logits).dtype == np.float64


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_logits_that_are_no_numbers_are_refused(value):
    logits = np.zeros((2, 10))
    logits[1, 3] = value
    with pytest.raises(ValueError, match="not finite"):
        softmax(logits)


def test_the_most_confident_mistake_comes_first():
    probabilities = np.array([[0.6, 0.4], [0.9, 0.1], [0.2, 0.8], [0.3, 0.7]])
    assert confident_mistakes(probabilities, np.array([1, 1, 1, 0])).tolist() == [1, 3, 0]
    assert confident_mistakes(probabilities, np.array([0, 0, 1, 1])).tolist() == []


def test_examples_are_recognised_where_any_is():
    # Class 2 has no image; of class 1 none is recognised.
    probabilities = np.eye(4)[[1, 0, 0, 3, 3]]
    labels = np.array([0, 0, 1, 1, 3])
    assert recognised_examples(probabilities, labels).tolist() == [1, 2, 4]


# Calibration


def test_the_calibration_error_of_a_case_computed_on_paper():
    confidence = np.array([0.55, 0.6, 0.95, 0.85, 1.0])
    right = np.array([True, False, True, True, False])
    probabilities = np.column_stack([confidence, 1 - confidence])
    measured = calibrate(probabilities, np.where(right, 0, 1), bins=5)
    # Bins up to 0.6, 0.8 and 1: two images of mean 0.575, one right; three of 14/15, two right.
    assert measured.counts.tolist() == [0, 0, 2, 0, 3]
    assert measured.accuracy[[2, 4]] == pytest.approx([1 / 2, 2 / 3])
    assert measured.confidence[[2, 4]] == pytest.approx([0.575, 14 / 15])
    assert np.isnan(measured.accuracy[[0, 1, 3]]).all()
    assert np.isnan(measured.interval[:, [0, 1, 3]]).all()
    assert measured.error == pytest.approx((2 * 0.075 + 3 * (14 / 15 - 2 / 3)) / 5)


@pytest.mark.parametrize(("right", "count"), [(0, 3), (1, 1), (7, 9), (990, 1000)])
def test_the_interval_is_wilsons(right, count):
    labels = np.repeat([0, 1], [right, count - right])
    measured = calibrate(np.tile([0.9, 0.1], (count, 1)), labels, bins=2)
    # E. B. Wilson, Journal of the American Statistical Association 22, 1927.
    z, fraction = norm.ppf(0.975), right / count
    centre = (fraction + z * z / (2 * count)) / (1 + z * z / count)
    half = z * np.sqrt(fraction * (1 - fraction) / count + (z / (2 * count)) ** 2)
    half /= 1 + z * z / count
    assert measured.interval[:, 1] == pytest.approx([centre - half, centre + half], abs=1e-9)


def test_a_network_that_is_right_as_often_as_it_says_has_almost_no_error():
    generator = np.random.default_rng(0)
    confidence = generator.uniform(0.5, 1, 200_000)
    labels = (generator.random(200_000) > confidence).astype(int)
    measured = calibrate(np.column_stack([confidence, 1 - confidence]), labels)
    assert measured.error < 0.005
    assert measured.counts.sum() == 200_000


def test_calibration_shows_every_bin_and_its_images():
    probabilities = np.full((100, 10), 0.01)
    probabilities[:, 3] = 0.91
    figure = calibration(probabilities, np.repeat([3, 4], [80, 20]), "title")
    axes, count_axes = figure.axes
    (shown,) = [bar for bar in axes.patches if bar.get_height() > 0]
    assert shown.get_height() == pytest.approx(0.8)
    assert shown.get_x() < 0.91 <= shown.get_x() + shown.get_width()
    assert [text.get_text() for text in count_axes.texts if text.get_text()] == ["100"]
    assert "calibration error 11.00%" in figure.get_supxlabel()


@pytest.mark.parametrize(("smoothing", "words"), [(0, "than it says."), (0.1, "aims at 91 %.")])
def test_calibration_explains_what_label_smoothing_does(smoothing, words):
    figure = calibration(np.eye(10), np.arange(10), "title", smoothing)
    assert " ".join(figure.get_supxlabel().split()).endswith(words)


# The confusion matrix


def test_the_confusion_matrix_shows_counts_and_mistakes_on_their_own_scale():
    counts = np.diag([990] * 10)
    counts[4, 9] = 7
    axes = confusion_matrix(counts, NAMES, "counts").axes[0]
    assert sorted(text.get_text() for text in axes.texts) == sorted(["990"] * 10 + ["7"])
    (mistake,) = [text for text in axes.texts if text.get_text() == "7"]
    assert mistake.get_position() == (9, 4)  # x is the predicted class
    right, wrong = axes.images
    assert right.get_array().mask.sum() == 90
    assert wrong.get_array().count() == 1
    # Seven mistakes in a thousand can be seen, and there is room for worse ones.
    assert 0.2 < wrong.norm(7 / 997) < 0.4


def test_the_same_fraction_of_mistakes_has_the_same_colour_in_every_network():
    colours = []
    for worst in (9, 500):
        counts = np.diag([991] * 10)
        counts[4, 9], counts[5] = 9, 0
        counts[5, 3], counts[5, 5] = worst, 1000 - worst
        wrong = confusion_matrix(counts, NAMES, "counts").axes[0].images[1]
        colours.append(wrong.to_rgba(wrong.get_array()))
    assert (colours[0][4, 9] == colours[1][4, 9]).all()
    assert (colours[0][4, 9] == colours[0][5, 3]).all()
    assert (colours[0][5, 3] != colours[1][5, 3]).any()


def test_a_perfect_confusion_matrix_can_be_drawn(tmp_path):
    figure = confusion_matrix(np.diag([5] * 10), NAMES, "perfect")
    figure.savefig(tmp_path / "perfect.png")


# Mistakes


def test_mistakes_say_what_was_predicted_and_what_is_true(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (2300, 28, 28), dtype=np.uint8)
    probabilities = np.full((2300, 10), 0.01)
    probabilities[:, 7] = np.linspace(0.5, 0.91, 2300)
    figure = mistakes(images, probabilities, np.full(2300, 2), NAMES, "title")
    assert "The first 20 of 2,300 mistakes" in figure.get_supxlabel()
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert texts[:2] == ["predicted 7: 91.0%", "no. 2299 is 2: 1.0%"]
    assert len(texts) == 2 * 20
    assert (figure.axes[0].images[0].get_array() == images[2299]).all()
    figure.savefig(tmp_path / "mistakes.png")
    assert 2_000 < (tmp_path / "mistakes.png").stat().st_size < 300_000


def test_a_network_without_mistakes_has_a_figure_that_says_so(tmp_path):
    labels = np.array([3, 4])
    figure = mistakes(np.zeros((2, 28, 28)), np.eye(10)[labels], labels, NAMES, "title")
    assert figure.get_supxlabel() == "No mistake in 2 test images."
    figure.savefig(tmp_path / "none.png")


def test_mistakes_whose_label_people_did_not_confirm_are_framed():
    probabilities = np.eye(10)[np.zeros(40, int)]  # all are taken for a 0
    labels = np.full(40, 1)
    labels[[3, 8]] = 0  # these are right
    images = np.zeros((40, 28, 28), np.uint8)
    figure = mistakes(images, probabilities, labels, NAMES, "title", (3, 5, 11, 39))
    assert "Framed: 3 of all 38, whose label" in figure.get_supxlabel().replace("\n", " ")
    framed = {
        text.get_text().split()[1]
        for axes in figure.axes
        for frame in axes.patches
        for text in axes.texts
        if "no." in text.get_text() and text.xy[0] == pytest.approx(frame.get_x() + 0.47)
    }
    assert framed == {"5", "11"}  # the last one is not among the first twenty
    plain = mistakes(images, probabilities, labels, NAMES, "title")
    assert "Framed" not in plain.get_supxlabel()
    assert not any(axes.patches for axes in plain.axes)
