"""The synthetic digits and garments: their form, their likeness to the originals, their bytes."""

import hashlib
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import REPOSITORY

from common.data import synthetic
from common.data.synthetic import synthesise

CPU_SECONDS = 20  # ten times what it takes, for slower machines
CHILD = """
import hashlib, sys, warnings
import matplotlib.ft2font, PIL.ImageDraw  # whose own warnings are not ours
warnings.simplefilter("error")
from common.data.synthetic import synthesise
arrays = synthesise(sys.argv[1])
assert not {"matplotlib.pyplot", "tensorflow", "keras"} & set(sys.modules)
print(hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest())
"""


@pytest.fixture(scope="module", params=["mnist", "fashion_mnist"])
def name(request):
    return request.param


@pytest.fixture(scope="module")
def arrays(name):
    start = time.process_time()
    arrays = synthesise(name)
    assert time.process_time() - start < CPU_SECONDS
    return arrays


@pytest.fixture
def small(monkeypatch):
    """Few images a set: enough to compare two of them."""
    monkeypatch.setattr(synthetic, "TRAINING_IMAGES", 400)
    monkeypatch.setattr(synthetic, "TEST_IMAGES", 100)


def test_shapes_and_types_are_the_promised_ones(arrays):
    assert [array.shape for array in arrays] == [(12000, 28, 28), (12000,), (2000, 28, 28), (2000,)]
    assert {array.dtype for array in arrays} == {np.dtype(np.uint8)}


def test_classes_are_balanced_and_shuffled(arrays):
    for labels in (arrays[1], arrays[3]):
        assert np.array_equal(np.bincount(labels), [len(labels) // 10] * 10)
        # Sorted labels would have nearly all neighbours equal, cyclic ones none.
        assert 0.05 < np.mean(labels[1:] == labels[:-1]) < 0.15


def test_the_seed_decides_the_bytes_and_numpys_global_state_does_not(name, small):
    first = synthesise(name, seed=0)
    saved = np.random.get_state()
    np.random.seed(1)
    before = np.random.get_state()[1].copy()
    again = synthesise(name, seed=0)
    after = np.random.get_state()[1]
    np.random.set_state(saved)
    assert all(a.tobytes() == b.tobytes() for a, b in zip(first, again, strict=True))
    assert np.array_equal(before, after)
    other = synthesise(name, seed=1)
    assert not np.array_equal(first[1], other[1])
    assert not {image.tobytes() for image in first[0]} & {image.tobytes() for image in other[0]}


@pytest.mark.slow
def test_a_fresh_process_gives_the_same_bytes_without_warnings_or_heavy_imports(name, arrays):
    command = [sys.executable, "-c", CHILD, name]
    child = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert (child.returncode, child.stderr) == (0, "")
    pixels_and_labels = b"".join(array.tobytes() for array in arrays)
    assert child.stdout.strip() == hashlib.sha256(pixels_and_labels).hexdigest()


def test_no_image_occurs_twice_in_train_and_test_together(arrays):
    assert len({image.tobytes() for images in arrays[::2] for image in images}) == 14_000


def test_ink_is_light_with_grey_edges_on_black(arrays):
    images = arrays[0]
    assert np.median(images) == 0
    assert images.max(axis=(1, 2)).min() > 30
    assert images.max() == 255
    assert 0.1 < np.mean((images > 25) & (images < 230)) < 0.5


def test_ink_is_centred(arrays):
    inked = arrays[0] > 25
    for axis in (1, 2):
        occupied = inked.any(axis=axis)
        first, last = occupied.argmax(axis=1), 27 - occupied[:, ::-1].argmax(axis=1)
        centre = (first + last) / 2
        assert abs(centre.mean() - 13.5) < 0.5
        assert np.percentile(abs(centre - 13.5), 99) < 4


def test_digits_fill_mnists_box_of_20_pixels(name, arrays):
    if name == "mnist":
        digits = arrays[0] > 100
        heights = digits.any(axis=2).sum(axis=1)
        assert abs(np.median(heights) - 20) <= 1.5
        assert np.median(digits.any(axis=1).sum(axis=1)) < 20


def test_every_class_is_unlike_the_others(arrays):
    train_images, train_labels, test_images, test_labels = map(np.float32, arrays)
    means = np.stack([train_images[train_labels == label].mean(axis=0) for label in range(10)])
    distances = np.square(test_images[:, None] - means).sum(axis=(2, 3))
    right = distances.argmin(axis=1) == test_labels
    assert right.mean() > 0.5
    assert min(right[test_labels == label].mean() for label in range(10)) > 0.15


@pytest.mark.slow
# The last digits that a converged fit would add are not worth the seconds.
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_linear_classifier_learns_much_but_not_all_and_a_hidden_layer_more(arrays):
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier

    train_labels, test_labels = arrays[1], arrays[3]
    train_pixels, test_pixels = (
        np.float32(images.reshape(len(images), -1)) / 255 for images in arrays[::2]
    )
    linear, network = (
        model.fit(train_pixels, train_labels).score(test_pixels, test_labels)
        for model in (
            LogisticRegression(max_iter=30),
            MLPClassifier((128,), max_iter=12, random_state=0),
        )
    )
    assert 0.6 < linear < 0.97
    assert network > linear
