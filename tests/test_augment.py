"""Variations of images, each against SciPy or what it is said to do."""

import contextlib

import numpy as np
import pytest
from scipy import ndimage

from common.augment import (
    augment,
    augmentation_examples,
    choose_augmentation,
    predict,
    smooth_noise,
    warp,
)


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(1, 256, (200, 28, 28), dtype=np.uint8)


def generator():
    return np.random.default_rng(7)


def test_without_strengths_nothing_changes(images):
    assert (augment(images, generator()) == images).all()


def test_the_originals_stay_as_they_are(images):
    before = images.copy()
    augment(images, generator(), flip=True, shift=3, rotation=20, zoom=0.2, erase=9)
    assert (images == before).all()


def test_the_same_generator_gives_the_same_images_and_another_gives_others(images):
    strengths = {"flip": True, "shift": 2, "rotation": 10, "zoom": 0.1, "erase": 6}
    first = augment(images, generator(), **strengths)
    assert first.dtype == np.uint8 and first.shape == images.shape
    assert (first == augment(images, generator(), **strengths)).all()
    assert (first != augment(images, np.random.default_rng(8), **strengths)).any()


def test_flip_mirrors_about_half_left_to_right(images):
    flipped = augment(images, generator(), flip=True)
    mirrored = (flipped == np.flip(images, axis=2)).all(axis=(1, 2))
    untouched = (flipped == images).all(axis=(1, 2))
    assert (mirrored | untouched).all()
    assert 70 < mirrored.sum() < 130


def shift_between(image, result):
    """By how many whole pixels an image was shifted down and to the right."""
    (found,) = (
        (down, right)
        for down in range(-2, 3)
        for right in range(-2, 3)
        if (ndimage.shift(image, (down, right), order=0) == result).all()
    )
    return found


def test_shift_moves_every_image_by_whole_pixels_and_fills_with_black(images):
    shifted = augment(images, generator(), shift=2)
    assert len({shift_between(*pair) for pair in zip(images, shifted, strict=True)}) == 25


def test_rotation_and_zoom_agree_with_scipy(images):
    images = images[:20]
    # A generator that is asked for the same numbers tells which angles and scales were drawn.
    drawn = generator()
    angles = np.deg2rad(drawn.uniform(-30, 30, (20, 1, 1))).ravel()
    scales = drawn.uniform(0.8, 1.2, (20, 1, 1)).ravel()
    varied = augment(images, generator(), rotation=30, zoom=0.2)
    centre = np.array([13.5, 13.5])
    for image, result, angle, scale in zip(images, varied, angles, scales, strict=True):
        cosine, sine = np.cos(angle) / scale, np.sin(angle) / scale
        matrix = np.array([[cosine, -sine], [sine, cosine]])
        wanted = ndimage.affine_transform(
            image.astype(float), matrix, centre - matrix @ centre, order=1, mode="grid-constant"
        )
        assert np.abs(result - wanted).max() <= 1


def test_erase_blackens_one_square_in_about_half(images):
    erased = augment(images, generator(), erase=6)
    changed = erased != images
    assert (erased[changed] == 0).all()
    touched = changed.any(axis=(1, 2))
    assert 60 < touched.sum() < 140
    for mask in changed[touched]:
        rows, columns = mask.any(axis=1).nonzero()[0], mask.any(axis=0).nonzero()[0]
        assert mask.sum() == len(rows) * len(columns)
        assert len(rows) <= 6 and len(columns) <= 6
        assert (np.diff(rows) == 1).all() and (np.diff(columns) == 1).all()


def test_a_test_with_mirror_images_takes_the_mean_of_both(images):
    class Rows:
        def predict(self, images, batch_size, verbose):
            assert images.flags["C_CONTIGUOUS"]
            return images[:, 9, :10].astype(np.float32)

    rows = images[:, 9].astype(np.float32)
    assert np.array_equal(predict(Rows(), images), rows[:, :10])
    both = (rows[:, :10] + rows[:, :-11:-1]) / 2
    assert np.array_equal(predict(Rows(), images, test_flip=True), both)


def test_examples_are_the_first_of_each_class_that_there_is_and_copies_of_them(images):
    labels = np.arange(200) % 9 + 1  # no image of class 0

    def flip(images, generator):
        return augment(images, generator, flip=True)

    examples = augmentation_examples(images, labels, flip, seed=1)
    assert examples["labels"].tolist() == list(range(1, 10))
    assert (examples["originals"] == images[:9]).all()
    assert examples["varied"].shape == (9, 7, 28, 28) and examples["varied"].dtype == np.uint8
    for original, copies in zip(images, examples["varied"], strict=False):
        mirrored = original[:, ::-1]
        assert all((copy == original).all() or (copy == mirrored).all() for copy in copies)


def test_elastic_distortion_moves_pixels_as_far_as_it_says():
    # On a ramp, the value that comes out tells where it was taken from.
    ramp = np.tile(np.arange(0, 252, 9, dtype=np.uint8), (400, 28, 1))
    moved = (augment(ramp, generator(), elastic=1.5).astype(float) - ramp) / 9
    inside = moved[:, 6:-6, 6:-6]
    assert abs(inside.mean()) < 0.1
    assert abs(inside.std() - 1.5) < 0.1
    # Neighbours move together, pixels far apart do not.
    columns = inside - inside.mean()
    near = (columns[:, 1:] * columns[:, :-1]).mean() / columns.var()
    far = (columns[:, 15:] * columns[:, :-15]).mean() / columns.var()
    assert near > 0.95 and abs(far) < 0.15


def test_smooth_noise_has_variance_one_everywhere():
    noise = smooth_noise(generator(), (4000, 28, 20))
    assert noise.shape == (4000, 28, 20) and noise.dtype == np.float32
    assert np.abs(noise.var(axis=0) - 1).max() < 0.15


def test_without_strengths_a_warp_changes_nothing(images):
    assert (warp(images, generator()) == images).all()


def test_options_choose_what_augments(images):
    nothing = {"flip": False, "shift": 0, "erase": 0}
    assert choose_augmentation(nothing) is None
    assert choose_augmentation(nothing | {"shift": 2, "augmenter": "none"}) is None
    for augmenter in ({}, {"augmenter": "numpy"}):
        chosen = choose_augmentation(nothing | {"shift": 2, "erase": 6} | augmenter)
        wanted = augment(images, generator(), shift=2, erase=6)
        assert np.array_equal(chosen(images, generator()), wanted)


@pytest.mark.filterwarnings("ignore:Please import")  # Keras's own, of SciPy
def test_keras_shifts_and_flips_by_whole_pixels_too(images):
    pytest.importorskip("tensorflow")
    vary = choose_augmentation({"flip": True, "shift": 2, "augmenter": "keras"})
    varied, before = vary(images, generator()), images.copy()
    assert varied.dtype == np.uint8 and (images == before).all()
    assert np.array_equal(varied, vary(images, generator()))
    assert (varied != vary(images, np.random.default_rng(8))).any()
    moves, mirrored = set(), 0
    for image, result in zip(images, varied, strict=True):
        for candidate in (image, image[:, ::-1]):
            with contextlib.suppress(ValueError):
                moves.add(shift_between(candidate, result))
                mirrored += candidate is not image
    assert len(moves) == 25 and 70 < mirrored < 130
