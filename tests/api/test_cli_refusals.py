"""The command line on bad input: one sentence, exit code 2."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from cli_runs import assert_refused, text

from fastrnn import training as tr
from fastrnn.cli import main

for package in ("safetensors", "matplotlib", "threadpoolctl", "tqdm"):
    pytest.importorskip(package, reason=f"fastrnn train needs {package} (extra demo)")


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
        (b"\x01\x02\x03" * 200, "is binary .600 of its 600 characters are control characters"),
        ((b"plain text\n" * 9 + b"\x01\x02\x1b[\x7f\xc2\x80" * 2) * 9, "is binary .90 of its "),
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
        "train --threads 1025",
        "sample x --threads 1025",
        "train --plan 5",
        "train --plan 5:3",
        "train --plan 0:50 --steps 5",
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


def test_temperatures_are_finite(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sample", "x", "--temperature", "inf"]) == 2
    assert "got 'inf', expected a finite number >= 0" in capsys.readouterr().err


def test_models_too_large_for_the_memory(
    capsys: pytest.CaptureFixture[str], trained: tuple[Path, str], tmp_path: Path
) -> None:
    arguments = ["train", trained[1], "--hidden", "65536", "--layers", "64", "--quiet"]
    words = "hidden_size has 65536 .* more than this machine"
    assert_refused(capsys, [*arguments, "--out", str(tmp_path / "out")], words)


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
