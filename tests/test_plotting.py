import math

import numpy as np
import pytest
from test_runs import dataset, row

from common import plotting
from common.augment import augment
from common.runs import History


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


def test_augmented_copies_stand_beside_their_originals():
    data = dataset()
    images = np.random.default_rng(0).integers(0, 256, (10, 28, 28)).astype(np.uint8)
    data = type(data)(**vars(data) | {"train_images": images, "train_labels": np.arange(10)})
    flip = lambda images, generator: augment(images, generator, flip=True)  # noqa: E731
    figure = plotting.augmentation(data, flip, 1, "flips")
    assert len(figure.axes) == 10 * 8
    for label in range(10):
        shown = [axes.images[0].get_array() for axes in figure.axes[8 * label : 8 * label + 8]]
        assert (shown[0] == images[label]).all()
        for copy in shown[1:]:
            assert (copy == images[label]).all() or (copy == images[label][:, ::-1]).all()


@pytest.mark.parametrize("count", [2, 12])
def test_a_sweep_shows_every_curve_inside_its_axes(count):
    groups = [
        (f"{units}", [history([0.5, 0.9]), history([0.6, 0.99])], [0.9, 0.95])
        for units in range(count)
    ]
    figure = plotting.sweep(groups, "units", "sweep")
    accuracy_axes, loss_axes, test_axes = figure.axes
    assert len(accuracy_axes.lines) == count and len(loss_axes.lines) == 2 * count
    for axes in (accuracy_axes, loss_axes):
        lowest, highest = axes.get_ylim()
        assert len([tick for tick in axes.get_yticks() if lowest <= tick <= highest]) > 1
        for line in axes.lines:
            assert (line.get_ydata() > lowest).all() and (line.get_ydata() < highest).all()
    assert [label.get_text() for label in test_axes.get_yticklabels()] == [g[0] for g in groups]


@pytest.mark.parametrize("histories", [[history([0.5], validation=False)], [History()]])
def test_a_sweep_of_almost_nothing_can_be_drawn(histories):
    plotting.sweep([("a", histories, [0.5]), ("b", histories, [0.5])], "units", "sweep")
