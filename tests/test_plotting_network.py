import numpy as np
import pytest

from common.plotting import network as plotting_network

NAMES = tuple("0123456789")


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (30, 28, 28), dtype=np.uint8)


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def save(figure, tmp_path):
    path = tmp_path / "figure.png"
    figure.savefig(path, dpi=100)
    assert 2_000 < path.stat().st_size < 300_000


def test_pictures_are_tiled_in_their_order_and_with_gaps(images):
    whole = plotting_network.tiled(images[:6].reshape(2, 3, 28, 28))
    assert whole.shape == (2 * 30, 3 * 30)
    for place, image in enumerate(images[:6]):
        row, column = divmod(place, 3)
        tile = whole[30 * row : 30 * row + 30, 30 * column : 30 * column + 30]
        assert (tile[1:-1, 1:-1] == image).all()
        assert np.isnan(tile[[0, -1]]).all() and np.isnan(tile[:, [0, -1]]).all()


def test_mistakes_say_what_was_predicted_and_what_is_true(images, tmp_path):
    probabilities = np.full((30, 10), 0.01)
    probabilities[:, 7] = 0.91
    labels = np.full(30, 2)
    figure = plotting_network.mistakes(
        images, labels, probabilities, np.arange(29, 6, -1), NAMES, "title"
    )
    assert "The first 20 of 23 mistakes" in figure.get_supxlabel()
    assert texts(figure)[:2] == ["predicted 7: 91.0%", "no. 29 is 2: 1.0%"]
    assert len(texts(figure)) == 2 * 20
    save(figure, tmp_path)


def test_a_network_without_mistakes_has_a_figure_that_says_so(images, tmp_path):
    none = np.zeros(0, int)
    figure = plotting_network.mistakes(images, none, np.zeros((0, 10)), none, NAMES, "title")
    assert "No mistake" in figure.get_supxlabel()
    save(figure, tmp_path)


@pytest.mark.parametrize(
    ("count", "side", "said"),
    [(1, 3, "All 1 "), (24, 5, "All 24"), (512, 28, "The first 48 of 512")],
)
@pytest.mark.parametrize("scale", [1, 0, np.nan])
def test_filters_can_be_drawn(count, side, said, scale, tmp_path):
    weights = scale * np.random.default_rng(0).normal(size=(count, side, side))
    figure = plotting_network.filters("dense", weights, "title")
    assert figure.get_supxlabel().startswith(said)
    save(figure, tmp_path)


def test_feature_maps_share_a_scale_in_a_row(images, tmp_path):
    generator = np.random.default_rng(0)
    maps = {f"conv{i}": generator.random((9, 8 >> i, 8 >> i, 4)) for i in range(4)}
    maps["conv0"][..., 1] = 0  # a filter that finds nothing
    figure = plotting_network.feature_maps(images[:9], maps, NAMES[:9], "title")
    first = np.asarray(figure.axes[1].images[0].get_array().filled(np.nan))
    assert np.nanmax(first[: len(first) // 2]) == 1 and np.nanmin(first) == 0
    assert np.nanmax(first[len(first) // 2 :]) == 0
    titles = [axes.get_title("left") for axes in figure.axes[1:]]
    assert titles[0] == "The first 2 of 4 filters of conv0: maps of 8 x 8"
    save(figure, tmp_path)


@pytest.mark.parametrize("wrong", [0, 1, 10])
def test_attention_shows_each_image_with_its_heat(images, wrong, tmp_path):
    heat = np.zeros((9, 28, 28))
    heat[:, 5, 6] = 1
    lines = {"predicted": NAMES[:9]}
    parts = [("Right", images[:9], {"predicted class": heat}, lines)]
    if wrong:
        heats = {name: np.zeros((wrong, 28, 28)) for name in ("predicted class", "true class")}
        parts.append(("Wrong", images[:wrong], heats, {"predicted": NAMES[:wrong]}))
    figure = plotting_network.attention(parts, "conv2d", "title")
    assert len(figure.axes) == len(parts) and "1610.02391" in figure.get_supxlabel()
    shown = np.asarray(figure.axes[0].images[0].get_array())
    assert shown.shape == (2 * 30, 9 * 30, 3)
    assert shown[:30] == pytest.approx(np.repeat(shown[:30, :, :1], 3, axis=2))  # grey
    red, _, blue = shown[30 + 1 + 5, 1 + 6]
    assert red > blue + 0.5
    save(figure, tmp_path)


def test_augmented_copies_stand_beside_their_originals(images, tmp_path):
    varied = np.stack([images[:9]] * 7, axis=1)
    figure = plotting_network.augmentation(images[:9], varied, NAMES[1:], "title")
    left, right = (axes.images[0].get_array() for axes in figure.axes)
    assert left.shape == (9 * 30, 30) and right.shape == (9 * 30, 7 * 30)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == list(NAMES[1:])
    save(figure, tmp_path)
