"""A benchmark run that was interrupted or killed is taken up again where it stopped."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
from bench import record
from bench.report import markdown
from bench.run import Runner
from bench.settings import Settings
from bench_runs import ROOT, run, settings


def interrupted(path):
    """A run of two cells of which only the first came through, and its settings."""

    def interrupt(line, settled):
        if "gru" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(path, interrupt, cells=["lstm", "gru"])
    return record.read(path / "result.json")


def test_an_interrupted_run_keeps_what_was_timed(tmp_path):
    document = interrupted(tmp_path)
    assert [(m.cell, m.status) for m in document.measurements] == [("lstm", "timed")]
    assert not document.complete
    assert "The run was interrupted" in markdown(document)


def test_a_resumed_run_keeps_what_is_there_and_measures_the_rest(tmp_path):
    half = interrupted(tmp_path)
    (kept,) = half.measurements
    lines = []
    whole = Runner(
        Settings.from_record(half.settings), tmp_path / "result.json", ["run", "--resume"],
        lambda line, settled: lines.append(line), half,
    ).run()  # fmt: skip
    assert "lstm/inference/2x5x3x7 1T: there" in lines
    assert whole.complete
    assert [m.cell for m in whole.measurements] == ["lstm", "gru"]
    assert whole.measurements[0] == kept
    assert whole.command == ["run"]
    assert len(whole.resumed) == 1
    assert record.read(tmp_path / "result.json") == whole


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"complete": True}, "there is nothing to resume"),
        ({"machine_name": "another"}, "the run was made on another"),
        ({"git": {"commit": "abc", "dirty": False}}, "at commit abc"),
    ],
)
def test_a_run_that_cannot_go_on_here_says_why(tmp_path, change, message):
    half = interrupted(tmp_path)
    for name, value in change.items():
        setattr(half, name, value)
    with pytest.raises(ValueError, match=message):
        Runner(settings(), tmp_path / "result.json", ["run"], print, half)


def test_a_killed_run_is_completed_from_the_command_line(tmp_path):
    """SIGKILL in the middle of a run: what was written stays valid, --resume does the rest."""
    path = tmp_path / "result.json"
    command = [sys.executable, "-m", "bench", "run"]
    options = ["--cells", "lstm,gru,rnn", "--modes", "inference,training", "--shapes", "4x40x8x16"]
    options += ["--threads", "1", "--peers", "numpy_loop", "--out", str(path)]
    process = subprocess.Popen([*command, *options], cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 60
        while not path.exists() and time.monotonic() < end:
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()
    before = record.read(path)
    assert not before.complete
    done = subprocess.run(
        [*command, "--resume", str(path)], cwd=ROOT, capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    after = record.read(path)
    assert after.complete
    assert len(after.measurements) == 6
    assert after.measurements[: len(before.measurements)] == before.measurements
