"""The drawing pad: what its page holds, and how it draws and computes in a real browser."""

import base64
import importlib
import json
import os
import re
import sys
import time
import webbrowser
from dataclasses import replace

import numpy as np
import pytest
from conftest import dataset, parse
from PIL import Image
from saved_runs import save_run, synthetic_images
from scipy.special import softmax

from benchmarks.drawn_digits import draw, pen_paths
from common.errors import UserError
from common.files import read_json, write_json
from common.networks.dense_numpy import DenseNetwork
from common.networks.initializers import initial_parameters
from experiment.options import ACTIVATIONS
from tools import draw as pad
from tools.handwriting.form import SIDE, read_digits, read_garment
from tools.handwriting.pictures import read_picture
from tools.saved import read_runs

HOSTILE = "<img src=x onerror=window.hacked=1>"
# A five with a gap before its bar, as people draw it; x and y on a pad whose sides are 1.
FIVE = [
    [(0.45, 0.3), (0.42, 0.5), (0.52, 0.48), (0.62, 0.55), (0.62, 0.68), (0.5, 0.75), (0.4, 0.7)],
    [(0.47, 0.27), (0.6, 0.26), (0.66, 0.25)],
]


def scratch_network(scale=1.0):
    """A dense network in NumPy with random weights."""
    parameters = initial_parameters([784, 16, 10], "glorot_uniform", 1)
    return DenseNetwork([scale * values for values in parameters], "tanh")


def save_scratch(folder, network, data, **changes):
    """A run of the network in a folder: its first two test predictions are wrong."""
    logits = network.predict(data.test_images)
    labels = labels_for(logits)
    accuracy = float((logits.argmax(axis=1) == labels).mean())
    changes = {"engine": "numpy", "hidden": [16], "activation": "tanh"} | changes
    save_run(folder, accuracy=accuracy, fingerprint=data.fingerprint, **changes)
    metrics = read_json(folder / "metrics.json") | {"parameters": network.count_params()}
    write_json(folder / "metrics.json", metrics)
    np.savez(folder / "test_predictions.npz", logits=logits, labels=labels)
    network.save(folder / "model.npz")
    return folder


def labels_for(logits, wrong=2):
    """What the images are, if the network is wrong about the first ones only."""
    labels = logits.argmax(axis=1).astype(np.uint8)
    labels[:wrong] = (labels[:wrong] + 1) % 10
    return labels


def content(page):
    """What was put into the template, read as a browser would."""
    text = page.read_text(encoding="utf-8")
    assert not re.search('https?:|src=|href="(?!data:)', text.replace(HOSTILE[1:], ""))  # one file
    (text,) = re.findall(r'<script type="application/json" id="run">(.*?)</script>', text, re.S)
    assert "<" not in text
    return json.loads(text, parse_constant=pytest.fail)


def test_a_page_holds_the_network_and_test_images(tiny_data, tmp_path, monkeypatch, capsys):
    network = scratch_network()
    folder = save_scratch(tmp_path / "mnist_dense" / HOSTILE, network, tiny_data)
    monkeypatch.setattr(pad, "open_in_browser", lambda page: False)
    pad.main(["--results-dir", str(tmp_path)])
    assert capsys.readouterr().out == f"open {folder / 'draw.html'} in a browser\n"
    page = content(folder / "draw.html")
    assert page["name"] == f"mnist_dense/{HOSTILE}" and page["half"]
    assert [step["kind"] for step in page["steps"]] == ["scale", "convolve", "activate", "convolve"]
    kernel = np.frombuffer(base64.b64decode(page["steps"][1]["kernel"]), np.float16)
    np.testing.assert_array_equal(kernel, network.parameters[0].astype(np.float16).ravel())
    *right, first, second = page["tests"]
    assert all(test["label"] == test["answer"] for test in right)
    assert {first["index"], second["index"]} == {0, 1} and first["label"] != first["answer"]
    confidence = softmax(network.predict(tiny_data.test_images), axis=1).max(axis=1)
    assert confidence[first["index"]] > confidence[second["index"]]
    assert base64.b64decode(first["pixels"]) == tiny_data.test_images[first["index"]].tobytes()


def test_weights_stay_in_float32_where_float16_is_too_coarse(tiny_data, tmp_path):
    for name, scale in (("mild", 1), ("steep", 50), ("infinite", 1e6)):
        folder = save_scratch(tmp_path / "mnist_dense" / name, scratch_network(scale), tiny_data)
        assert content(pad.write_page(read_runs(folder)[0]))["half"] == (name == "mild")


def test_what_a_person_has_to_know_stands_on_the_page(tiny_data, tmp_path, monkeypatch):
    folder = save_scratch(tmp_path / "a" / "b", scratch_network(), tiny_data, test_flip=True)
    data = replace(tiny_data, synthetic=True)
    monkeypatch.setattr(pad, "load_dataset", lambda run: data)
    page = content(pad.write_page(read_runs(folder)[0]))
    assert page["synthetic"] and page["mirrored"] and "mirror image" in page["about"]


def test_what_is_wrong_is_one_line(tiny_data, tmp_path, capsys):
    folder = save_scratch(tmp_path / "mnist_dense" / "a", scratch_network(), tiny_data)

    def refused():
        with pytest.raises(SystemExit) as end:
            pad.main(["--results-dir", str(tmp_path), "a"])
        (line,) = capsys.readouterr().err.splitlines()
        assert end.value.code == 1 and line.startswith("error: ")
        return line

    (folder / "draw.html").mkdir()
    assert "cannot write" in refused()
    (folder / "test_predictions.npz").write_bytes(b"no archive")
    assert "test_predictions.npz is missing or damaged" in refused()
    (folder / "model.npz").unlink()
    assert "model.npz is missing or damaged" in refused()


@pytest.mark.parametrize(
    ("platform", "variables", "found", "opened"),
    [
        ("linux", {}, True, False),  # webbrowser would start a browser in the terminal
        ("linux", {"DISPLAY": ":0"}, True, True),
        ("linux", {"WAYLAND_DISPLAY": "wayland-0"}, False, False),
        ("darwin", {}, True, True),
    ],
)
def test_it_opens_where_there_is_a_screen(
    platform, variables, found, opened, monkeypatch, tmp_path
):
    asked = []
    monkeypatch.setattr(webbrowser, "open", lambda url: asked.append(url) or found)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(os, "environ", variables)
    assert pad.open_in_browser(tmp_path / "draw.html") == opened
    assert all(url == (tmp_path / "draw.html").as_uri() for url in asked)


def refused_networks():
    """Networks that the page cannot compute, and what is said of them."""
    from keras import Input, Model, Sequential, layers

    start, end = layers.Reshape((28, 28, 1)), layers.GlobalMaxPooling2D()
    for layer, message in (
        (layers.SeparableConv2D(4, 3), "a SeparableConv2D layer, only Rescaling"),
        (layers.Conv2D(4, 3, dilation_rate=2), r"Conv2D layer with dilation_rate \(2, 2\)"),
        (layers.Conv2D(4, 3, activation="glu"), "Conv2D layer with activation 'glu'"),
        (layers.BatchNormalization(axis=1), "BatchNormalization layer with axis 1"),
        (layers.ReLU(6), "ReLU layer with max_value 6"),
    ):
        yield (
            Sequential([Input((28, 28), dtype="uint8"), start, layer, end, layers.Dense(10)]),
            message,
        )
    pixels = Input((28, 28), dtype="uint8")
    flat, twice = layers.Flatten()(pixels), layers.Dense(784)
    yield Model(pixels, layers.Dense(10)(twice(twice(flat)))), "do not form a chain"
    branch = layers.Add()([layers.Dense(10)(flat), layers.Dense(10)(flat)])
    yield Model(pixels, branch), "a Add layer"


def test_a_network_that_the_page_cannot_compute_is_refused():
    images = dataset(0, 4).test_images
    for model, message in refused_networks():
        with pytest.raises(UserError, match=message):
            pad.one_chain(model, images)


# ---- In a browser ---------------------------------------------------------------------------


class Page:
    """A pad in a browser, as a person sees it."""

    def __init__(self, driver, path):
        self.driver, self.script = driver, driver.execute_script
        driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        driver.get(path.as_uri())

    def predict(self, images):
        """The probabilities of images, uint8 (n, 28, 28)."""
        text = base64.b64encode(images.tobytes()).decode()
        answers = self.script(
            "const bytes = Uint8Array.from(atob(arguments[0]), (c) => c.charCodeAt(0)), all = [];"
            "for (let i = 0; i < bytes.length; i += 784)"
            "  all.push([...window.network.predict(bytes.slice(i, i + 784))]);"
            "return all",
            text,
        )
        return np.array(answers)

    def forms(self):
        return np.array(self.script("return forms().map((form) => [...form])")).reshape(-1, 28, 28)

    def pad(self):
        """The ink on the pad, float32 (280, 280)."""
        ink = self.script("return [...ink().pixels]")
        return np.float32(ink).reshape(280, 280)

    def probabilities(self):
        bars = "return [...document.querySelectorAll('#bars i')].map((bar) => bar.style.width)"
        return np.array([float(width.rstrip("%px") or 0) / 100 for width in self.script(bars)])

    def text(self, name):
        return self.driver.find_element("id", name).text

    def press(self, keys):
        self.driver.find_element("id", "pad").send_keys(keys)
        self.wait()

    def click(self, selector):
        self.driver.find_element("css selector", selector).click()
        self.wait()

    def wait_for(self, name, text):
        """Until an element has a text."""
        for _ in range(600):
            if text in self.text(name):
                return
            time.sleep(0.05)
        raise AssertionError(self.text(name))

    def wait(self):
        """Until the next frame was drawn."""
        frame = "requestAnimationFrame(() => setTimeout(arguments[0]))"
        self.driver.execute_async_script(frame)


@pytest.fixture
def pages(browser, tmp_path, monkeypatch):
    """Writes the page of a model, and opens it; nothing may stand in the browser's console."""

    def open_page(model, data, **changes):
        labels = np.arange(len(data.test_images)) % 10
        data = replace(data, test_labels=labels.astype(np.uint8))
        folder = tmp_path / "script" / HOSTILE
        if not folder.exists():
            logits = np.eye(10)[labels]
            logits[:3] = logits[1:4]
            save_run(folder, logits=logits, dataset=data.name, **changes)
        monkeypatch.setattr(pad, "load_model", lambda run: model)
        monkeypatch.setattr(pad, "load_dataset", lambda run: data)
        return Page(browser, pad.write_page(read_runs(folder)[0]))

    yield open_page
    assert browser.get_log("browser") == []
    assert browser.execute_script("return window.hacked") is None


def with_images(images, **changes):
    return replace(dataset(0, 0), test_images=images, **changes)


def shaken(model, images):
    """The model with every weight moved, as by training, and probabilities of all sizes."""
    generator = np.random.default_rng(1)
    for variable in model.weights:
        if not (variable.trainable or "moving" in variable.path):  # Normalization's
            continue
        values = np.asarray(variable)
        moved = values * generator.uniform(0.5, 1.5, values.shape)
        moved += 0.1 * generator.random(values.shape) * (values.ndim == 1)
        variable.assign(moved)
    logits, last = model.predict(images, verbose=0), model.layers[-1]
    spread = 3 / logits.std(axis=0).mean()
    last.kernel.assign(spread * np.asarray(last.kernel))
    last.bias.assign(spread * (np.asarray(last.bias) - logits.mean(axis=0)))
    return model


def expected(model, images, flip=False):
    """Keras's probabilities."""
    logits = model.predict(images, verbose=0)
    if flip:
        logits = (logits + model.predict(images[:, :, ::-1], verbose=0)) / 2
    return softmax(logits.astype(float), axis=1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "options"),
    [
        ("mnist_dense", ["default"]),
        ("mnist_dense", ["best", "--hidden", "96,64,64"]),
        ("mnist_cnn", ["default"]),
        ("mnist_cnn", ["fast"]),
        ("mnist_cnn", ["best", "--filters", "8"]),
        ("mnist_cnn", ["growing", "--filters", "2"]),
        ("mnist_cnn", ["unscaled", "--filters", "4"]),
        ("fashion_cnn_augment", ["default", "--filters", "8"]),
        ("fashion_cnn_augment", ["best", "--filters", "6"]),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_the_page_computes_what_keras_does(pages, script, options):
    args = parse(script, "--recipe", *options)
    fashion = script == "fashion_cnn_augment"
    _, _, images, _ = synthetic_images("fashion_mnist" if fashion else "mnist")
    images = images[:1000]
    model = shaken(importlib.import_module(script).build_model(args), images)
    flip = vars(args).get("test_flip", False)
    page = pages(model, with_images(images), test_flip=flip)
    wanted = expected(model, images, flip)
    assert len(set(wanted.argmax(axis=1))) > 5 and 0.3 < wanted.max(axis=1).mean() < 0.99
    np.testing.assert_allclose(page.predict(images), wanted, rtol=0, atol=0.001)


@pytest.mark.slow
def test_the_page_computes_every_layer(pages):
    from keras import Input, Model, Sequential, layers

    images = dataset(0, 60).test_images
    normalization = layers.Normalization(axis=None)
    normalization.adapt(images)
    pixels = Input((28, 28), dtype="uint8")
    inner = Sequential(
        [
            layers.Reshape((28, 28, 1)),
            layers.RandomFlip(),
            layers.Conv2D(6, (3, 2), strides=(2, 3), padding="same", activation="gelu"),
            layers.BatchNormalization(scale=False, center=False),
            layers.AveragePooling2D(3, strides=2, padding="same"),
            layers.GaussianNoise(0.5),
            layers.Conv2D(5, 2, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.MaxPooling2D((2, 1), padding="same"),
            layers.Dense(7, activation="softmax"),
        ]
    )
    maps = inner(normalization(pixels))
    means = layers.GlobalAveragePooling2D()(layers.Activation("selu")(maps))
    model = shaken(Model(pixels, layers.Dense(10)(layers.Dropout(0.9)(means))), images)
    page = pages(model, with_images(images))
    np.testing.assert_allclose(page.predict(images), expected(model, images), rtol=0, atol=0.001)


@pytest.mark.slow
def test_the_page_has_every_activation(pages):
    import keras

    page = pages(scratch_network(), dataset(0, 10), engine="numpy", activation="tanh", rescale=True)
    values = np.float32([[-9, -3, -1.5, -0.5, -0.2, 0, 0.1, 0.5, 0.7, 1, 2.5, 3, 6.5, 20]])
    for name in ACTIVATIONS:
        function = keras.activations.get(name)
        name = keras.activations.serialize(function)  # swish is silu
        code = "return [...activate(Float32Array.from(arguments[0]), arguments[1])]"
        step = {"activation": name, "to": [1, 1, values.size]}
        given = page.script(code, values[0].tolist(), step)
        wanted = keras.ops.convert_to_numpy(function(values))[0]
        np.testing.assert_allclose(given, wanted, rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.fixture
def scratch_page(pages):
    """The pad of a small network for digits."""
    network = scratch_network()
    data = with_images(synthetic_images("mnist")[2][:300])
    page = pages(network, data, engine="numpy", activation="tanh")
    return page, network, data


@pytest.mark.slow
def test_ink_becomes_what_tools_predict_makes_of_it(scratch_page):
    page, network, data = scratch_page
    drawings = [[np.array(stroke) for stroke in FIVE]]
    generator = np.random.default_rng(1)
    for image in data.test_images[:6]:
        size = generator.uniform(0.3, 0.9)
        drawings.append([0.03 + size * path / 112 for path in pen_paths(image)])
    for drawing in drawings:
        answer = draw(page.driver, drawing)["answer"]
        picture = np.repeat(page.pad()[..., None], 3, axis=-1)
        (found,) = read_digits(picture).found
        given = page.forms()
        assert given.shape == found.forms.shape == (2, SIDE, SIDE)
        difference = np.abs(given - found.forms.astype(int))
        assert difference.mean() < 1 and np.percentile(difference, 99) < 20, difference.mean()
        wanted = softmax(network.predict(given.astype(np.uint8)), axis=1).mean(axis=0)
        np.testing.assert_allclose(page.probabilities(), wanted, atol=0.001)
        assert answer == str(wanted.argmax())


@pytest.mark.slow
def test_the_pad_by_mouse_and_keyboard(scratch_page):
    page, network, data = scratch_page
    assert page.text("answer") == "" and not page.pad().any() and not page.probabilities().any()
    draw(page.driver, [np.array(stroke) for stroke in FIVE])
    both = page.pad()
    page.press("z")  # undo the bar
    assert 0 < page.pad().sum() < both.sum()
    page.press("c")
    assert page.text("answer") == "" and not page.pad().any()
    page.click("#undo")
    assert page.pad().any() and page.text("answer")
    page.press("n")
    tests = content_of_strip(page)
    np.testing.assert_array_equal(page.forms()[0], data.test_images[tests[0]])
    assert f"Test image {tests[0]}: labelled" in page.text("about")
    page.click("#strip .wrong")
    assert "in the run's test read as" in page.text("about")
    image = page.forms().astype(np.uint8)
    wanted = softmax(network.predict(image), axis=1)[0]
    np.testing.assert_allclose(page.probabilities(), wanted, atol=0.001)
    page.click("#clear")
    assert not page.pad().any()


def content_of_strip(page):
    """The indices of the test images in the strip."""
    return page.script("return run.tests.map((test) => test.index)")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_a_picture_file_is_read(pages, tmp_path, name):
    data = with_images(synthetic_images(name)[2][:20], name=name)
    page = pages(scratch_network(), data, engine="numpy", activation="tanh")
    image = data.test_images[4]
    (tmp_path / "no picture.png").write_bytes(b"no picture")
    large = np.pad(np.kron(image, np.ones((9, 9))), ((40, 10), (20, 70)))
    dark_on_light = 230 - (200 / 255) * large
    Image.fromarray(np.uint8(dark_on_light)).convert("RGB").save(tmp_path / "drawn.png")
    choose = page.driver.find_element("id", "file").send_keys
    choose(str(tmp_path / "no picture.png"))
    page.wait_for("about", "no picture.png is not a picture")
    choose(str(tmp_path / "drawn.png"))
    page.wait_for("about", "drawn.png; ")
    assert page.text("answer")
    read = read_digits if name == "mnist" else read_garment
    wanted = read(read_picture(tmp_path / "drawn.png")).found[0].forms[0]
    assert np.corrcoef(page.forms()[0].ravel(), wanted.ravel())[0, 1] > 0.95


@pytest.mark.slow
def test_a_large_network_answers_after_the_stroke(pages):
    from keras import Input, Sequential, layers

    start = [Input((28, 28), dtype="uint8"), layers.Rescaling(1 / 255), layers.Reshape((28, 28, 1))]
    maps = [layers.Conv2D(48, 5, padding="same"), layers.Conv2D(64, 5, padding="same")]
    model = Sequential([*start, *maps, layers.GlobalMaxPooling2D(), layers.Dense(10)])
    page = pages(model, dataset(0, 20))
    page.script("for (const x of [100, 180]) { actions.push([[x, 40], [x, 240]]); } drawing = [];")
    page.script("change()")
    page.wait()
    assert page.forms().any() and page.text("answer") == ""  # while the mouse is down
    page.script("drawing = null; change()")
    page.wait()
    assert page.text("time") == "reading …"  # the page does not stand still
    page.wait_for("time", "multiply-adds")
    wanted = expected(model, page.forms().astype(np.uint8)).mean(axis=0)
    np.testing.assert_allclose(page.probabilities(), wanted, atol=0.001)


@pytest.mark.slow
def test_an_update_of_the_default_network_takes_less_than_30_ms(pages):
    page = pages(
        importlib.import_module("mnist_cnn").build_model(parse("mnist_cnn")), dataset(0, 9)
    )
    page.script("actions.push([[60, 60], [200, 60], [120, 240]]); paint()")
    durations = page.script(
        "for (let i = 0; i < 40; i++) look();"
        "return performance.getEntriesByName('update').map((entry) => entry.duration)"
    )
    assert min(durations[20:]) < 30  # the least: other processes take their turns, too


@pytest.mark.slow
def test_the_page_fits_a_phone(pages):
    page = pages(scratch_network(), dataset(0, 30), engine="numpy", activation="tanh")
    size = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    assert page.script("return document.documentElement.scrollWidth") <= 360
    assert HOSTILE in page.text("what")
    box = page.script("const r = canvas.getBoundingClientRect(); return [r.x, r.y, r.width]")
    for kind, place in (("touchStart", 0.3), ("touchMove", 0.5), ("touchMove", 0.7)):
        finger = {"x": box[0] + place * box[2], "y": box[1] + 0.5 * box[2]}
        event = {"type": kind, "touchPoints": [finger]}
        page.driver.execute_cdp_cmd("Input.dispatchTouchEvent", event)
    page.driver.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    page.wait()
    rows, columns = np.nonzero(page.pad() > 0.5)
    assert np.ptp(columns) > 100 > 30 > np.ptp(rows) and page.script("return scrollY") == 0
