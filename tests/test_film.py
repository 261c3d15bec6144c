"""The film of a training: what is kept after each epoch, and what is drawn of it."""

import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import assert_same_state
from PIL import Image
from tiny import ENGINES, make_network, make_run, split_dataset, train

from common.files import read_arrays
from common.plotting import film as drawing
from experiment import figures, film
from experiment.film import FILM, Film


@pytest.fixture(scope="module")
def data():
    return split_dataset()


def kept(run):
    return read_arrays(run.folder / FILM)


# ---- What is kept ---------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
def test_each_epoch_keeps_filters_hidden_outputs_and_predictions(engine, data, tmp_path):
    run, network = make_run(tmp_path, engine=engine), make_network(engine)
    train(network, data, run)
    arrays = kept(run)
    assert arrays["epochs"].tolist() == [1, 2, 3]
    order = [np.flatnonzero(data.validation_labels == label)[:50] for label in range(10)]
    order = np.sort(np.concatenate(order))
    images = data.validation_images[order]
    assert np.array_equal(arrays["labels"], data.validation_labels[order])
    predicted = network.predict(images, verbose=0).argmax(axis=1)
    assert np.array_equal(arrays["predicted"][-1], predicted)
    weights, biases = network.weights[:2] if engine == "keras" else network.parameters[:2]
    weights, biases = np.asarray(weights), np.asarray(biases)
    hidden = np.maximum(images.reshape(-1, 784) / 255 @ weights + biases, 0)
    np.testing.assert_allclose(arrays["hidden"][-1], hidden, atol=0.01)
    assert arrays["weights"].shape == (3, 12, 28, 28)
    wanted = weights.T.reshape(-1, 28, 28)[:12]
    np.testing.assert_allclose(arrays["weights"][-1], wanted, atol=1e-3)


def test_of_many_images_fifty_of_each_class_are_kept(tmp_path):
    labels = np.repeat(np.arange(10, dtype=np.uint8), 60)
    images = np.zeros((600, 28, 28), np.uint8)
    data = SimpleNamespace(validation_labels=labels, validation_images=images)
    run = make_run(tmp_path, engine="numpy")
    assert np.bincount(Film(None, data, run).labels).tolist() == [50] * 10


@pytest.mark.parametrize("epochs", [5, 30, 31, 64, 1000])
def test_at_most_thirty_frames_evenly_spaced_up_to_the_last_epoch(
    epochs, data, tmp_path, monkeypatch
):
    made = Film(make_network("numpy"), data, make_run(tmp_path, engine="numpy"))
    monkeypatch.setattr(film, "write_arrays", lambda *_, **arrays: vars(made).update(last=arrays))
    frame = (np.zeros((3, 2)), np.zeros((3, 10)), np.zeros((1, 5, 5)))
    for epoch in range(1, epochs + 1):
        made.write(epoch, *frame)
        assert len(made.last["epochs"]) <= 30 and made.last["epochs"][-1] == epoch
    *steps, _ = np.diff([0, *made.last["epochs"]])
    assert len({*steps}) == 1 and len(made.last["epochs"]) >= min(epochs, 15)


def test_wide_layers_are_projected_the_same_way_each_time(data, tmp_path):
    made = Film(make_network("numpy"), data, make_run(tmp_path, engine="numpy"))
    hidden = np.random.default_rng(1).normal(size=(100, 512))
    for epoch in (1, 2):
        made.write(epoch, hidden, np.zeros((100, 10)), np.zeros((1, 5, 5)))
    first, second = read_arrays(made.path)["hidden"].astype(float)
    assert first.shape == (100, 64) and np.array_equal(first, second)
    ratio = np.linalg.norm(first[0] - first[1:], axis=1) / np.linalg.norm(
        hidden[0] - hidden[1:], axis=1
    )
    assert ratio.mean() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("engine", ["numpy", pytest.param("keras", marks=pytest.mark.slow)])
def test_training_is_the_same_with_a_film_and_without(engine, data, tmp_path):
    states = []
    for choice in ("all", "none"):
        run = make_run(tmp_path, engine=engine, figures=choice, epochs=2)
        train(make_network(engine), data, run)
        states.append(run.folder / "checkpoint-2.npz")
        assert (run.folder / FILM).exists() == (choice == "all")
    assert_same_state(*states)


def test_without_validation_images_and_on_several_devices_there_is_none(data, tmp_path):
    run = make_run(tmp_path, engine="numpy")
    none = {
        "validation_images": data.validation_images[:0],
        "validation_labels": data.validation_labels[:0],
    }
    train(make_network("numpy"), replace(data, **none), run)
    run.device = replace(run.device, count=2)
    Film(make_network("numpy"), data, run).add(1)
    assert not (run.folder / FILM).exists()


def test_a_resumed_run_keeps_the_frames_before_and_replaces_later_ones(data, tmp_path):
    whole = make_run(tmp_path, engine="numpy")
    train(make_network("numpy"), data, whole)
    run = make_run(tmp_path, engine="numpy")
    train(make_network("numpy"), data, run)
    (run.folder / "checkpoint-3.npz").unlink()  # killed before it was written
    train(make_network("numpy"), data, run)
    for name, values in kept(whole).items():
        assert np.array_equal(values, kept(run)[name])


@pytest.mark.parametrize("problem", ["view", "damaged"])
def test_what_goes_wrong_is_one_warning_and_costs_only_the_film(
    problem, data, tmp_path, capsys, monkeypatch
):
    run = make_run(tmp_path, engine="numpy")
    if problem == "view":
        monkeypatch.setattr(film, "scratch_view", lambda *_: 1 / 0)
    else:
        (run.folder / FILM).write_bytes(b"PK")
    train(make_network("numpy"), data, run)
    error = capsys.readouterr().err
    assert (
        error.startswith("warning: the film of training ends before epoch 1: ")
        and error.count("\n") == 1
    )
    assert len(run.history.rows) == 3 and not run.history.failure


# ---- What is drawn --------------------------------------------------------------------------


def arrays_of(count, weights=(24, 5, 5)):
    """A film whose three classes of 50 images part, and of which two are wrong in each frame."""
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(10, dtype=np.uint8), 50)
    centres = generator.normal(0, 5, (10, 16))
    growth = np.linspace(0.1, 1, count)[:, None, None]
    predicted = np.tile(labels, (count, 1))
    predicted[:, [3, 400]] = 9
    return {
        "epochs": np.arange(1, count + 1),
        "labels": labels,
        "hidden": growth * (centres[labels] + generator.normal(0, 1, (count, 500, 16))),
        "weights": generator.normal(size=(count, *weights)),
        "predicted": predicted,
    }


def test_the_axes_are_the_principal_components_of_the_last_frame():
    hidden = arrays_of(3)["hidden"]
    points = drawing.plane(hidden)
    _, vectors = np.linalg.eigh(np.cov(hidden[-1].T))
    for place in (0, 1):
        coordinates = hidden[-1] @ vectors[:, -1 - place]
        assert abs(np.corrcoef(coordinates, points[-1, :, place])[0, 1]) == pytest.approx(1)
    assert points[-1].min() == 0 and points[-1].max() == 1
    assert np.ptp(points[0]) < 0.3  # the same axes and scale
    assert drawing.plane(hidden[..., :1]).shape == (3, 500, 2)  # a layer of one unit


@pytest.mark.parametrize("weights", [(24, 5, 5), (12, 28, 28), (1, 1, 1)])
def test_a_film_is_a_gif_and_a_strip_of_its_frames(weights, tmp_path):
    arrays = arrays_of(3, weights)
    if weights == (1, 1, 1):  # a first layer without filters
        arrays["weights"][:] = 0
    pictures = list(drawing.frames(arrays, [0.5, 0.8, 0.9], "mnist", "0123456789", "title"))
    assert [picture.shape for picture in pictures] == [(560, 1000, 3)] * 3
    assert not np.array_equal(pictures[0], pictures[1])
    ring = (np.abs(pictures[-1].astype(int) - (213, 94, 0)).max(axis=2) < 8).sum()
    assert ring > 100  # around the two mistakes, and in the legend
    drawing.save(pictures, tmp_path / "a.gif", tmp_path / "b.png")
    with Image.open(tmp_path / "a.gif") as gif, Image.open(tmp_path / "b.png") as strip:
        assert (gif.size, gif.n_frames, strip.size) == ((1000, 560), 3, (1000, 3 * 560))
        frames = np.asarray(strip.convert("RGB")).reshape(3, 560, 1000, 3).astype(int)
        for place in range(3):
            gif.seek(place)
            shown = np.asarray(gif.convert("RGB")).astype(int)
            assert np.array_equal(shown, frames[place])
            assert np.abs(shown - pictures[place]).mean() < 3  # the palette has the colours
        assert gif.info["duration"] == 3000


def test_frames_beyond_the_history_are_left_out():
    """Of a run that was killed before its checkpoint, and stopped when it was resumed."""
    assert len(list(drawing.frames(arrays_of(3), [0.5, 0.8], "mnist", "0123456789", ""))) == 2


def test_a_film_that_cannot_be_drawn_is_one_warning(tmp_path, capsys):
    (tmp_path / FILM).write_bytes(b"PK")
    history = SimpleNamespace(column=lambda _: [0.5])
    run = SimpleNamespace(folder=tmp_path, history=history, config={"dataset": "mnist"})
    figures.draw_film(run, [], "")
    error = capsys.readouterr().err
    assert error.startswith("warning: training.gif could not be drawn: ") and error.count("\n") == 1


@pytest.mark.slow
def test_thirty_frames_are_small_and_soon_drawn(tmp_path):
    began = time.perf_counter()
    pictures = list(
        drawing.frames(arrays_of(30, (12, 28, 28)), [0.9] * 30, "mnist", "0123456789", "")
    )
    drawing.save(pictures, tmp_path / "a.gif", tmp_path / "b.png")
    seconds, size = time.perf_counter() - began, (tmp_path / "a.gif").stat().st_size
    print(f"{seconds:.2f} s, {size:,} bytes")
    assert seconds < 8 and size < 2e6  # twice the time, for a busy machine
