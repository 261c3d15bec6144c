import numpy as np
import pytest
from matplotlib.figure import Figure

from common.plotting import network
from common.plotting.style import show_grid

NAMES = tuple("0123456789")


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (30, 28, 28), dtype=np.uint8)


def save(figure, tmp_path):
    path = tmp_path / "figure.png"
    figure.savefig(path, dpi=100)
    assert 2_000 < path.stat().st_size < 300_000


def test_pictures_stand_in_their_order_and_do_not_touch(images):
    axes = Figure().subplots()
    show_grid(axes, images[:6].reshape(2, 3, 28, 28), 4)
    for place, picture in enumerate(axes.images):
        row, column = divmod(place, 3)
        assert (picture.get_array() == images[place]).all()
        left, right, bottom, top = picture.get_extent()
        assert column - 0.5 < left < column < right < column + 0.5
        assert row - 0.5 < top < row < bottom < row + 0.5  # y grows downwards
    assert (axes.get_xlim(), axes.get_ylim()) == ((-0.5, 3.5), (1.5, -0.5))


@pytest.mark.parametrize(
    ("count", "side", "said"),
    [(1, 3, "All 1 "), (24, 5, "All 24"), (512, 28, "The first 48 of 512")],
)
@pytest.mark.parametrize("scale", [1, 0, np.nan])
def test_filters_can_be_drawn(count, side, said, scale, tmp_path):
    weights = scale * np.random.default_rng(0).normal(size=(count, side, side))
    figure = network.filters("dense", weights, "title")
    assert figure.get_supxlabel().startswith(said)
    save(figure, tmp_path)


def test_feature_maps_share_a_scale_in_a_row(images, tmp_path):
    generator = np.random.default_rng(0)
    maps = {f"conv{i}": generator.random((9, 8 >> i, 8 >> i, 4)) for i in range(4)}
    maps["conv0"][..., 1] = 0  # a filter that responds to nothing
    figure = network.feature_maps(images[:9], maps, NAMES[:9], "title")
    shown = [picture.get_array() for picture in figure.axes[1].images]
    assert len(shown) == 3 * 9
    assert (np.min(shown[:9]), np.max(shown[:9])) == (0, 1)
    assert np.max(shown[9:18]) == 0
    wanted = maps["conv0"][..., 0]
    np.testing.assert_allclose(shown[3], (wanted[3] - wanted.min()) / np.ptp(wanted))
    titles = [axes.get_title("left") for axes in figure.axes[1:]]
    assert titles[0] == "The first 3 of 4 filters of conv0: maps of 8 x 8"
    save(figure, tmp_path)


@pytest.mark.parametrize("wrong", [0, 1, 10])
def test_attention_shows_each_image_with_its_heat(images, wrong, tmp_path):
    heat = np.zeros((9, 28, 28))
    heat[:, 5, 6] = 1
    answers = [(name, name, "99.0%") for name in NAMES]
    parts = [("Right", images[:9], {"predicted class": heat}, answers[:9])]
    if wrong:
        heats = {name: np.zeros((wrong, 28, 28)) for name in ("predicted class", "true class")}
        parts.append(("Wrong", images[:wrong], heats, answers[:wrong]))
    figure = network.attention(parts, "conv2d", "title")
    assert len(figure.axes) == len(parts) and "1610.02391" in figure.get_supxlabel()
    pictures = [picture.get_array() for picture in figure.axes[0].images]
    assert len(pictures) == 2 * 9
    assert (pictures[0] == images[0][..., None] / 255).all()  # grey
    red, _, blue = pictures[9][5, 6]
    assert red > blue + 0.5
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts[:2] == ["true class\npredicted\nprobability", "0\n0\n99.0%"]
    save(figure, tmp_path)


def test_augmented_copies_stand_beside_their_originals(images, tmp_path):
    varied = np.stack([images[9:18]] * 7, axis=1)
    examples = {"originals": images[:9], "varied": varied, "labels": np.arange(1, 10)}
    figure = network.augmentation(examples, NAMES, "title")
    left, right = ([picture.get_array() for picture in axes.images] for axes in figure.axes)
    assert (np.array(left) == images[:9]).all()
    assert (np.array(right).reshape(9, 7, 28, 28) == varied).all()
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == list(NAMES[1:])
    save(figure, tmp_path)
