"""Fixtures of several test files of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest

import fastrnn


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a run of 40 steps, and the text file it was trained on."""
    from cli_runs import TINY, text

    from fastrnn.cli import main

    folder = tmp_path_factory.mktemp("cli")
    (folder / "text.txt").write_text(text(), encoding="utf-8")
    before = fastrnn.get_num_threads()
    out = str(folder / "out")
    code = main(["train", str(folder / "text.txt"), *TINY, "--steps", "40", "--out", out])
    fastrnn.set_num_threads(before)
    assert code == 0
    return folder / "out", str(folder / "text.txt")
