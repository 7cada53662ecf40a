"""What the tests of the benchmark share: short runs, and peers that are changed a little."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from bench.problems import Shape
from bench.run import Runner
from bench.settings import Settings
from bench.timing import Effort

ROOT = Path(__file__).resolve().parents[2]
TINY = Shape("tiny", B=2, T=5, I=3, H=7, why="seconds matter in a test")
SHORT = Effort(rounds=2, seconds=0.002, most_seconds=0.01, fewest_rounds=2)

PEER_FILE = """
from bench.peers.numpy_loop import NumpyLoop
import os, signal

class Changed(NumpyLoop):
    name = {name!r}
{body}
"""


def settings(**changes):
    defaults = {
        "cells": ["lstm"], "modes": ["inference"], "shapes": [TINY], "threads": [1],
        "peers": ["numpy_loop"], "effort": SHORT, "roofline": False,
    }  # fmt: skip
    return Settings(**(defaults | changes))


def run(path, report=lambda line, settled: None, **changes):
    """The document of a run; its file is `path`/result.json."""
    return Runner(settings(**changes), path / "result.json", ["run"], report).run()


def peer_file(path, name, body):
    """A peer that is numpy_loop but for the given methods."""
    file = path / f"{name}.py"
    file.write_text(PEER_FILE.format(name=name, body=body))
    return str(file)


def bench_command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "bench", *map(str, arguments)],
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
