"""The checks of option values, and values as people type them."""

import argparse

import pytest

from experiment.values import (
    count_or_all,
    in_words,
    layer_sizes,
    number,
    one_of,
    positive,
    run_name,
    whole_number,
)


@pytest.mark.parametrize(
    "text",
    ["a/b", "a\\b", "..", ".hidden", "x" * 81, "com1", "latest", "a.", "é", "a\n", "a.png"],
)
def test_names_that_are_no_safe_folder_are_refused(text):
    with pytest.raises(Exception, match=r"use up to 80|reserved"):
        run_name(text)


@pytest.mark.parametrize("text", ["a", "2026-11-21_run.2", "X" * 80, "console"])
def test_safe_names_stay_as_they_are(text):
    assert run_name(text) == text


def test_checks_accept_their_bounds():
    assert whole_number(1, 4)("1") == 1 and whole_number(1, 4)("4") == 4
    assert number(below=1)("0") == 0 and number(below=1)("0.999") == 0.999
    assert positive("1e-9") == 1e-9
    assert layer_sizes("256,128") == (256, 128)
    assert (count_or_all("all"), count_or_all("7")) == ("all", 7)


@pytest.mark.parametrize(
    ("check", "text", "wanted"),
    [
        (whole_number(1, 4), "0", "a whole number from 1 to 4, not '0'"),
        (whole_number(1, 4), "5", "a whole number from 1 to 4"),
        (whole_number(1, 4), "2.0", "a whole number from 1 to 4"),
        (number(below=1), "1", "a number at least 0 and below 1, not '1'"),
        (number(below=1), "-0.001", "at least 0"),
        (number(below=1), "nan", "at least 0"),
        (positive, "0", "a number above 0, not '0'"),
        (positive, "inf", "above 0"),
        (layer_sizes, "256,,128", "a whole number from 1"),
        (layer_sizes, "256,0", "a whole number from 1"),
        (count_or_all, "0", "a whole number from 1"),
        (count_or_all, "most", "a whole number from 1"),
    ],
)
def test_checks_refuse_what_lies_beyond(check, text, wanted):
    with pytest.raises(argparse.ArgumentTypeError, match=f"must be .*{wanted}"):
        check(text)


def test_a_word_is_known_whatever_its_capitals_and_by_its_old_spelling():
    check = one_of("colour", ["Red", "blue"], {"rot": "Red"})
    assert [check(word) for word in ("red", "BLUE", "ROT")] == ["Red", "blue", "Red"]
    with pytest.raises(Exception, match=r"no colour named 'blu'; did you mean blue\?"):
        check("blu")
    with pytest.raises(Exception, match=r"'green'; choose from Red, blue$"):
        check("green")


def test_options_in_words_read_as_they_are_typed():
    options = {"hidden": (64, 32), "batch_size": [128, "all"], "flip": False, "rescale": True}
    assert in_words(options) == "hidden 64,32, batch size 128 or all, no flip, rescale"
