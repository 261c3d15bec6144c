"""The figure of a dataset itself."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import dataset, needs_real_data
from matplotlib.figure import Figure
from PIL import Image
from scipy.spatial.distance import cdist

from common.data.load import load
from common.plotting import style
from tools import explore


def test_counts_means_and_deviations_are_those_of_each_class():
    images = np.zeros((3, 28, 28), np.uint8)
    images[0, 0, 0], images[2, 0, 0] = 10, 30
    images[1, 5, 5] = 200
    counts, means, deviations = explore.class_statistics(images, np.array([4, 7, 4]))
    assert counts.tolist() == [2, 1]
    assert (means[0, 0, 0], deviations[0, 0, 0]) == (20, 10)
    assert (means[1, 5, 5], deviations[1, 5, 5], means[0, 5, 5]) == (200, 0, 0)


def test_the_figure_of_a_dataset_is_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(explore, "load", lambda *arguments: dataset(300, 10_000))
    explore.main(["--results-dir", str(tmp_path)])
    path = tmp_path / "explore" / "mnist.png"
    assert str(path) in capsys.readouterr().out
    with Image.open(path) as picture:
        assert picture.size == (1200, 930)


def test_the_caption_tells_what_the_pixels_are(monkeypatch):
    monkeypatch.setattr(explore, "nearest_pair", lambda *_: (3, 4))
    data = dataset(300, 10_000)
    figure = explore.overview(data)
    caption = figure.get_supxlabel().replace("\n", " ")
    assert f"Over all 300 images, {(data.train_images == 0).mean():.0%} of the pixels" in caption
    assert f"their mean is {data.train_images.mean() / 255:.4f}" in caption
    counts = [text.get_text() for text in figure.subfigs[0].subfigs[1].axes[0].texts]
    assert counts == [str(count) for count in np.bincount(data.train_labels)]


@pytest.mark.parametrize("seed", [1, 2])
def test_the_nearest_pair_of_different_classes_is_that_of_a_full_search(seed, monkeypatch):
    monkeypatch.setattr(explore, "ROWS", 7)  # so that there are several blocks
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 256, (60, 28, 28)).astype(np.uint8)
    labels = generator.integers(0, 4, 60).astype(np.uint8)
    images[40:] = images[:20]  # nearest of all, and of the same class or not
    images[40:, 0, :3] ^= np.arange(20, dtype=np.uint8)[:, None]
    labels[40:57] = labels[:17]
    flat = images.reshape(60, -1).astype(float)
    distances = cdist(flat, flat)
    distances[labels[:, None] == labels] = np.inf
    first, second = np.unravel_index(distances.argmin(), distances.shape)
    assert {*explore.nearest_pair(images, labels)} == {first, second}


def test_below_are_the_nearest_pair_and_of_mnist_the_images_in_doubt(monkeypatch):
    monkeypatch.setattr(explore, "nearest_pair", lambda *_: (13, 24))
    data = dataset(300, 10_000)
    for each, doubtful in (
        (data, data.unconfirmed),
        (replace(data, name="fashion_mnist"), ()),
        (replace(data, synthetic=True), ()),
    ):
        left, right = Figure().subplots(1, 2)
        explore.draw_doubtful((left, right), each, style)
        assert [text.get_text() for text in left.texts] == ["no. 13\n3", "no. 24\n4"]
        numbers = [int(text.get_text().split()[1]) for text in right.texts]
        assert numbers == [*doubtful]
        for image, number in zip(right.images, doubtful, strict=True):
            assert np.array_equal(image.get_array(), data.test_images[number])
    assert len(data.unconfirmed) == 15 and data.unconfirmed[0] == 947


@pytest.mark.slow
@needs_real_data
def test_the_images_in_doubt_have_the_labels_that_were_published():
    """`given_original_label` in mturk/mnist_mturk.json of github.com/cleanlab/label-errors."""
    data = load("mnist", "real", quiet=True)
    labels = data.test_labels[list(data.unconfirmed)].tolist()
    assert labels == [8, 0, 9, 4, 2, 5, 6, 6, 5, 5, 0, 1, 4, 6, 5]
