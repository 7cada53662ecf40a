"""The benchmark's command line."""

from __future__ import annotations

import pytest
from bench import record
from bench_example import example
from bench_runs import bench_command


def test_compare_from_the_command_line_tells_by_its_exit_status(tmp_path):
    before, after = example(), example()
    for m in after.measurements:
        m.median_ms, m.p10_ms, m.p90_ms = m.median_ms and 3 * m.median_ms, 2.9, 3.1
    after.measurements[0].median_ms = 3.0
    record.write(before, tmp_path / "a.json")
    record.write(after, tmp_path / "b.json")
    assert bench_command("compare", tmp_path / "a.json", tmp_path / "a.json").returncode == 0
    assert bench_command("compare", tmp_path / "a.json", tmp_path / "b.json").returncode == 1


def test_run_and_report_from_the_command_line(tmp_path):
    path = tmp_path / "result.json"
    done = bench_command(
        "run", "--quick", "--cells", "gru", "--modes", "inference", "--shapes", "2x5x3x7",
        "--threads", "1", "--peers", "fastrnn_cpu,numpy_loop", "--out", path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "[2/2] gru/inference/2x5x3x7 1T numpy: " in done.stderr  # one line per measurement
    document = record.read(path)
    assert [(m.peer, m.status) for m in document.measurements] == [
        ("fastrnn", "timed"),
        ("numpy", "timed"),
    ]
    assert "## GRU, inference" in done.stdout
    again = bench_command("report", path)
    assert again.returncode == 0, again.stderr
    assert again.stdout == done.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["report", "no_such_file.json"], "No such file"),
        (["run", "--shapes", "1x2x3"], "expected four positive sizes"),
        (["run", "--peers", "nobody"], "expected some of fastrnn_cpu"),
        (["run", "--cells", "transformer"], "expected some of lstm, gru, rnn"),
        (["run", "--threads", "0"], "expected thread counts from 1"),
    ],
)
def test_a_mistake_on_the_command_line_gets_one_sentence_and_exit_code_2(arguments, sentence):
    done = bench_command(*arguments)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
