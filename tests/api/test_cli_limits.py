"""fastrnn train that is stopped, by a signal or by its time, resumed and repeated."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_runs import TINY, assert_refused, text

from fastrnn import training as tr
from fastrnn.cli import main

for package in ("safetensors", "matplotlib", "threadpoolctl", "tqdm"):
    pytest.importorskip(package, reason=f"fastrnn train needs {package} (extra demo)")


def test_ctrl_c_in_training_and_before(tmp_path: Path) -> None:
    """A real process, a real Ctrl-C at several moments: 130, no traceback, a loadable file."""
    source = tmp_path / "text.txt"
    source.write_text(text(20_000), encoding="utf-8")
    arguments = ["train", str(source), "--hidden", "32", "--seconds", "60", "--quiet"]
    arguments += ["--threads", "1", "--out", str(tmp_path / "out")]
    for wait_for in ("text", "engine"):
        process = subprocess.Popen(
            [sys.executable, "-u", "-m", "fastrnn", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(wait_for):
                break
        if wait_for == "engine":
            time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 130, errors
        assert "Traceback" not in errors
        assert "interrupted" in errors
    assert "saved " in errors
    checkpoint = tr.load_checkpoint(tmp_path / "out" / "model.safetensors")
    assert checkpoint.loop["history"]["steps"] > 0


def test_a_run_bounded_by_time_keeps_to_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], threads: None
) -> None:
    source = tmp_path / "text.txt"
    source.write_text(text(20_000), encoding="utf-8")
    started = time.perf_counter()
    arguments = ["train", str(source), *TINY, "--seconds", "1.5", "--out", str(tmp_path / "out")]
    assert main(arguments) == 0
    assert time.perf_counter() - started < 60  # with the reference's speed, picture and sample
    history = tr.load_checkpoint(tmp_path / "out" / "model.safetensors").loop["history"]
    assert 0.5 < history["seconds"] < 3  # 1.65, and one step and validation of a busy machine
    shown = capsys.readouterr().out
    assert re.search(rf"--steps {history['steps']}|--plan [\d:,]+|out of time", shown)


def resumed(capsys: pytest.CaptureFixture[str], path: Path, *arguments: str) -> tuple[str, Any]:
    """What a resumed run prints, and its checkpoint."""
    capsys.readouterr()
    code = main(["train", "--resume", str(path), "--quiet", "--threads", "1", *arguments])
    shown = capsys.readouterr()
    assert code == 0, shown.err
    return shown.out, tr.load_checkpoint(path)


def test_a_run_is_extended_and_its_recipe_repeats_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], threads: None
) -> None:
    """Steps, then more steps, then time: what the command prints at the end gives the same bits."""
    source = tmp_path / "text.txt"
    source.write_text(text(20_000), encoding="utf-8")
    path = tmp_path / "out" / "model.safetensors"
    start = ["train", str(source), *TINY, "--out"]
    assert main([*start, str(path.parent), "--steps", "80"]) == 0
    assert "the same bits again with --steps 80\n" in capsys.readouterr().out
    shown, _ = resumed(capsys, path, "--steps", "90")
    assert "the same bits again with --plan 0:80,80:90\n" in shown
    seconds = tr.load_checkpoint(path).loop["history"]["seconds"]
    shown, found = resumed(capsys, path, "--seconds", str(seconds + 1))
    recipe = re.search(r"the same bits again with (--plan \S+)\n", shown)
    assert recipe or "out of time" in shown
    assert found.loop["history"]["steps"] > 90
    assert 0.5 < found.loop["history"]["seconds"] - seconds < 3
    if recipe:
        again = tmp_path / "again"
        assert main([*start, str(again), *recipe[1].split()]) == 0
        for name, array in tr.load_checkpoint(again / path.name).model.items():
            assert np.array_equal(array, found.model[name]), name
    # asking for what is done already
    steps = found.loop["history"]["steps"]
    for budget, words in (
        (["--steps", "50"], rf"the plan is for 50 steps, but .*safetensors has done {steps}; "),
        (["--seconds", "0.001"], r"seconds is 0.001, but .*safetensors has trained for [\d.]+ s; "),
    ):
        assert_refused(capsys, ["train", "--resume", str(path), "--quiet", *budget], words)


def test_a_text_that_has_moved(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], threads: None, monkeypatch: Any
) -> None:
    """The new place is remembered, so the next --resume needs no FILE; from any folder."""
    (tmp_path / "old.txt").write_text(text(), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "out" / "model.safetensors"
    assert main(["train", "old.txt", *TINY, "--steps", "3", "--out", str(path.parent)]) == 0
    (tmp_path / "old.txt").rename(tmp_path / "new.txt")
    assert_refused(capsys, ["train", "--resume", str(path)], "old.txt does not exist")
    resumed(capsys, path, "new.txt", "--steps", "5")
    monkeypatch.chdir("/")
    _, found = resumed(capsys, path, "--steps", "6")
    assert found.extra["text"]["path"] == str(tmp_path / "new.txt")


def test_a_model_above_the_chain_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], threads: None
) -> None:
    (tmp_path / "text.txt").write_text(text(), encoding="utf-8")
    out = tmp_path / "out"
    arguments = ["train", str(tmp_path / "text.txt"), *TINY, "--steps", "2", "--out", str(out)]
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    assert "above the best chain" in shown
    hint = re.search(r"train longer: fastrnn (train --resume \S+ --seconds \d+)\n", shown)
    assert hint
    assert main([*hint[1].split()[:-1], "1.5", "--quiet"]) == 0


def test_sigterm_saves(tmp_path: Path) -> None:
    source = tmp_path / "text.txt"
    source.write_text(text(20_000), encoding="utf-8")
    path = tmp_path / "out" / "model.safetensors"
    arguments = ["train", str(source), "--hidden", "32", "--seconds", "60", "--quiet"]
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "fastrnn", *arguments, "--out", str(path.parent)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("engine"):
            break
    deadline = time.monotonic() + 30
    while not path.exists() and time.monotonic() < deadline:  # the loop has begun
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGTERM, errors
    found = re.fullmatch(r"terminated after step (\d+): saved (\S+)\n", errors)
    assert found, errors
    assert found[2] == str(path)
    assert tr.load_checkpoint(path).loop["history"]["steps"] == int(found[1])
