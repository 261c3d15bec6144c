import math

import numpy as np
import pytest
from test_runs import row

from common.plotting import curves as plotting
from common.plotting.calibration import calibrate
from experiment.runs.folder import History
from experiment.train.training import Schedule


def history(accuracies, validation=True):
    nan = math.nan
    return History(
        [
            row(i + 1, accuracy=a, loss=1 - a + 0.01)
            | ({} if validation else {"validation_accuracy": nan, "validation_loss": nan})
            for i, a in enumerate(accuracies)
        ]
    )


def test_two_runs_on_a_dataset_have_the_same_axes():
    good = plotting.curves([history([0.9, 0.99, 1.0])], "mnist", "good")
    bad = plotting.curves([history([0.1, 0.12, 0.11])], "mnist", "bad")
    for left, right in zip(good.axes, bad.axes, strict=True):
        assert left.get_ylim() == right.get_ylim()
        assert list(left.get_yticks()) == list(right.get_yticks())
    assert tuple(good.get_size_inches()) == tuple(bad.get_size_inches())


def test_every_value_is_drawn_inside_the_axes():
    figure = plotting.curves([history([0.0, 1.0])], "mnist", "extremes")
    for axes in figure.axes:
        lowest, highest = axes.get_ylim()
        for line in axes.lines:
            assert (line.get_ydata() >= lowest).all() and (line.get_ydata() <= highest).all()


def test_each_nine_is_as_far_from_the_next():
    axes = plotting.curves([history([0.5])], "mnist", "nines").axes[0]
    heights = axes.transData.transform([(1, 0), (1, 0.9), (1, 0.99), (1, 0.999)])[:, 1]
    assert np.diff(heights) == pytest.approx(np.diff(heights)[0])


def test_without_validation_there_is_no_curve_of_it():
    axes = plotting.curves([history([0.5, 0.6], validation=False)], "mnist", "").axes[0]
    assert [line.get_label() for line in axes.lines] == ["training"]
    assert not any(np.isnan(line.get_ydata()).any() for line in axes.lines)


def test_several_seeds_are_a_mean_and_a_band():
    figure = plotting.curves([history([0.5, 0.9]), history([0.7, 0.95])], "mnist", "seeds")
    training = figure.axes[0].lines[0]
    assert list(training.get_ydata()) == pytest.approx([0.6, 0.925])
    band = figure.axes[0].collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == pytest.approx((0.5, 0.95))


def test_the_note_says_why_training_looks_worse():
    figure = plotting.curves([history([0.5])], "mnist", "", ["dropout", "augmentation"])
    assert any("with dropout and augmentation" in text.get_text() for text in figure.texts)
    (title,) = plotting.curves([history([0.5])], "mnist", "plain").texts
    assert title.get_text() == "plain"


def test_no_epoch_is_an_error():
    with pytest.raises(ValueError, match="no epoch"):
        plotting.curves([History()], "mnist", "")


def test_the_confusion_matrix_shows_counts_and_mistakes_on_their_own_scale():
    counts = np.diag([990] * 10)
    counts[4, 9] = 7
    axes = plotting.confusion_matrix(counts, [*"0123456789"], "counts").axes[0]
    assert sorted(text.get_text() for text in axes.texts) == sorted(["990"] * 10 + ["7"])
    right, wrong = axes.images
    assert right.get_array().mask.sum() == 90
    assert wrong.get_array().count() == 1
    # One mistake in a hundred takes a strong colour on its own scale.
    assert wrong.norm(7 / 997) > 0.5


def test_a_perfect_confusion_matrix_can_be_drawn(tmp_path):
    figure = plotting.confusion_matrix(np.diag([5] * 10), [*"0123456789"], "perfect")
    figure.savefig(tmp_path / "perfect.png")


def test_calibration_shows_every_bin_and_its_images():
    probabilities = np.full((100, 10), 0.01)
    probabilities[:, 3] = 0.91
    measured = calibrate(probabilities, np.repeat([3, 4], [80, 20]))
    figure = plotting.calibration(measured, "title")
    axes, count_axes = figure.axes
    (shown,) = [bar for bar in axes.patches if bar.get_height() > 0]
    assert shown.get_height() == pytest.approx(0.8)
    assert shown.get_x() < 0.91 <= shown.get_x() + shown.get_width()
    assert [text.get_text() for text in count_axes.texts] == ["100"]
    assert "calibration error 11.00%" in figure.get_supxlabel()


def test_the_best_epoch_on_validation_is_marked():
    first, second = ([0.5, 0.9, 0.8], [0.6, 0.9, 0.7])
    rows = [
        [row(i + 1, validation_accuracy=a, validation_loss=1.01 - a) for i, a in enumerate(those)]
        for those in (first, second)
    ]
    figure = plotting.curves([History(those) for those in rows], "mnist", "")
    (accuracy,) = [line for line in figure.axes[0].lines if line.get_marker() == "*"]
    assert "90.00% after epoch 2" in accuracy.get_label()
    assert list(accuracy.get_xdata()) == [2]
    (loss,) = [line for line in figure.axes[1].lines if line.get_marker() == "*"]
    assert "0.1100 after epoch 2" in loss.get_label()


def test_the_strip_below_shows_the_schedule_and_the_rates_that_were_recorded():
    schedule = Schedule("cosine", 0.01, 3 * plotting.SCHEDULE_STEPS)
    figure = plotting.curves([history([0.5, 0.6, 0.7])], "mnist", "", schedule=schedule)
    line, dots = figure.axes[2].lines
    rates = dict(zip(line.get_xdata(), line.get_ydata(), strict=True))
    assert rates[0] == pytest.approx(0.01 / 20) and max(rates.values()) == pytest.approx(0.01)
    assert rates[3] == plotting.RATE_RANGE[0]  # zero, which has no place on a logarithmic axis
    assert list(dots.get_xdata()) == [1, 2, 3]


@pytest.mark.parametrize(("count", "last"), [(2, 0.99), (12, 0.99), (2, 1.0)])
def test_a_sweep_shows_every_curve_inside_its_axes(count, last):
    groups = [
        (f"{units}", [history([0.5, last]), history([0.6, last])], [0.9, 0.95])
        for units in range(count)
    ]
    figure = plotting.sweep(groups, "units", "sweep")
    accuracy_axes, loss_axes, test_axes = figure.axes
    assert len(accuracy_axes.lines) == count and len(loss_axes.lines) == 2 * count
    for axes in (accuracy_axes, loss_axes):
        lowest, highest = axes.get_ylim()
        assert axes is loss_axes or highest < 0.99995
        assert len([tick for tick in axes.get_yticks() if lowest <= tick <= highest]) > 1
        for line in axes.lines:
            assert (line.get_ydata() > lowest).all() and (line.get_ydata() < highest).all()
    assert [label.get_text() for label in test_axes.get_yticklabels()] == [g[0] for g in groups]


@pytest.mark.parametrize("histories", [[history([0.5], validation=False)], [History()]])
def test_a_sweep_of_almost_nothing_can_be_drawn(histories):
    plotting.sweep([("a", histories, [0.5]), ("b", histories, [0.5])], "units", "sweep")
