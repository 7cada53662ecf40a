"""Ten thousand malformed calls: each is refused with a sentence, none ends the process.

The calls run in child processes, so a crash is counted instead of ending the tests.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

CALLS = 10_000
WORKERS = 2
MOST_CRASHES = 20  # of one worker, after which it stops
WORKER = Path(__file__).with_name("malformed_worker.py")


@dataclass
class Outcome:
    """What became of a range of calls."""

    made: Counter[str] = field(default_factory=Counter)
    complaints: list[dict[str, object]] = field(default_factory=list)
    crashes: dict[int, str] = field(default_factory=dict)


def make_calls(start: int, stop: int, canary: str = "", canary_at: int = -1) -> Outcome:
    """Make the calls [start, stop); after a crash go on with the next."""
    outcome = Outcome()
    while start < stop and len(outcome.crashes) < MOST_CRASHES:
        with tempfile.NamedTemporaryFile() as progress:
            arguments = [str(start), str(stop), progress.name, canary, str(canary_at)]
            done = subprocess.run(
                [sys.executable, str(WORKER), *arguments],
                capture_output=True,
                text=True,
                timeout=300,
                check=False,
            )
            last = int(Path(progress.name).read_text() or start)
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        if done.returncode == 0:
            outcome.made += Counter(lines.pop())
            start = stop
        else:
            outcome.crashes[last] = f"exit code {done.returncode}: {done.stderr[-2000:]}"
            outcome.made["lost with a crash"] += last - start + 1
            start = last + 1
        outcome.complaints += lines
    return outcome


def test_ten_thousand_malformed_calls() -> None:
    starts = range(0, CALLS, CALLS // WORKERS)
    with ThreadPoolExecutor(WORKERS) as pool:
        outcomes = list(pool.map(lambda start: make_calls(start, start + CALLS // WORKERS), starts))
    crashes = {number: text for o in outcomes for number, text in o.crashes.items()}
    complaints = [json.dumps(line) for o in outcomes for line in o.complaints]
    assert not crashes, "\n".join(f"call {number}: {text}" for number, text in crashes.items())
    assert not complaints, f"{len(complaints)} calls:\n" + "\n".join(complaints[:40])
    made = sum((o.made for o in outcomes), Counter[str]())
    assert sum(made.values()) == CALLS
    # the kinds are drawn at random; each must have been met often enough to mean something
    assert len(made) >= 90
    rare = {kind: count for kind, count in made.items() if count < 5}
    assert not rare


def test_a_crash_is_counted_and_the_rest_goes_on() -> None:
    outcome = make_calls(100, 130, "crash", 110)
    assert list(outcome.crashes) == [110]
    assert "Segmentation fault" in outcome.crashes[110]
    assert outcome.complaints == []
    assert sum(outcome.made.values()) == 30


@pytest.mark.parametrize(
    ("canary", "complaint"),
    [
        ("accepted", "was accepted and returned NoneType"),
        ("exception", "raised IndexError: list index out of range"),
        ("mute", "names none of ('argument',): canary: wrong"),
    ],
)
def test_a_call_that_is_not_refused_well_is_noticed(canary: str, complaint: str) -> None:
    outcome = make_calls(0, 20, canary, 7)
    assert outcome.crashes == {}
    assert outcome.complaints == [{"number": 7, "call": "canary", "complaint": complaint}]
