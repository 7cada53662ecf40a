"""The command line: a tiny run end to end, every cell, samples."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_runs import TINY, command, one_sentence, text

import fastrnn
from fastrnn import training as tr
from fastrnn.cli import main
from fastrnn.cli.parser import TRAINING_DEFAULTS, build_parser

for package in ("safetensors", "matplotlib", "threadpoolctl", "tqdm"):
    pytest.importorskip(package, reason=f"fastrnn train needs {package} (extra demo)")


def test_train_reports_and_writes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], threads: None
) -> None:
    (tmp_path / "text.txt").write_text(text(), encoding="utf-8")
    out = tmp_path / "deep" / "out"
    arguments = ["train", str(tmp_path / "text.txt"), *TINY, "--steps", "30", "--out", str(out)]
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    assert re.search(r"3,000 \(\d+ different\): 2,700 to train, the last 300 to validate", shown)
    ids = tr.Vocabulary.build(text()[:2700])
    losses = tr.markov_losses(ids.encode(text()), 2700, len(ids))
    for order in (1, 2, 3, 4):
        assert f"order {order}   {losses[order]:.4f}" in shown
    own = float(re.search(r"this model +([\d.]+)", shown)[1])
    checkpoint = tr.load_checkpoint(out / "model.safetensors")
    assert own == round(checkpoint.loop["history"]["validation"][-1]["loss"], 4)
    assert f"{30 * 40:,} characters (0.4 epochs, 30 steps)" in shown
    assert re.search(r"[\d,]+ characters/s in training", shown)
    for dtype in ("float32", "float64"):
        assert re.search(rf"[\d,]+ characters/s in {dtype}, [\d.]+ times slower", shown)
    assert "BLAS with 1 thread" in shown
    sample = (out / "sample.txt").read_text(encoding="utf-8")
    assert len(sample) == 401
    assert sample.rstrip("\n") in shown
    assert (out / "loss.png").read_bytes().startswith(b"\x89PNG\r\n")
    # again, into the same folder: the earlier model is kept, and the run repeats bit for bit
    assert main(arguments) == 0
    earlier = tr.load_checkpoint(out / "model.previous.safetensors")
    again = tr.load_checkpoint(out / "model.safetensors")
    for name, array in again.model.items():
        assert np.array_equal(array, earlier.model[name]), name


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_every_cell_trains_and_resumes_bitwise(
    cell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], threads: None
) -> None:
    source = tmp_path / "text.txt"
    source.write_text(text(), encoding="utf-8")
    # two layers with dropout: the masks of the engine have to be resumed too
    common = [*TINY, "--cell", cell, "--layers", "2", "--dropout", "0.2", "--lr", "0.01"]

    def run(out: str, *arguments: str) -> dict[str, np.ndarray]:
        assert main(["train", *arguments, "--out", str(tmp_path / out)]) == 0
        checkpoint = tr.load_checkpoint(tmp_path / out / "model.safetensors")
        assert checkpoint.optimizer is not None
        moments = checkpoint.optimizer["state"]["exp_avg"]
        return {**checkpoint.model, **{f"m.{k}": v for k, v in moments.items()}}

    whole = run("whole", str(source), *common, "--steps", "50")
    # stopped at 20 of 50 steps by Ctrl-C, so that the schedule is that of 50
    code = (
        "import os, signal, sys\n"
        "from fastrnn.training import loop\n"
        "step = loop.Run.step\n"
        "def interrupted(self, batch):\n"
        "    loss = step(self, batch)\n"
        "    if self.history.steps == 20:\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "    return loss\n"
        "loop.Run.step = interrupted\n"
        "from fastrnn.cli import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    half, budget = tmp_path / "half", ["--steps", "50"]
    done = subprocess.run(
        [sys.executable, "-c", code, "train", str(source), *common, *budget, "--out", str(half)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 130, done.stderr
    path = half / "model.safetensors"
    assert f"interrupted after step 20: saved {path}" in done.stderr
    assert f"go on with: fastrnn train --resume {path}" in done.stderr
    assert "Traceback" not in done.stderr
    resumed = run("half", "--resume", str(path), "--quiet", "--threads", "1")
    assert set(whole) == set(resumed)
    for name, array in whole.items():
        assert np.array_equal(array, resumed[name]), name


def test_sample(trained: tuple[Path, str]) -> None:
    path = str(trained[0] / "model.safetensors")
    one = command("sample", path, "--prompt", "the king", "--length", "100", "--seed", "5")
    two = command("sample", path, "--prompt", "the king", "--length", "100", "--seed", "5")
    other = command("sample", path, "--prompt", "the king", "--length", "100", "--seed", "6")
    assert one.returncode == 0, one.stderr
    assert one.stdout == two.stdout != other.stdout
    assert one.stdout.startswith("the king")
    assert len(one.stdout) == len("the king") + 100 + 1
    safe = [command("sample", path, "--temperature", "0", "--seed", s).stdout for s in "12"]
    assert safe[0] == safe[1]
    assert len(safe[0]) == 401


def test_sample_into_a_closed_pipe(trained: tuple[Path, str]) -> None:
    path = str(trained[0] / "model.safetensors")
    process = subprocess.Popen(
        [sys.executable, "-m", "fastrnn", "sample", path, "--length", "1000000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.read(10)
    process.stdout.close()
    assert process.wait(timeout=60) == 141
    assert process.stderr.read() == b""
    process.stderr.close()


def test_version() -> None:
    done = command("--version")
    assert (done.returncode, done.stdout) == (0, f"fastrnn {fastrnn.__version__}\n")


def test_info_and_help() -> None:
    done = command("info")
    assert done.returncode == 0
    assert fastrnn.__version__ in done.stdout
    assert "isa" in done.stdout
    for arguments in ((), ("train",), ("sample",), ("info",)):
        done = command(*arguments, "--help")
        assert done.returncode == 0
        assert "usage: fastrnn" in done.stdout


def test_info_and_sample_import_no_extras() -> None:
    """`fastrnn info` works where NumPy is the only package."""
    code = (
        "import sys\n"
        "class Refuse:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('tqdm', 'safetensors', 'matplotlib', 'threadpoolctl'):\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Refuse())\n"
        "from fastrnn.cli import main\n"
        "assert main(['info']) == 0\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "train"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert one_sentence(done.stderr, "fastrnn train")
    assert "pip install 'fastrnn[demo]'" in done.stderr


def test_defaults_are_in_the_help() -> None:
    options = {action.dest for action in _train_parser()._actions}
    assert set(TRAINING_DEFAULTS) <= options
    arguments = build_parser().parse_args(["train"])
    assert all(getattr(arguments, name) is None for name in TRAINING_DEFAULTS)


def _train_parser() -> Any:
    subparsers = build_parser()._subparsers
    assert subparsers is not None
    return subparsers._group_actions[0].choices["train"]


def test_short_texts_are_trained_in_smaller_windows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], threads: None
) -> None:
    for size in (200, 600):
        path = tmp_path / f"{size}.txt"
        path.write_text(text(size), encoding="utf-8")
        arguments = ["train", str(path), "--hidden", "4", "--steps", "3", "--quiet"]
        assert main([*arguments, "--threads", "1", "--out", str(tmp_path / "out")]) == 0
        assert f"batch {TRAINING_DEFAULTS['batch']} ->" in capsys.readouterr().out
