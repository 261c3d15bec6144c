"""The range test of learning rates."""

import math
import os

import numpy as np
import pytest
from conftest import dataset
from PIL import Image

from tools import learning_rate
from tools.learning_rate import DIVERGES, FALLS, HIGHEST, LOWEST, OWN


def valley(rates):
    """A loss of 2.3 that falls by 1.5 at a rate of 0.001, and rises by as much at 0.1."""
    logarithms = np.log10(rates)
    falling, rising = (1 / (1 + np.exp(-6 * (logarithms - place))) for place in (-3, -1))
    return 2.3 - 1.5 * falling + 3 * rising


def test_the_marks_are_where_a_known_loss_falls_and_diverges():
    rates = np.geomspace(LOWEST, HIGHEST, 2000)
    marks = learning_rate.marked_rates(rates, valley(rates))
    # A tenth of a logistic curve of slope 6 is at -log(9) / 6 of a decade, and so on.
    assert math.log10(marks[FALLS]) == pytest.approx(-3 - math.log(9) / 6, abs=0.05)
    assert math.log10(marks[DIVERGES]) == pytest.approx(-1 - math.log(3) / 6, abs=0.05)


def test_a_loss_that_does_not_fall_or_does_not_rise_has_no_mark():
    rates = np.geomspace(LOWEST, HIGHEST, 200)
    assert learning_rate.marked_rates(rates, np.full(200, 2.3)) == {}
    assert [*learning_rate.marked_rates(rates, np.linspace(2.3, 1, 200))] == [FALLS]


def test_smoothing_keeps_a_curve_and_removes_noise_whatever_the_number_of_steps():
    for steps in (50, 200):
        rates = np.geomspace(LOWEST, HIGHEST, steps)
        noise = np.exp(np.random.default_rng(0).normal(0, 0.1, steps))
        smooth = learning_rate.smoothed(rates, valley(rates) * noise)
        assert np.abs(np.log(smooth / valley(rates))).mean() < 0.1 * np.sqrt(50 / steps)
        clean = learning_rate.smoothed(rates, valley(rates))
        assert np.abs(clean / valley(rates) - 1).max() < 0.15


@pytest.mark.parametrize("end", [math.nan, math.inf, 100])
def test_the_rates_rise_until_the_loss_is_a_huge_one(end):
    tried = []

    def step(number, rate):
        assert number == len(tried)
        tried.append(rate)
        return 2.3 if rate < 0.1 else end

    rates, losses = learning_rate.rising_rates(step)
    finite = math.isfinite(end)
    assert len(rates) == len(losses) == len(tried) - learning_rate.WARM_UP - (not finite)
    assert rates[0] == LOWEST and np.allclose(np.diff(np.log(rates)), math.log(1e7) / 199)
    assert losses[-1] == (end if finite else 2.3) and 0.1 < tried[-1] < 0.11


def test_slow_steps_are_fewer(monkeypatch):
    monkeypatch.setattr(learning_rate, "SECONDS", 0)
    rates, _ = learning_rate.rising_rates(lambda number, rate: 2.3)
    assert len(rates) == learning_rate.FEWEST and rates[-1] == pytest.approx(HIGHEST)


@pytest.fixture
def test_rates(tmp_path, monkeypatch, capsys):
    """Tests the rates of a script on 500 images; what it printed, without the path."""

    def test_rates(*argv):
        tiny = dataset(500, 10)
        monkeypatch.setattr(learning_rate, "STEPS", 70)
        monkeypatch.setattr(learning_rate, "load", lambda *arguments: tiny)
        learning_rate.main([*argv, "--results-dir", str(tmp_path)])
        marks, path = capsys.readouterr().out.splitlines()[-2:]
        (picture,) = (tmp_path / "learning_rate").iterdir()
        assert path.endswith(str(picture)) and [*tmp_path.iterdir()] == [picture.parent]
        with Image.open(picture) as image:
            assert image.size == (1000, 550)
        return picture.stem, marks

    return test_rates


def test_a_script_s_own_network_and_options_are_tried_and_nothing_else_is_left(test_rates):
    import mnist_dense

    before = dict(vars(mnist_dense))
    options = "--engine numpy --hidden 32 --optimizer sgd --learning-rate 0.3 --batch-size 100"
    stem, marks = test_rates("mnist_dense.py", *options.split(), "--recipe", "quick")
    assert stem == "mnist_dense-quick" and FALLS in marks and marks.endswith(f"{OWN} 0.3")
    assert dict(vars(mnist_dense)) == before


@pytest.mark.slow
@pytest.mark.parametrize("script", ["mnist_dense", "mnist_cnn", "fashion_cnn_augment"])
def test_every_script_can_be_tried(script, test_rates):
    size = ("--hidden", "32") if script == "mnist_dense" else ("--filters", "8")
    stem, marks = test_rates(f"{os.curdir}/{script}.py", *size, "--recipe", "best", "--quiet")
    assert stem == f"{script}-best" and FALLS in marks


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        ("mnist_dense --engine numpy --hidden 8 16", "error: give each option one value"),
        ("mnist_dnse.py", "no script named 'mnist_dnse'; did you mean mnist_dense?"),
        ("mnist_dense --hiden 8", "no option --hiden; did you mean --hidden?"),
    ],
)
def test_what_cannot_be_tried_is_one_line(argv, line, capsys):
    with pytest.raises(SystemExit) as stop:
        learning_rate.main(argv.split())
    answer = capsys.readouterr().err
    assert stop.value.code == 2 and line in answer and answer.count("\n") == 1
