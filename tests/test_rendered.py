import hashlib
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import REPOSITORY
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier

from common.data.synthetic import render

CPU_SECONDS = 20  # Ten times what it takes, for slower machines.
CHILD = """
import hashlib, sys, warnings
from common.data import synthetic as rendered
assert "matplotlib" not in sys.modules
import matplotlib.ft2font, matplotlib.path  # whose own warnings are not ours
warnings.simplefilter("error")
arrays = rendered.render(sys.argv[1])
assert not {"matplotlib.pyplot", "tensorflow", "keras"} & set(sys.modules)
print(hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest())
"""

# The last digits that a converged fit would add are not worth the seconds.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(scope="module", params=["mnist", "fashion_mnist"])
def name(request):
    return request.param


@pytest.fixture(scope="module")
def arrays(name):
    return render(name)


@pytest.fixture(scope="module")
def linear_accuracy(arrays):
    return accuracy(LogisticRegression(max_iter=30), arrays)


def accuracy(model, arrays):
    train_images, train_labels, test_images, test_labels = arrays
    train_pixels, test_pixels = (
        np.float32(images.reshape(len(images), -1)) / 255 for images in (train_images, test_images)
    )
    return model.fit(train_pixels, train_labels).score(test_pixels, test_labels)


def test_shapes_and_types_are_the_promised_ones(arrays):
    assert [array.shape for array in arrays] == [(12000, 28, 28), (12000,), (2000, 28, 28), (2000,)]
    assert {array.dtype for array in arrays} == {np.dtype(np.uint8)}


def test_classes_are_balanced_and_shuffled(arrays):
    for labels in (arrays[1], arrays[3]):
        assert np.array_equal(np.bincount(labels), [len(labels) // 10] * 10)
        # Sorted labels would have nearly all neighbours equal, cyclic ones none.
        assert 0.05 < np.mean(labels[1:] == labels[:-1]) < 0.15


def test_same_seed_gives_the_same_bytes_whatever_numpys_global_state(name, arrays):
    saved = np.random.get_state()
    np.random.seed(1)
    before = np.random.get_state()[1].copy()
    start = time.process_time()
    again = render(name, seed=0)
    seconds = time.process_time() - start
    after = np.random.get_state()[1]
    np.random.set_state(saved)
    assert all(a.tobytes() == b.tobytes() for a, b in zip(arrays, again, strict=True))
    assert np.array_equal(before, after)
    assert seconds < CPU_SECONDS


def test_a_fresh_process_gives_the_same_bytes_without_warnings_or_heavy_imports(name, arrays):
    command = [sys.executable, "-c", CHILD, name]
    child = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert (child.returncode, child.stderr) == (0, "")
    pixels_and_labels = b"".join(array.tobytes() for array in arrays)
    assert child.stdout.strip() == hashlib.sha256(pixels_and_labels).hexdigest()


def test_another_seed_gives_other_images_and_another_order(name, arrays):
    others = render(name, seed=1)
    assert not np.array_equal(others[1], arrays[1])
    assert not {i.tobytes() for i in others[0]} & {i.tobytes() for i in arrays[0]}


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


def test_digits_fill_mnists_box_of_20_pixels():
    digits = render("mnist", seed=2)[0] > 100
    heights = digits.any(axis=2).sum(axis=1)
    assert abs(np.median(heights) - 20) <= 1.5
    assert np.median(digits.any(axis=1).sum(axis=1)) < 20


def test_a_linear_classifier_learns_much_but_not_all(linear_accuracy):
    assert 0.6 < linear_accuracy < 0.97


def test_a_hidden_layer_beats_a_linear_classifier(arrays, linear_accuracy):
    network = MLPClassifier((128,), max_iter=12, random_state=0)
    assert accuracy(network, arrays) > linear_accuracy


def test_unknown_name_is_refused():
    with pytest.raises(ValueError, match="cifar10"):
        render("cifar10")
