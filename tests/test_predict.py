import io
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from conftest import REPOSITORY
from PIL import Image
from saved_runs import images_drawn_once, save_run, save_seeds, synthetic_images
from scipy import ndimage

import mnist_dense
from tools.handwriting.form import read_digits, read_garment, stroke_width, thickened
from tools.handwriting.ink import NothingFoundError, otsu, smooth_surface
from tools.handwriting.pictures import LONGEST_SIDE, read_picture
from tools.handwriting.sheet import sheet_of
from tools.predict import figure_name, main
from tools.saved import load_model, read_runs

ALIKE = 0.8  # two different digits are below 0.7
TRAINING = "--data synthetic --engine numpy --epochs 3 --images 6000 --hidden 64 --quiet".split()
TRAINING += ["--figures", "none"]


@pytest.fixture(scope="module")
def digits():
    """Held-out stand-in digits in MNIST's form, made so by SciPy, and their classes."""
    _, _, images, labels = synthetic_images("mnist")
    return np.stack([centred(trimmed(image), 20) for image in images[:200]]), labels[:200]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A network for digits, in a results folder of its own."""
    results = tmp_path_factory.mktemp("results")
    with images_drawn_once():
        run = mnist_dense.main([*TRAINING, "--results-dir", str(results)])
    return read_runs(run.folder)[0]


def trimmed(image):
    rows, columns = (np.flatnonzero((image > 50).any(axis=axis)) for axis in (1, 0))
    return image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(float)


def centred(image, longest, by_mass=True):
    """An image whose longer side is scaled to `longest`, in the middle of uint8 (28, 28)."""
    scaled = ndimage.zoom(image, longest / max(image.shape), order=1)
    form = np.zeros((28, 28))
    centre = ndimage.center_of_mass(scaled) if by_mass else np.array(scaled.shape) / 2
    top, left = (
        int(np.clip(round(14 - c), 0, 28 - n)) for c, n in zip(centre, scaled.shape, strict=True)
    )
    form[top : top + scaled.shape[0], left : left + scaled.shape[1]] = scaled
    return np.rint(form).astype(np.uint8)


def large(digit, side=280, margin=0):
    """A digit as ink from 0 to 1, enlarged."""
    image = Image.fromarray(digit).resize((side, side), Image.Resampling.BICUBIC)
    return np.pad(np.asarray(image) / 255, margin)


def painted(ink, ink_colour, paper):
    return ink[..., None] * np.array(ink_colour) + (1 - ink[..., None]) * np.array(paper)


def file_of(values, format="PNG", **settings):
    """An encoded picture of floats from 0 to 1."""
    file = io.BytesIO()
    Image.fromarray(np.rint(255 * np.clip(values, 0, 1)).astype(np.uint8)).save(
        file, format, **settings
    )
    file.seek(0)
    return file


def only_form(picture):
    (found,) = read_digits(np.asarray(picture, np.float32)).found
    return found.forms[0]


def likeness(one, other):
    """The best correlation of two images (28, 28), one of them moved by up to a pixel."""
    moves = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)]
    return max(
        np.corrcoef(np.roll(one, move, (0, 1)).ravel(), other.ravel())[0, 1] for move in moves
    )


def say(capsys, *arguments):
    """Run the tool here: its status, and what it printed on either stream."""
    status = 0
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as stop:
        status = stop.code
    return status, *capsys.readouterr()


def test_an_image_in_mnists_form_stays_as_it_is(digits):
    for digit in digits[0][:20]:
        np.testing.assert_array_equal(
            only_form(np.repeat(digit[..., None] / 255, 3, axis=2)), digit
        )


@pytest.mark.parametrize("side", [28, 100, 600])
def test_a_digit_on_paper_becomes_what_mnist_had(digits, side):
    for digit in digits[0][:10]:
        picture = painted(large(digit, side), (0.1, 0.1, 0.3), (0.9, 0.85, 0.8))
        form = only_form(picture)
        assert likeness(form, digit) > ALIKE
        assert np.abs(np.array(ndimage.center_of_mass(form)) - 14).max() <= 0.75
        rows, columns = np.nonzero(form > 40)
        assert 18 <= max(np.ptp(rows), np.ptp(columns)) + 1 <= 20


@pytest.mark.parametrize(
    "ink, paper",
    [
        ((0, 0, 0), (1, 1, 1)),
        ((1, 1, 1), (0, 0, 0)),
        ((0.9, 0.9, 0.6), (0.1, 0.25, 0.15)),
        ((0.8, 0.1, 0.1), (0.2, 0.4, 0.2)),  # as grey as each other
        ((0.3, 0.3, 0.3), (0.5, 0.5, 0.5)),
    ],
)
def test_any_ink_on_any_paper_is_the_same_digit(digits, ink, paper):
    digit = digits[0][3]
    assert likeness(only_form(painted(large(digit, 300, 60), ink, paper)), digit) > ALIKE


@pytest.mark.parametrize("colours", [(0.1, 0.95), (0.9, 0.2)])
def test_a_shadow_and_grain_are_removed(digits, colours):
    ink, paper = (np.full(3, colour) for colour in colours)
    light = np.linspace(1, 0.35, 500) ** 1.5
    for digit in digits[0][:10]:
        picture = painted(large(digit, 300, 100), ink, paper) * light[:, None]
        picture += np.random.default_rng(0).normal(0, 0.02, picture.shape)
        assert likeness(only_form(picture), digit) > ALIKE


@pytest.mark.parametrize("turned", [0, 20])
def test_a_sheet_on_a_dark_table(digits, turned):
    sheet = np.rint(255 * (0.9 - 0.85 * large(digits[0][0], 200, 60))).astype(np.uint8)
    sheet = Image.fromarray(sheet).rotate(turned, expand=True, fillcolor=50)
    picture = np.full((600, 700), 50, np.uint8)
    picture[100 : 100 + sheet.height, 200 : 200 + sheet.width] = sheet
    (found,) = read_digits(np.repeat(picture[..., None] / 255, 3, axis=2).astype(np.float32)).found
    upright = np.asarray(Image.fromarray(found.forms[0]).rotate(-turned))
    assert likeness(upright, digits[0][0]) > ALIKE
    rows, columns = found.box
    middle = 100 + sheet.height / 2, 200 + sheet.width / 2
    assert abs((rows.start + rows.stop) / 2 - middle[0]) < 25
    assert abs((columns.start + columns.stop) / 2 - middle[1]) < 25


def drawn_sheet(ink, height=600, width=800, turned=6.0, table=0.3, stripes=0.0):
    """A picture of a sheet on a table, float32 (height, width, 3), and where the sheet is."""
    lay = {"angle": turned, "expand": True}
    sheet = Image.fromarray(np.uint8(255 * (0.9 - 0.8 * ink))).rotate(**lay)
    covers = np.asarray(Image.fromarray(np.full(ink.shape, 255, np.uint8)).rotate(**lay)) > 127
    picture = np.full((height, width), table) + stripes * (np.arange(width) // 20 % 2)
    where = np.zeros((height, width), bool)
    top, left = (height - covers.shape[0]) // 2, (width - covers.shape[1]) // 2
    where[top : top + covers.shape[0], left : left + covers.shape[1]] = covers
    picture[where] = np.asarray(sheet)[covers] / 255
    return np.repeat(picture[..., None], 3, axis=2).astype(np.float32), where


@pytest.mark.parametrize("turned", [0, 8])
@pytest.mark.parametrize("table, stripes", [(0.05, 0), (0.3, 0), (0.65, 0), (0.2, 0.3)])
def test_a_sheet_is_found_on_any_table_and_in_a_shadow(digits, turned, table, stripes):
    ink = np.zeros((400, 560))
    ink[100:300, 250:450] = large(digits[0][4], 200)
    picture, where = drawn_sheet(ink, turned=turned, table=table, stripes=stripes)
    along = np.arange(600)[:, None] + np.arange(800) - 650
    for shade in (0, 0.5):
        light = 1 - shade / (1 + np.exp(-along / 8))  # a soft edge right across the sheet
        seen = (picture * light[..., None]).astype(np.float32)
        found = sheet_of(seen)
        assert (found & ~where).sum() < 0.04 * where.sum()
        assert (found & where).sum() > 0.9 * where.sum()
        upright = np.asarray(Image.fromarray(only_form(seen)).rotate(-turned))
        assert likeness(upright, digits[0][4]) > ALIKE


def test_a_picture_of_paper_alone_shows_no_sheet(digits):
    light = np.linspace(1, 0.35, 400)
    for digit in digits[0][:5]:
        for margin in (0, 100):
            ink = np.kron(large(digit, 200, margin), np.ones((2, 2)))
            for colours in ((0.1, 0.95), (0.95, 0.1)):
                picture = painted(ink, *(np.full(3, colour) for colour in colours))
                picture[:400] *= light[:, None, None]
                assert sheet_of(picture.astype(np.float32)) is None


@pytest.mark.parametrize("side, margin", [(20, 4), (28, 0), (60, 10), (300, 0), (300, 100)])
def test_both_polarities_give_the_same_image(digits, side, margin):
    for digit in digits[0][:4]:
        picture = painted(large(digit, side, margin), (1, 1, 1), (0, 0, 0)).astype(np.float32)
        (light,), (dark,) = (read_digits(either).found for either in (picture, 1 - picture))
        np.testing.assert_array_equal(light.forms, dark.forms)


def test_ink_at_the_edge_of_the_picture_or_the_sheet_is_noticed(digits):
    ink = large(digits[0][5], 200, 60)
    rows = np.flatnonzero((ink > 0.5).any(axis=1))
    whole, cut = ink, ink[: rows[-1] - 20]
    for shown, at_the_edge in ((whole, False), (cut, True)):
        plain = painted(shown, (0, 0, 0), (1, 1, 1)).astype(np.float32)
        on_a_table, _ = drawn_sheet(np.pad(shown, ((60, 0), (100, 100))), 500, 700)
        for picture in (plain, on_a_table):
            (found,) = read_digits(picture).found
            assert found.at_the_edge == at_the_edge


def test_what_is_doubtful_is_said_beside_the_answer(digits, run, tmp_path, capsys, monkeypatch):
    """The two sizes of one digit are read as the logits say."""
    monkeypatch.setattr("tools.predict.draw_all", lambda *_: None)
    monkeypatch.setattr("tools.predict.load_model", lambda _: None)
    ink = large(digits[0][5], 200, 60)
    for name, shown in (("whole", ink), ("cut", ink[:150])):
        (tmp_path / f"{name}.png").write_bytes(file_of(1 - shown).getvalue())
    sure, other, torn = 9 * np.eye(10)[5], 9 * np.eye(10)[3], 9 * (np.eye(10)[5] + np.eye(10)[3])
    edge = "it touches the edge: is all of it in the picture?"
    for logits, name, said in (
        ([sure, sure], "whole", ""),
        ([sure, other], "whole", "; not sure"),  # they disagree
        ([torn, torn], "whole", "; not sure"),
        ([sure, sure], "cut", f"; {edge}"),
        ([sure, other], "cut", f"; not sure; {edge}"),
    ):
        monkeypatch.setattr("tools.predict.predict", lambda *_, given=logits: np.array(given))
        status, printed, _ = say(capsys, run.folder, tmp_path / f"{name}.png")
        assert status == 0 and re.search(r".*%\)(.*)$", printed.strip())[1] == said


def test_a_solid_one_is_no_sheet(digits):
    for digit in digits[0][digits[1] == 1][:10]:
        picture = painted(large(digit, 100, 100), (0.2, 0.1, 0.3), (0.9, 0.9, 0.8))
        form = only_form(read_picture(file_of(picture, "JPEG", quality=40)))
        assert likeness(form, digit) > ALIKE


def test_squares_below_the_ink(digits):
    paper = np.full((400, 400, 3), 0.9)
    paper[::40] = paper[:, ::40] = (0.6, 0.7, 0.8)
    picture = painted(large(digits[0][0], 200, 100), (0.1, 0.1, 0.1), paper)
    assert likeness(only_form(picture), digits[0][0]) > ALIKE


def test_a_fine_pen_is_thickened():
    bar = np.zeros((160, 40), np.float32)
    bar[:, 18:22] = 1
    assert stroke_width(bar) == pytest.approx(4, abs=0.5)
    assert stroke_width(thickened(bar)) == pytest.approx(2.2 * 8, abs=2)
    bar[:, 10:30] = 1
    assert thickened(bar) is bar


def test_otsu_splits_best():
    values = np.random.default_rng(0).normal([0.2] * 300 + [0.8] * 100, 0.1)

    def within(threshold):
        parts = values[values <= threshold], values[values > threshold]
        return sum(part.size * part.var() for part in parts)

    best = min(within(threshold) for threshold in np.sort(values)[:-1])
    assert within(otsu(values)) == pytest.approx(best, rel=0.01)


def test_a_quadratic_surface_is_found_below_ink():
    y, x = np.mgrid[-1:1:60j, -1:1:80j]
    surface = np.stack([0.7 + 0.1 * x + 0.05 * y * y, 0.6 - 0.1 * x * y, 0.5 + 0 * x], axis=-1)
    picture = surface.copy()
    picture[20:40, 30:45] = 0
    np.testing.assert_allclose(smooth_surface(picture), surface, atol=0.02)


@pytest.mark.parametrize(
    "mode", "L LA RGB RGBA P 1 I;16 CMYK-JPEG L-JPEG P-GIF RGB-WEBP L-BMP".split()
)
def test_every_kind_of_file_gives_the_same_digit(digits, tmp_path, mode):
    mode, _, format = mode.partition("-")
    values = np.rint(255 * (1 - large(digits[0][5], 200))).astype(np.uint8)
    image = Image.fromarray(values)
    if mode == "I;16":
        image = Image.fromarray(values.astype(np.uint16) * 257)
    elif mode != "L":
        image = image.convert(mode)
    path = tmp_path / "digit"  # the content says what it is, not the name
    image.save(path, format or "PNG")
    assert likeness(only_form(read_picture(path)), digits[0][5]) > ALIKE


@pytest.mark.parametrize("colour", [0, 255])
def test_ink_on_a_transparent_background(digits, tmp_path, colour):
    values = np.full((200, 200, 4), colour, np.uint8)
    values[..., 3] = np.rint(255 * large(digits[0][5], 200))
    Image.fromarray(values).save(tmp_path / "digit.png")
    assert likeness(only_form(read_picture(tmp_path / "digit.png")), digits[0][5]) > ALIKE


def test_a_palette_may_have_a_transparent_colour(digits, tmp_path):
    image = Image.fromarray((large(digits[0][5], 200) > 0.5).astype(np.uint8)).convert("P")
    image.putpalette([40, 40, 40, 0, 0, 0])
    image.save(tmp_path / "digit.gif", transparency=0)
    assert likeness(only_form(read_picture(tmp_path / "digit.gif")), digits[0][5]) > ALIKE


@pytest.mark.parametrize("orientation, turns", [(3, 2), (6, 1), (8, 3)])
def test_a_camera_held_otherwise(digits, orientation, turns):
    """The Exif standard: 6 is shown after turning right by 90 degrees, 3 by 180, 8 by 270."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.rot90(1 - large(digits[0][5], 200), turns)
    file = file_of(stored, "JPEG", exif=exif)
    assert likeness(only_form(read_picture(file)), digits[0][5]) > ALIKE


def test_an_animation_is_its_first_picture(digits):
    frames = [Image.fromarray(255 - digits[0][i]) for i in (5, 6)]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    assert likeness(only_form(read_picture(file)), digits[0][5]) > ALIKE


def test_a_large_photograph_is_scaled_down():
    picture = read_picture(file_of(np.ones((1500, 4000)), "JPEG"))
    assert max(picture.shape) == LONGEST_SIDE and picture.shape[0] == 480


@pytest.mark.parametrize("noise", [0, 0.05])
@pytest.mark.parametrize("shade", [0, 0.5, 1])
def test_an_empty_picture_is_said_to_be_empty(noise, shade):
    light = np.linspace(1, 0.6, 300)[:, None]
    grain = np.random.default_rng(0).normal(0, noise, (200, 300, 3))
    with pytest.raises(NothingFoundError, match="nothing is written"):
        read_digits(np.clip(shade * light + grain, 0, 1).astype(np.float32))


def test_specks_lines_and_the_edge_are_no_digits(digits):
    ink = large(digits[0][5], 200, 100)
    ink[30:36, 30:36] = 1
    ink[370:373, 20:380] = 1
    ink[:, :8] = 1
    assert likeness(only_form(painted(ink, (0, 0, 0), (1, 1, 1))), digits[0][5]) > ALIKE


def test_a_garment_fills_the_image_on_black():
    _, _, images, _ = synthetic_images("fashion_mnist")
    for garment in images[:6]:
        picture = np.pad(1 - large(garment, 280), ((60, 100), (150, 40)), constant_values=1)
        rgb = np.repeat(picture[..., None], 3, axis=2).astype(np.float32)
        (found,) = read_garment(rgb).found
        rows, columns = np.nonzero(found.forms[0] > 20)
        assert max(np.ptp(rows), np.ptp(columns)) + 1 >= 26
        assert likeness(found.forms[0], centred(trimmed(garment), 28, by_mass=False)) > ALIKE
    as_it_is = np.repeat(images[0][..., None] / 255, 3, axis=2).astype(np.float32)
    np.testing.assert_array_equal(read_garment(as_it_is).found[0].forms[0], images[0])
    with pytest.raises(NothingFoundError):
        read_garment(np.full((50, 50, 3), 0.9, np.float32))


@pytest.mark.slow
def test_pictures_are_read_as_well_as_the_digits_they_show(
    digits, run, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("tools.predict.draw_all", lambda *_: None)  # takes its time
    images, labels = digits[0][:60], digits[1][:60]
    paths = [tmp_path / f"{i}.jpg" for i in range(len(images))]
    for path, digit in zip(paths, images, strict=True):
        picture = painted(large(digit, 150, 50), (0.2, 0.1, 0.4), (0.95, 0.9, 0.85))
        path.write_bytes(file_of(picture, "JPEG", quality=60).getvalue())
    logits = load_model(run).predict(images)
    _, printed, errors = say(capsys, run.folder, *paths)
    pattern = r"(.*): (\d) \((\d+\.\d)%\), (\d) \((\d+\.\d)%\), (\d) \((\d+\.\d)%\)(?:; not sure)?"
    matches = [re.fullmatch(pattern, line) for line in printed.splitlines()]
    assert [match[1] for match in matches] == [str(path) for path in paths]
    for match in matches:
        percents = [float(match[place]) for place in (3, 5, 7)]
        assert percents == sorted(percents, reverse=True) and sum(percents) <= 100.2
    read = np.array([int(match[2]) for match in matches])
    assert (read == labels).mean() >= (logits.argmax(axis=1) == labels).mean() - 0.05
    assert "trained on synthetic images" in errors


def test_a_bad_picture_does_not_stop_the_others(digits, run, tmp_path, capsys):
    good = tmp_path / "good.png"
    content = file_of(1 - large(digits[0][0])).getvalue()
    bad = {
        "short.png": (content[: len(content) // 2], "it cannot be read: image file is truncated"),
        "text.png": (b"no picture", "it is not a picture"),
        "nothing.png": (b"", "it is not a picture"),
        "empty.png": (file_of(np.ones((50, 50))).getvalue(), "nothing is written on it"),
    }
    good.write_bytes(content)
    for name, (damaged, _) in bad.items():
        (tmp_path / name).write_bytes(damaged)
    Image.new("1", (20_000, 10_000)).save(tmp_path / "bomb.png")
    (tmp_path / "folder.png").mkdir()
    why = {name: said for name, (_, said) in bad.items()} | {
        "bomb.png": "it has more than 89 million pixels",
        "missing.png": "it cannot be read: No such file",
        "folder.png": "it is a folder",
    }
    paths = [tmp_path / name for name in why]
    status, printed, errors = say(capsys, run.folder, *paths[:3], good, *paths[3:])
    assert status == 1
    assert printed.count("\n") == 1 and printed.startswith(f"{good}: ")
    complaints = [line for line in errors.splitlines() if line.startswith("error: ")]
    for line, (name, said) in zip(sorted(complaints), sorted(why.items()), strict=True):
        assert line.startswith(f"error: {tmp_path / name}: {said}")
    assert "Traceback" not in errors
    place = run.folder / "predictions" / "good.png"
    assert str(place) in errors
    with Image.open(place) as figure:
        assert figure.width > 1000


def test_several_digits_are_refused_or_split(digits, run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("tools.predict.draw", lambda *_: 1 / 0)  # a figure costs no answer
    logits = load_model(run).predict(digits[0])
    chosen = [np.argmax(np.where(digits[1] == digit, logits[:, digit], -99)) for digit in (4, 0, 7)]
    ink = np.hstack([large(digits[0][i], 150) for i in chosen])
    path = tmp_path / "number.png"
    path.write_bytes(file_of(1 - np.pad(ink, 30)).getvalue())
    status, printed, errors = say(capsys, run.folder, path)
    assert (status, printed) == (1, "") and "3 digits" in errors and "--split" in errors
    status, printed, errors = say(capsys, run.folder, path, "--split")
    assert status == 0 and "warning: a figure could not be saved" in errors
    assert re.fullmatch(rf"{re.escape(str(path))}: 407 \(4 .*%, 0 .*%, 7 .*%\)\n", printed)
    path.write_bytes(file_of(1 - np.vstack([np.pad(ink, 30)] * 2)).getvalue())
    status, _, errors = say(capsys, run.folder, path, "--split")
    assert status == 1 and "one row" in errors


def test_of_several_seeds_the_first_network_reads(digits, run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("tools.predict.draw_all", lambda *_: None)
    folder = save_seeds(tmp_path / "mnist_dense" / "both", [0.9, 0.8])
    shutil.copytree(run.folder, folder / "seed-1", dirs_exist_ok=True)  # seed-2 has no network
    (tmp_path / "a.png").write_bytes(file_of(1 - large(digits[0][0])).getvalue())
    status, printed, _ = say(capsys, folder, tmp_path / "a.png")
    assert status == 0 and printed.count("\n") == 1


def test_numbers_are_split_by_networks_for_digits_only(tmp_path, capsys):
    folder = save_run(tmp_path / "fashion_cnn_augment" / "a", dataset="fashion_mnist")
    status, _, errors = say(capsys, folder, tmp_path / "a.png", "--split")
    assert status == 2 and errors.count("\n") == 1 and "--split is for digits" in errors


def test_pictures_of_one_name_have_figures_of_their_own(tmp_path):
    taken = []
    for name in ("a.jpg", "A.png", "b/a.png"):
        taken.append(figure_name(tmp_path / name, taken))
    assert taken == ["a.png", "A-2.png", "a-3.png"]
    assert len(figure_name(tmp_path / ("x" * 300), taken)) < 100


def test_mistakes_are_told_before_keras_is_loaded(tmp_path):
    save_run(tmp_path / "mnist_cnn" / "a")
    code = (
        "import sys; from tools.predict import main\n"
        "for run in sys.argv[1:3]:\n"
        "    try: main([run, 'missing.png', *sys.argv[3:]])\n"
        "    except SystemExit as stop: assert stop.code == 1\n"
        "assert not {'keras', 'tensorflow'} & set(sys.modules)"
    )
    command = [sys.executable, "-c", code, "nowhere", "a", "--results-dir", str(tmp_path)]
    answer = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
    first, second = answer.stderr.splitlines()
    assert answer.returncode == 0 and "there is no run" in first
    assert "missing.png: it cannot be read" in second
