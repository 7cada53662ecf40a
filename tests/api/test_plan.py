"""How a run bounded by time plans its steps, plans again, is extended, and is repeated.

On a clock that ticks at each look, so that a busy machine does not matter.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from training_runs import text_run

from fastrnn import training as tr
from fastrnn.training.plan import Pace, changed, checked, total_at

QUICK = 1e-3


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[float], float]], None]:
    """Give fit a clock: each look takes tick(time so far) seconds."""

    def use(tick: Callable[[float], float]) -> None:
        now = [0.0]

        def look() -> float:
            now[0] += tick(now[0])
            return now[0]

        fake = types.SimpleNamespace(perf_counter=look)
        monkeypatch.setattr("fastrnn.training.loop.time", fake)
        monkeypatch.setattr(sys.modules["fastrnn.training.fit"], "time", fake)

    return use


def timed(seconds: float, **options: Any) -> tuple[tr.Sequential, tr.History]:
    # no validation in between, which would be long beside so short a run
    defaults = {"schedule": cosine(), "validate_every": 10**6, "validation": None}
    return text_run(steps=None, seconds=seconds, **{**defaults, **options})


def cosine() -> tr.Cosine:
    return tr.Cosine(1e-2, warmup=25, warmup_share=0.1)


def same(one: tr.Sequential, two: tr.Sequential) -> bool:
    return all(np.array_equal(v, two.parameters()[k]) for k, v in one.parameters().items())


def repeated(history: tr.History) -> tr.Sequential:
    options: dict[str, Any] = {"validate_every": 10**6, "validation": None, "schedule": cosine()}
    return text_run(steps=None, plan=history.plan, **options)[0]


SPEEDS = {
    "steady": lambda now: QUICK,
    "a busy start": lambda now: 6 * QUICK if now < 0.4 else QUICK,
    "a busy middle": lambda now: 4 * QUICK if 0.5 < now < 1.2 else QUICK,
    "slow from the middle": lambda now: QUICK if now < 1 else 5 * QUICK,
    "slow at the very end": lambda now: QUICK if now < 1.9 else 8 * QUICK,
}


@pytest.mark.parametrize("speed", SPEEDS)
def test_the_time_is_used_and_the_schedule_ends(speed: str, clock: Any, tmp_path: Path) -> None:
    clock(SPEEDS[speed])
    model, history = timed(2.0)
    if speed != "slow at the very end":
        assert history.stop == "done"
        assert 0.95 * 2 < history.seconds < 1.05 * 2
        assert history.steps == history.planned
    assert history.seconds < 1.15 * 2
    last = history.train[-1]["lr"]
    assert last < 0.02 * 1e-2, f"the learning rate is still {last}"
    assert len(history.plan) == 1 if speed == "steady" else 1 < len(history.plan) <= 16
    if history.stop == "done":
        assert same(model, repeated(history))
        other = [[0, history.steps]]
        # a steady run is that of plainly so many steps, the others need their plan
        assert same(model, repeated(tr.History(plan=other))) == (speed == "steady")


def test_a_short_run_is_not_all_warm_up(clock: Any) -> None:
    clock(lambda now: 0.02)
    _, history = timed(2.0)
    assert history.steps < 50
    assert history.stop == "done"
    rates = [cosine()(s, history.steps) for s in range(history.steps)]
    assert rates.index(max(rates)) < 5
    assert history.train[-1]["lr"] < 0.2 * 1e-2


def interrupted(at: int) -> Callable[[tr.History, float], bool]:
    return lambda history, loss: history.steps == at


@pytest.mark.parametrize("at", [0, 2, 12, 40, 200])
def test_a_timed_run_is_extended_by_time(at: int, clock: Any, tmp_path: Path) -> None:
    """Stopped after `at` steps (0: when its time is over), it goes on for another time."""
    pytest.importorskip("safetensors", reason="checkpoints need safetensors (extra demo)")
    path = tmp_path / "a.safetensors"
    clock(lambda now: QUICK)
    callbacks = [interrupted(at)] if at else []
    _, first = timed(1.0, checkpoint=path, callbacks=callbacks)
    assert first.stop == ("callback" if at else "done")
    resumed, history = timed(2.0, resume=tr.load_checkpoint(path))
    assert history.stop == "done"
    assert 1.9 < history.seconds < 2.1
    assert history.steps == history.planned > first.steps
    assert same(resumed, repeated(history)), history.plan
    with pytest.raises(ValueError, match=r"seconds is 0\.001, but .*safetensors has trained"):
        timed(0.001, resume=tr.load_checkpoint(path))


def test_a_run_that_ran_out_of_time_is_extended(clock: Any, tmp_path: Path) -> None:
    pytest.importorskip("safetensors", reason="checkpoints need safetensors (extra demo)")
    path = tmp_path / "a.safetensors"
    clock(lambda now: QUICK if now < 1.95 else 40 * QUICK)
    _, first = timed(2.0, checkpoint=path)
    assert first.stop == "time"
    clock(lambda now: QUICK)
    checkpoint = tr.load_checkpoint(path)
    resumed, history = timed(4.0, resume=checkpoint)
    assert history.stop == "done"
    assert 3.8 < history.seconds < 4.2
    assert same(resumed, repeated(history))


def test_steps_after_other_steps(tmp_path: Path) -> None:
    """30 steps, then 50: not the bits of 50 steps at once, but those of the recorded plan."""
    pytest.importorskip("safetensors", reason="checkpoints need safetensors (extra demo)")
    path = tmp_path / "a.safetensors"
    text_run(steps=30, checkpoint=path)
    resumed, history = text_run(steps=50, resume=tr.load_checkpoint(path))
    assert history.plan == [[0, 30], [30, 50]]
    assert not same(resumed, text_run(steps=50)[0])
    assert same(resumed, text_run(steps=None, plan=history.plan)[0])
    with pytest.raises(ValueError, match=r"the plan is for 29 steps, but .* has done 30"):
        text_run(steps=29, resume=tr.load_checkpoint(path))


def test_plans() -> None:
    assert total_at([], 3) is None
    assert changed([[0, 9], [4, 20], [8, 30]], 6, 25) == [[0, 9], [4, 20], [6, 25]]
    assert checked(((0, np.int64(5)),)) == [[0, 5]]
    for bad in ([], [[0, 0]], [[-1, 5]], [[5, 9], [5, 10]], [[5, 9], [2, 10]]):
        with pytest.raises(ValueError, match=r"fit: plan is .*expected"):
            checked(bad)
    for bad in ([1, 2], [[1, 2, 3]], [["a", 2]], [[0, 1.5]]):
        with pytest.raises(TypeError, match=r"fit: plan is .*expected"):
            checked(bad)


def test_pauses_are_planned_for() -> None:
    pace = Pace(100.0, validate_every=10)
    pace.pause = 2.0
    assert pace.total(0.8, 8.0, 10) == 10 + 90  # 0.8 and 0.2 a step, and the last pause
    assert pace.total(0.8, 99.9, 10) == 11
