"""What the benchmarks make of their measurements; measuring itself takes too long here."""

import json

from benchmarks import accuracy, time_to_accuracy
from benchmarks.repeated import measured, run_folder
from experiment.runs.folder import MARKER


def test_the_time_is_that_of_the_first_epoch_whose_mean_reaches_the_goal():
    curves = [
        [(10, 0.985), (20, 0.9912), (30, 0.9915)],
        [(11, 0.986), (24, 0.9886), (33, 0.9911)],
        [(12, 0.987), (21, 0.9905), (31, 0.9890)],
    ]
    found = time_to_accuracy.summary(curves)  # means 98.6, 99.01 and 99.05 %
    assert (found["seconds"], found["least"], found["most"]) == (21, 20, 24)
    assert abs(found["accuracy"] - 0.9901) < 1e-9 and found["seeds"] == 3


def test_a_program_that_never_gets_there_is_told_with_its_last_epoch():
    found = time_to_accuracy.summary([[(10, 0.97), (20, 0.98)]])
    assert (found["seconds"], found["accuracy"], found["deviation"]) == (20, 0.98, 0)


def leave_run(results, target, seed, share, seconds, unfinished=False):
    folder = run_folder(target.command, seed, results)
    folder.mkdir(parents=True)
    metrics = {"test_accuracy": share, "parameters": 1234, "seconds": {"training": seconds - 9}}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "process_seconds").write_text(f"{seconds}\n")
    if unfinished:
        (folder / MARKER).touch()


def test_a_target_is_met_by_the_mean_and_by_the_time(tmp_path):
    target = accuracy.Target("mnist_cnn.py --recipe default", 0.995, 90)
    leave_run(tmp_path, target, 1, 0.9950, 80)
    leave_run(tmp_path, target, 2, 0.9952, 84)
    leave_run(tmp_path, target, 3, 0.1, 5, unfinished=True)
    assert measured(target.command, 2, tmp_path) and not measured(target.command, 3, tmp_path)
    line = accuracy.table_line(target, tmp_path)
    assert line["command"] == "`python mnist_cnn.py`"
    assert line["test accuracy"] == "99.51 ± 0.01 %"
    assert line["whole process"] == "82 s (slowest 84 s)"
    assert (line["seeds"], line["met"]) == ("2", "yes")

    slow = accuracy.Target(target.command, 0.995, 81)
    vague = accuracy.Target(target.command, 0.9952, 90)
    assert accuracy.table_line(slow, tmp_path)["met"] == "**no**"
    assert accuracy.table_line(vague, tmp_path)["met"] == "**no**"
