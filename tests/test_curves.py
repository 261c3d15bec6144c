import math

import numpy as np
import pytest
from matplotlib.figure import Figure

from common.plotting import curves, style


def history(accuracies, validation=True, **columns):
    """A history in which training and validation are alike; the loss is 1.01 - accuracy."""
    accuracy = list(accuracies)
    loss = [1.01 - each for each in accuracy]
    nothing = [math.nan] * len(accuracy)
    return {
        "epoch": list(range(1, len(accuracy) + 1)),
        "learning_rate": [0.01] * len(accuracy),
        "accuracy": accuracy,
        "loss": loss,
        "validation_accuracy": accuracy if validation else nothing,
        "validation_loss": loss if validation else nothing,
    } | columns


def draw(*histories, **options):
    return curves.curves(histories, "mnist", "title", **options)


# The scale of accuracies


@pytest.mark.parametrize("name", ["x", "y"])
def test_each_nine_is_as_far_from_the_next(name):
    axes = Figure().subplots()
    axes.set(**{f"{name}scale": "accuracy", f"{name}lim": (0, 0.9998)})
    places = axes.transData.transform([(a, a) for a in (0, 0.9, 0.99, 0.999)])[:, int(name == "y")]
    assert np.diff(places) == pytest.approx(np.diff(places)[0])
    axis = axes.xaxis if name == "x" else axes.yaxis
    ticks = [0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995]
    assert axis.get_majorticklocs() == pytest.approx(ticks)
    labels = axis.get_major_formatter().format_ticks(ticks)
    assert labels[:2] == ["0 %", "50 %"] and labels[-1] == "99.95 %"


@pytest.mark.parametrize("accuracies", [[0.5, 0.6], [0.98, 0.99], [0.9912, 0.9917], [0.9], [1.0]])
def test_a_narrow_axis_has_ticks_too(accuracies):
    axes = Figure().subplots()
    axes.plot(range(len(accuracies)), np.clip(accuracies, *style.DRAWABLE["accuracy"]))
    style.set_quantity(axes, "accuracy")
    lowest, highest = axes.get_ylim()
    assert 0 <= lowest < min(accuracies) and highest < 1
    ticks = axes.get_yticks()
    assert len(ticks) > 1 and all(lowest <= tick <= highest for tick in ticks)
    for label, tick in zip(
        axes.yaxis.get_major_formatter().format_ticks(ticks), ticks, strict=True
    ):
        assert float(label.removesuffix(" %")) == pytest.approx(100 * tick)


@pytest.mark.parametrize(
    ("losses", "wanted"),
    [
        ([0.001, 5], [0.001, 0.01, 0.1, 1]),
        ([0.01, 5], [0.01, 0.03, 0.1, 0.3, 1, 3]),
        ([0.17, 1.2], [0.2, 0.3, 0.5, 0.7, 1]),
        ([0.061, 0.109], [0.06, 0.075, 0.09, 0.105]),
    ],
)
def test_a_loss_axis_has_round_ticks(losses, wanted):
    axes = Figure().subplots()
    axes.plot(losses)
    style.set_quantity(axes, "loss")
    assert axes.get_yticks() == pytest.approx(wanted)
    labels = axes.yaxis.get_major_formatter().format_ticks(wanted)
    assert labels == [f"{loss:g}" for loss in wanted]


# The curves of a run


def test_two_runs_on_a_dataset_have_the_same_axes():
    good, bad = draw(history([0.9, 0.99, 1.0])), draw(history([0.1, 0.12, 0.11]))
    noted = draw(history([0.1, 0.12, 0.11]), regularizers=["dropout"])
    for figure in (good, bad, noted):
        figure.draw_without_rendering()
        assert tuple(figure.get_size_inches()) == (10, 6.4)
    for left, *others in zip(good.axes, bad.axes, noted.axes, strict=True):
        for right in others:
            assert left.get_ylim() == right.get_ylim()
            assert list(left.get_yticks()) == list(right.get_yticks())
            assert left.get_position().bounds == pytest.approx(right.get_position().bounds)


def test_every_value_is_drawn_inside_the_axes():
    for axes in draw(history([0.0, 1.0])).axes:
        lowest, highest = axes.get_ylim()
        for line in axes.lines:
            assert (line.get_ydata() >= lowest).all() and (line.get_ydata() <= highest).all()


def test_without_validation_there_is_no_curve_of_it():
    axes = draw(history([0.5, 0.6], validation=False)).axes[0]
    training, guessing = axes.lines
    assert training.get_label() == "training" and guessing.get_ydata() == [0.1, 0.1]


def test_several_seeds_are_a_mean_and_a_band_over_the_epochs_of_all():
    axes = draw(history([0.5, 0.9]), history([0.7, 0.95, 0.99])).axes[0]
    assert list(axes.lines[0].get_ydata()) == pytest.approx([0.6, 0.925])
    band = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == pytest.approx((0.5, 0.95))
    assert axes.get_xlim() == (0, 3.5)


def test_the_note_says_why_training_looks_worse():
    noted = draw(history([0.5]), regularizers=["dropout", "augmentation"]).get_supxlabel()
    assert "without dropout and augmentation: training looks worse" in noted
    plain = draw(history([0.5])).get_supxlabel()
    assert plain.startswith("Training is measured during the epoch, validation after it.\n")


def test_the_note_says_which_weights_are_tested_and_that_one_epoch_is_a_point():
    one, two = draw(history([0.5])), draw(history([0.5, 0.6]))
    for figure in (one, two):
        assert "\nThe test uses the weights of the last epoch" in figure.get_supxlabel()
    assert "only one" in one.get_supxlabel() and "only one" not in two.get_supxlabel()


def test_few_points_have_their_values_beside_them():
    few = draw(history([0.5, 0.6], validation_accuracy=[0.7, 0.8], validation_loss=[0.3, 0.2]))
    for axes, values in zip(
        few.axes,
        (["50.00%", "60.00%", "70.00%", "80.00%"], ["0.5100", "0.4100", "0.3000", "0.2000"]),
        strict=False,
    ):
        assert [text.get_text() for text in axes.texts] == [*values, "guessing"]
    many = draw(history([0.5, 0.6, 0.7, 0.8]))
    assert [text.get_text() for text in many.axes[0].texts] == ["guessing"]


def test_no_epoch_is_an_error():
    with pytest.raises(ValueError, match="no epoch"):
        draw(history([]))


def test_the_best_epoch_on_validation_is_marked():
    first, second = history([0.5, 0.9, 0.8]), history([0.6, 0.9, 0.7])
    accuracy_axes, loss_axes, *_ = draw(first, second).axes
    (star,) = [line for line in accuracy_axes.lines if line.get_marker() == "*"]
    assert "90.00% after epoch 2" in star.get_label()
    assert star.get_xydata().tolist() == [[2, 0.9]]
    (star,) = [line for line in loss_axes.lines if line.get_marker() == "*"]
    assert "0.1100 after epoch 2" in star.get_label()


def test_the_strip_below_shows_the_schedule_and_the_recorded_rates():
    schedule = np.array([0, 1, 2, 3]), np.array([0.0005, 0.01, 0.002, 0])
    _, _, axes = draw(history([0.5, 0.6, 0.7]), schedule=schedule).axes
    line, dots = axes.lines
    assert line.get_xdata().tolist() == [0, 1, 2, 3]
    # Zero has no place on a logarithmic axis.
    assert line.get_ydata().tolist() == [0.0005, 0.01, 0.002, curves.RATE_RANGE[0]]
    assert list(dots.get_xdata()) == [1, 2, 3] and list(dots.get_ydata()) == [0.01] * 3


# A sweep


@pytest.mark.parametrize(("count", "last"), [(2, 0.99), (12, 0.99), (2, 1.0)])
def test_a_sweep_shows_every_curve_inside_its_axes(count, last):
    groups = [
        (f"{units}", [history([0.5, last]), history([0.6, last])], [0.9, 0.95])
        for units in range(count)
    ]
    accuracy_axes, loss_axes, test_axes = curves.sweep(groups, "units", "sweep").axes
    assert len(accuracy_axes.lines) == count and len(loss_axes.lines) == 2 * count
    assert len({str(line.get_color()) for line in accuracy_axes.lines}) == count
    assert accuracy_axes.lines[0].get_ydata()[0] == pytest.approx(0.55)
    for axes in (accuracy_axes, loss_axes):
        lowest, highest = axes.get_ylim()
        assert len([tick for tick in axes.get_yticks() if lowest <= tick <= highest]) > 1
        for line in axes.lines:
            assert (line.get_ydata() > lowest).all() and (line.get_ydata() < highest).all()
    assert [label.get_text() for label in test_axes.get_yticklabels()] == [g[0] for g in groups]
    (bar,) = test_axes.collections[0].get_segments()
    deviation = np.std([0.9, 0.95], ddof=1)
    assert bar[:, 0] == pytest.approx([0.925 - deviation, 0.925 + deviation])


@pytest.mark.parametrize("each", [history([0.5], validation=False), history([])])
def test_a_sweep_of_almost_nothing_can_be_drawn(each, tmp_path):
    figure = curves.sweep([("a", [each], [0.5]), ("b", [each], [0.5])], "units", "sweep")
    figure.savefig(tmp_path / "sweep.png")
    assert [text.get_text() for text in figure.axes[0].texts] == ["no validation images"]


def test_a_sweep_of_one_epoch_shows_training_too_on_an_axis_from_0():
    groups = [(name, [history([0.5], loss=[0.9])], [0.5]) for name in "ab"]
    accuracy_axes, loss_axes, _ = curves.sweep(groups, "units", "sweep").axes
    assert {line.get_marker() for line in loss_axes.lines} == {"o", "s", "x"}
    for axes in (accuracy_axes, loss_axes):
        assert axes.get_xlim()[0] == 0 and {0, 1} <= set(axes.get_xticks())
