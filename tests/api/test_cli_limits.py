"""fastrnn train that is stopped: by Ctrl-C, or by its time."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cli_runs import TINY, text

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
    assert f"--steps {history['steps']}" in shown or "out of time" in shown
