"""The figure of a dataset itself."""

import numpy as np
from conftest import dataset
from PIL import Image

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
    monkeypatch.setattr(explore, "load", lambda *arguments: dataset(300, 100))
    explore.main(["--results-dir", str(tmp_path)])
    path = tmp_path / "explore" / "mnist.png"
    assert str(path) in capsys.readouterr().out
    with Image.open(path) as picture:
        assert picture.size == (1200, 760)


def test_the_caption_tells_what_the_pixels_are():
    data = dataset(300, 100)
    figure = explore.overview(data)
    caption = figure.get_supxlabel().replace("\n", " ")
    assert f"Over all 300 images, {(data.train_images == 0).mean():.0%} of the pixels" in caption
    assert f"their mean is {data.train_images.mean() / 255:.4f}" in caption
    counts = [text.get_text() for text in figure.subfigs[1].axes[0].texts]
    assert counts == [str(count) for count in np.bincount(data.train_labels)]
