"""The examples run: a few steps always, and in full (marked slow) each beats its baseline."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
pytestmark = pytest.mark.skipif(not EXAMPLES.is_dir(), reason="the examples are not beside these")

# name -> arguments of a quick run, whether a larger score is better
SCRIPTS: dict[str, tuple[list[str], bool]] = {
    "adding_problem": (["--steps", "20", "--length", "8"], False),
    "char_lm": (["--steps", "5", "--characters", "20000"], False),
    "forecast_waves": (["--steps", "20"], False),
    "ragged_classification": (["--steps", "10"], True),
    "export_to_torch": ([], False),
    "torch_ddp": (["--steps", "5", "--characters", "20000"], False),
}
NEED_TORCH = ("export_to_torch", "torch_ddp")


def numbers(name: str, arguments: list[str]) -> tuple[list[float], list[float]]:
    """The baselines and the scores that the script prints last on their lines."""
    if name in NEED_TORCH and importlib.util.find_spec("torch") is None:
        pytest.skip("this example needs torch")
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / f"{name}.py"), *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr

    def found(word: str) -> list[float]:
        pattern = rf"^{word} .* ([\d.e+-]+)$"
        return [float(n) for n in re.findall(pattern, done.stdout, re.MULTILINE)]

    return found("baseline"), found("score")


def test_every_example_is_here() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(SCRIPTS)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_few_steps(name: str) -> None:
    baselines, scores = numbers(name, SCRIPTS[name][0])
    assert baselines
    assert scores
    if name == "export_to_torch":
        assert max(scores) < 1e-5 < min(baselines)


@pytest.mark.slow
@pytest.mark.parametrize("name", SCRIPTS)
def test_in_full(name: str) -> None:
    started = time.perf_counter()
    baselines, scores = numbers(name, [])
    for score in scores:
        if SCRIPTS[name][1]:
            assert score > max(baselines)
        else:
            assert score < min(baselines)
    assert time.perf_counter() - started < 60, "the README promises less than a minute"
