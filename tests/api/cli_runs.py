"""What the tests of the command line share: small runs, and what a refusal looks like."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from fastrnn.cli import main

TINY = ["--hidden", "12", "--embedding", "5", "--batch", "4", "--length", "10"]
TINY += ["--quiet", "--threads", "1"]


def text(n: int = 3000, seed: int = 0) -> str:
    rng = np.random.default_rng(seed)
    words = ["the", "king", "is", "dead", "long", "live", "queen", "é", "and\n"]
    return " ".join(rng.choice(words, n // 3))[:n]


def command(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "fastrnn", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        **options,
    )


def one_sentence(stderr: str, name: str) -> bool:
    lines = stderr.splitlines()
    return len(lines) == 1 and lines[0].startswith(f"{name}: error: ") and len(lines[0]) < 400


def assert_refused(capsys: pytest.CaptureFixture[str], arguments: list[str], words: str) -> None:
    code = main(arguments)
    shown = capsys.readouterr().err
    assert code == 2, shown
    assert one_sentence(shown, f"fastrnn {arguments[0]}"), shown
    assert re.search(words, shown), shown
