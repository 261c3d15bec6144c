"""Finding, splitting and normalising the datasets."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import sys
import tempfile
import time
import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import needs_real_data

from common.data import download
from common.data import load as data
from common.data.dataset import Dataset, normalise
from common.data.originals import ORIGINALS, KnownFile, Original
from common.errors import UserError

FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
NPZ_KEYS = ("x_train", "y_train", "x_test", "y_test")
NAMES = ("mnist", "fashion_mnist")
REAL = os.environ.get("MNIST_DATA_DIR")


def idx_bytes(array: np.ndarray) -> bytes:
    """The IDX file of a uint8 array, written as the format's description says."""
    sizes = b"".join(int(size).to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()


def tiny_arrays(name: str) -> tuple[np.ndarray, ...]:
    """20 training and 10 test images of noise with their labels, other ones for each name."""
    generator = np.random.default_rng(NAMES.index(name))
    labels = np.arange(20, dtype=np.uint8) % 10
    return (
        generator.integers(0, 256, (20, 28, 28), np.uint8),
        generator.permutation(labels),
        generator.integers(0, 256, (10, 28, 28), np.uint8),
        generator.permutation(labels[:10]),
    )


def tiny_files(name: str) -> dict[str, bytes]:
    """The four uncompressed files of the tiny dataset."""
    return dict(zip(FILES, map(idx_bytes, tiny_arrays(name)), strict=True))


def tiny_npz(name: str = "mnist", compressed: bool = True) -> bytes:
    """The tiny dataset as Keras's mnist.npz is made."""
    buffer = io.BytesIO()
    save = np.savez_compressed if compressed else np.savez
    save(buffer, **dict(zip(NPZ_KEYS, tiny_arrays(name), strict=True)))
    return buffer.getvalue()


def tiny_original(name: str) -> Original:
    """What the module must know to accept the tiny dataset in place of the original."""
    real = ORIGINALS[name]
    known = tuple(
        KnownFile(real.title, file, array.shape, hashlib.sha256(content).hexdigest())
        for (file, content), array in zip(tiny_files(name).items(), tiny_arrays(name), strict=True)
    )
    return replace(real, sources=(), files=known)


def write(folder: Path, files: dict[str, bytes], compress: bool = True) -> Path:
    """`files` in `folder`, which is made, as .gz or plain."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = folder / (f"{name}.gz" if compress else name)
        path.write_bytes(gzip.compress(content, 1) if compress else content)
    return folder


def assert_is_tiny(dataset: Dataset, name: str) -> None:
    arrays = (
        dataset.train_images,
        dataset.train_labels,
        dataset.test_images,
        dataset.test_labels,
    )
    for array, expected in zip(arrays, tiny_arrays(name), strict=True):
        assert array.dtype == np.uint8
        np.testing.assert_array_equal(array, expected)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A world with tiny originals, empty places to look in and no network; gives its root."""
    for name in NAMES:
        monkeypatch.setitem(ORIGINALS, name, tiny_original(name))
    monkeypatch.delenv("MNIST_DATA_DIR", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temp"))
    monkeypatch.setattr(data, "DATASETS_FOLDER", tmp_path / "datasets")
    stand_in = types.ModuleType("common.data.synthetic")
    stand_in.synthesise = lambda name, seed=0: tuple(255 - array for array in tiny_arrays(name))
    monkeypatch.setitem(sys.modules, "common.data.synthetic", stand_in)
    return tmp_path


def one_line_error(**arguments) -> str:
    """The message of the UserError that `load` must raise."""
    with pytest.raises(UserError) as caught:
        data.load(**arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Where the files are


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("below", ["", "sub"])
def test_a_given_folder_may_be_the_datasets_or_its_parent(tiny, name, compress, below):
    folder = tiny / "mine" / (name if below else "")
    write(folder, tiny_files(name), compress)
    dataset = data.load(name, data="real", data_dir=str(tiny / "mine"))
    assert_is_tiny(dataset, name)
    assert dataset.source == str(folder)
    assert dataset.name == name
    assert not dataset.synthetic
    assert dataset.validation_images.shape == (0, 28, 28)
    assert dataset.validation_labels.shape == (0,)


def test_dotted_and_hyphenated_names_are_accepted(tiny):
    for folder, suffix in (("fashion-mnist", ""), ("mnist", ".gz")):
        (tiny / folder).mkdir()
        for file, content in tiny_files(folder.replace("-", "_")).items():
            path = tiny / folder / (file.replace("-idx", ".idx") + suffix)
            path.write_bytes(gzip.compress(content) if suffix else content)
    for name in NAMES:
        assert_is_tiny(data.load(name, data_dir=tiny), name)


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("folder", ["", "mnist"])
def test_npz_is_accepted_and_has_the_fingerprint_of_the_idx_files(tiny, compressed, folder):
    (tiny / folder).mkdir(exist_ok=True)
    (tiny / folder / "mnist.npz").write_bytes(tiny_npz(compressed=compressed))
    dataset = data.load("mnist", data_dir=tiny)
    assert_is_tiny(dataset, "mnist")
    assert dataset.source == str(tiny / folder / "mnist.npz")
    digests = [hashlib.sha256(content).hexdigest() for content in tiny_files("mnist").values()]
    assert dataset.fingerprint == hashlib.sha256("".join(digests).encode()).hexdigest()
    from_idx = data.load("mnist", data_dir=write(tiny / "idx", tiny_files("mnist")))
    assert from_idx.fingerprint == dataset.fingerprint


def test_places_are_looked_at_in_order(tiny, monkeypatch):
    places = {
        "argument": write(tiny / "argument", tiny_files("mnist")),
        "environment": write(tiny / "environment", tiny_files("mnist")),
        "beside": write(tiny / "datasets" / "mnist", tiny_files("mnist")),
        "keras": write(tiny / "keras" / "datasets" / "mnist", tiny_files("mnist")),
        "temporary": write(tiny / "temp" / ".keras" / "datasets" / "mnist", tiny_files("mnist")),
    }

    def source(**arguments) -> str:
        return data.load("mnist", data="real", **arguments).source

    monkeypatch.setenv("MNIST_DATA_DIR", str(places["environment"]))
    assert source(data_dir=places["argument"]) == str(places["argument"])
    assert source() == str(places["environment"])
    monkeypatch.setenv("MNIST_DATA_DIR", "")
    assert source() == str(places["beside"])
    monkeypatch.setattr(data, "DATASETS_FOLDER", tiny / "nothing here")
    assert source() == str(places["keras"])
    monkeypatch.setenv("KERAS_HOME", str(tiny / "empty"))
    assert source() == str(places["temporary"])


def test_datasets_folder_is_beside_the_scripts():
    assert Path(__file__).resolve().parent.parent / "datasets" == data.DATASETS_FOLDER


@pytest.mark.parametrize("by", ["--data-dir", "MNIST_DATA_DIR"])
@pytest.mark.parametrize("mode", ["auto", "real"])
def test_a_given_place_without_the_files_is_an_error(tiny, monkeypatch, by, mode):
    write(tiny / "datasets" / "mnist", tiny_files("mnist"))  # must not be used instead
    for folder, problem in (
        (tiny / "absent", "is not a folder that can be read"),
        (write(tiny / "other", {"readme": b"text"}), "holds no MNIST"),
    ):
        arguments = {"data_dir": folder} if by == "--data-dir" else {}
        monkeypatch.setenv("MNIST_DATA_DIR", str(folder))
        message = one_line_error(name="mnist", data=mode, **arguments)
        assert str(folder) in message
        assert f"from {by}, {problem}" in message
        assert all(file in message for file in FILES)


def test_a_home_that_does_not_exist_is_an_error_like_any_other(tiny):
    folder = Path("~nobody-of-this-name") / "data"
    assert f"{folder}, from --data-dir, is not" in one_line_error(name="mnist", data_dir=folder)


@pytest.mark.parametrize("place", ["mine", "datasets"])
def test_missing_files_are_named(tiny, place):
    folder = write(tiny / place / "mnist", tiny_files("mnist"))
    (folder / f"{FILES[1]}.gz").unlink()
    (folder / f"{FILES[3]}.gz").unlink()
    arguments = {"data_dir": tiny / place} if place == "mine" else {}
    message = one_line_error(name="mnist", **arguments)
    assert f"{folder} lacks {FILES[1]}, {FILES[3]} " in message


def test_a_damaged_file_in_the_datasets_folder_is_an_error_and_stays(tiny):
    folder = write(tiny / "datasets" / "mnist", tiny_files("mnist"))
    path = folder / f"{FILES[2]}.gz"
    path.write_bytes(path.read_bytes()[:-100])
    size = path.stat().st_size
    message = one_line_error(name="mnist")
    assert str(path) in message
    assert "replace or remove the file" in message
    assert path.stat().st_size == size


def test_the_other_datasets_files_are_recognised(tiny):
    folder = write(tiny / "mine", tiny_files("fashion_mnist"))
    message = one_line_error(name="mnist", data_dir=folder)
    assert f"is Fashion-MNIST's {FILES[0]}; expected MNIST's {FILES[0]}" in message
    (tiny / "mnist.npz").write_bytes(tiny_npz("fashion_mnist"))
    assert "is Fashion-MNIST's" in one_line_error(name="mnist", data_dir=tiny)


def test_damage_in_the_keras_cache_is_warned_of_and_passed_over(tiny, capsys):
    cache = tiny / "keras" / "datasets"
    cache.mkdir(parents=True)
    (cache / "mnist.npz").write_bytes(tiny_npz()[:5000])
    dataset = data.load("mnist")
    assert dataset.synthetic
    assert f"warning: not used: {cache / 'mnist.npz'}: " in capsys.readouterr().err
    assert (cache / "mnist.npz").stat().st_size == 5000
    write(cache / "mnist", tiny_files("mnist"))
    (cache / "mnist" / f"{FILES[0]}.gz").write_bytes(b"damaged")
    (cache / "mnist.npz").write_bytes(tiny_npz())
    assert data.load("mnist").source == str(cache / "mnist.npz")


def test_a_cache_that_may_not_be_entered_is_passed_over(tiny, monkeypatch):
    is_file = Path.is_file

    def refuse(path: Path) -> bool:
        if tiny / "keras" in path.parents:
            raise PermissionError(13, "Permission denied")
        return is_file(path)

    monkeypatch.setattr(Path, "is_file", refuse)
    cache = write(tiny / "temp" / ".keras" / "datasets" / "mnist", tiny_files("mnist"))
    assert data.load("mnist", data="real").source == str(cache)


def refuse_in(folder: Path):
    """A `tempfile.TemporaryFile` for a disk that is read-only below `folder`."""
    real = tempfile.TemporaryFile

    def temporary_file(dir: Path):
        if folder in dir.parents:
            raise OSError(30, "Read-only file system")
        return real(dir=dir)

    return temporary_file


def test_keras_caches_without_home_or_with_one_that_is_a_file(tiny, monkeypatch):
    fallback = tiny / "temp" / ".keras" / "datasets"
    (tiny / "file").write_text("not a folder")
    monkeypatch.setenv("KERAS_HOME", str(tiny / "file"))
    assert download.writable_cache() == fallback
    (tiny / "read-only" / "datasets").mkdir(parents=True)
    monkeypatch.setenv("KERAS_HOME", str(tiny / "read-only"))
    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "TemporaryFile", refuse_in(tiny / "read-only"))
        assert download.writable_cache() == fallback
    monkeypatch.delenv("KERAS_HOME")

    def no_home(path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", no_home)
    assert download.keras_caches() == [fallback]
    assert data.load("mnist").synthetic


@pytest.mark.parametrize("compress", [True, False])
def test_compression_goes_by_content_not_by_name(tiny, compress):
    folder = write(tiny / "mine", tiny_files("mnist"), compress)
    for path in list(folder.iterdir()):
        path.rename(path.with_suffix("") if compress else path.with_name(f"{path.name}.gz"))
    assert_is_tiny(data.load("mnist", data_dir=folder), "mnist")


# Real, synthetic or either


def test_real_without_files_says_what_was_tried_and_what_to_do(tiny):
    message = one_line_error(name="fashion_mnist", data="real")
    assert "Keras cache" in message
    assert f"into {tiny / 'datasets' / 'fashion-mnist'} or" in message
    assert "--data-dir" in message
    assert all(file in message for file in FILES)


def test_auto_without_files_is_synthetic_with_a_warning_nobody_can_miss(tiny, capsys):
    dataset = data.load("mnist", quiet=True)
    assert (dataset.synthetic, dataset.title) == (True, "MNIST (synthetic)")
    np.testing.assert_array_equal(dataset.train_images, 255 - tiny_arrays("mnist")[0])
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) >= 5
    assert set(lines[0]) == set(lines[-1]) == {"!"}
    assert "THIS IS NOT MNIST" in lines[1]
    assert "--data real" in lines[-2]


def test_synthetic_touches_no_files_and_no_network(tiny, monkeypatch, capsys):
    write(tiny / "datasets" / "mnist", tiny_files("mnist"))
    monkeypatch.setenv("MNIST_DATA_DIR", str(tiny / "absent"))
    monkeypatch.setattr(data, "_find", lambda *arguments: pytest.fail("looked for files"))
    monkeypatch.setattr(data, "_download", lambda *arguments: pytest.fail("asked the network"))
    dataset = data.load("mnist", data="synthetic")
    assert dataset.synthetic
    assert "synthetic" in dataset.source
    assert capsys.readouterr().err == ""
    digests = [hashlib.sha256(idx_bytes(255 - a)).hexdigest() for a in tiny_arrays("mnist")]
    assert dataset.fingerprint == hashlib.sha256("".join(digests).encode()).hexdigest()


@pytest.mark.parametrize("arguments", [{"name": "cifar"}, {"name": "mnist", "data": "fake"}])
def test_unknown_names_are_refused(tiny, arguments):
    with pytest.raises(ValueError, match="must be"):
        data.load(**arguments)


# Splits


def dataset_of(labels: np.ndarray) -> Dataset:
    """A dataset whose image i holds the number i in its first pixels."""
    images = np.zeros((len(labels), 28, 28), np.uint8)
    images[:, 0, 0], images[:, 0, 1] = np.divmod(np.arange(len(labels)), 256)
    return Dataset(
        name="mnist",
        title="MNIST",
        class_names=tuple("0123456789"),
        train_images=images,
        train_labels=labels,
        test_images=images[:10],
        test_labels=labels[:10],
        source="made up",
        fingerprint="",
        synthetic=False,
    )


def numbers(images: np.ndarray) -> np.ndarray:
    """Which image of `dataset_of` each one is."""
    return images[:, 0, 0].astype(int) * 256 + images[:, 0, 1]


@pytest.fixture(scope="module")
def uneven() -> Dataset:
    """2,000 images; the rarest class has about 36 of them, the commonest about 360."""
    frequencies = np.arange(1, 11) / 55
    return dataset_of(np.random.default_rng(3).choice(10, 2000, p=frequencies).astype(np.uint8))


@pytest.mark.parametrize("fraction", [0, 0.1, 1 / 3, 0.5, 0.95])
def test_a_split_is_disjoint_complete_and_stratified(uneven, fraction):
    split = uneven.split(fraction, seed=0)
    train, validation = numbers(split.train_images), numbers(split.validation_images)
    assert sorted([*train, *validation]) == list(range(2000))
    assert len(validation) == round(fraction * 2000)
    for part, labels in ((train, split.train_labels), (validation, split.validation_labels)):
        np.testing.assert_array_equal(labels, uneven.train_labels[part])
    counts = np.bincount(split.validation_labels, minlength=10)
    assert np.abs(counts - fraction * np.bincount(uneven.train_labels)).max() < 1
    assert split.validation_images.shape[1:] == (28, 28)
    assert split.validation_images.dtype == split.train_images.dtype == np.uint8
    np.testing.assert_array_equal(split.test_images, uneven.test_images)


def test_class_counts_agree_with_scikit_learn(uneven):
    selection = pytest.importorskip("sklearn.model_selection")
    labels = uneven.train_labels
    _, expected = selection.train_test_split(labels, test_size=0.2, stratify=labels, random_state=0)
    counts = np.bincount(uneven.split(0.2, seed=0).validation_labels)
    assert np.abs(counts - np.bincount(expected)).max() <= 1
    assert counts.sum() == len(expected)


def test_the_seed_decides_the_split(uneven):
    first, again, other = (uneven.split(0.1, seed=seed) for seed in (0, 0, 1))
    first, again, other = (numbers(part.validation_images) for part in (first, again, other))
    np.testing.assert_array_equal(first, again)
    shared = np.intersect1d(first, other)
    assert len(shared) < 50  # 20 of 200 are expected by chance


def test_a_split_takes_images_from_everywhere(uneven):
    places = numbers(uneven.split(0.5, seed=0).validation_images)
    assert 400 < (places < 1000).sum() < 600


@pytest.mark.parametrize("fraction", [-0.1, 1, 1.5, float("nan")])
def test_fractions_outside_0_to_1_are_refused(uneven, fraction):
    with pytest.raises(ValueError, match="validation is"):
        uneven.split(fraction, seed=0)


def test_a_fraction_that_leaves_nothing_to_train_on_is_refused(uneven):
    with pytest.raises(UserError, match="leaves no image"):
        uneven.split(0.9999, seed=0)


def test_a_number_of_images_is_stratified_and_split(uneven):
    split = uneven.split(0.25, seed=0, images=400)
    train, validation = numbers(split.train_images), numbers(split.validation_images)
    assert (len(train), len(validation)) == (300, 100)
    assert len({*train, *validation}) == 400
    counts = np.bincount(uneven.train_labels[[*train, *validation]])
    assert np.abs(counts - np.bincount(uneven.train_labels) / 5).max() < 1
    assert len(uneven.split(0, seed=0, images=400).train_images) == 400
    with pytest.raises(UserError, match="--images 2001 is more than the 2000 there are"):
        uneven.split(0.25, seed=0, images=2001)


def test_nothing_held_out_is_the_dataset_itself(uneven):
    assert uneven.split(0, seed=0) is uneven


# Pixels


def test_normalise_gives_the_numbers_of_keras():
    keras = pytest.importorskip("keras")
    images = np.arange(4 * 784, dtype=np.int64).reshape(4, 28, 28).astype(np.uint8)
    assert len(np.unique(images)) == 256
    expected = keras.ops.convert_to_numpy(keras.layers.Rescaling(1 / 255)(images))
    np.testing.assert_array_equal(normalise(images), expected)


def test_normalise_spans_0_to_1_and_refuses_what_is_not_pixels():
    pixels = normalise(np.array([[[0, 51, 255]]], np.uint8))
    assert pixels.dtype == np.float32
    assert pixels[0, 0].tolist() == [0, pytest.approx(0.2), 1]
    with pytest.raises(ValueError, match="float32"):
        normalise(pixels)


# The real files

FIRST_LABELS = {"mnist": [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]}
COUNTS = {
    "mnist": [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
    "fashion_mnist": [6000] * 10,
}


@pytest.mark.slow
@needs_real_data
@pytest.mark.parametrize("name", NAMES)
def test_the_real_data_has_the_published_shapes_and_labels(name):
    start = time.perf_counter()
    dataset = data.load(name, data="real", data_dir=REAL)
    seconds = time.perf_counter() - start
    assert dataset.train_images.shape == (60_000, 28, 28)
    assert dataset.test_images.shape == (10_000, 28, 28)
    assert np.bincount(dataset.train_labels).tolist() == COUNTS[name]
    assert dataset.train_labels[:10].tolist() == FIRST_LABELS.get(
        name, dataset.train_labels[:10].tolist()
    )
    assert len(dataset.class_names) == 10
    assert seconds < 5  # 0.3 s on an idle machine
    split = dataset.split(0.1, seed=0)
    assert len(split.validation_labels) == 6000
    fractions = np.bincount(split.validation_labels) / COUNTS[name]
    assert np.abs(fractions - 0.1).max() < 1e-3


@pytest.mark.slow
@needs_real_data
@pytest.mark.parametrize("name", NAMES)
def test_the_real_data_is_the_same_from_plain_files_and_npz(name, tmp_path):
    dataset = data.load(name, data_dir=REAL)
    arrays = (
        dataset.train_images,
        dataset.train_labels,
        dataset.test_images,
        dataset.test_labels,
    )
    contents = dict(zip(FILES, map(idx_bytes, arrays), strict=True))
    copies = [write(tmp_path / "plain", contents, compress=False)]
    if name == "mnist":
        (tmp_path / "npz").mkdir()
        np.savez(tmp_path / "npz" / "mnist.npz", **dict(zip(NPZ_KEYS, arrays, strict=True)))
        copies.append(tmp_path / "npz")
    for folder in copies:
        copy = data.load(name, data="real", data_dir=folder)
        assert copy.fingerprint == dataset.fingerprint
        np.testing.assert_array_equal(copy.train_images, dataset.train_images)
        np.testing.assert_array_equal(copy.test_labels, dataset.test_labels)
