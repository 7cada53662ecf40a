"""Milliseconds of a call on a GPU, between two events on its stream."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

WARM_UP = 2
FEWEST, MOST = 3, 20
SECONDS = 0.3  # of timed calls, if they are short


def milliseconds(call: Callable[[], Any], event: Callable[[], Any], between: Any) -> dict[str, Any]:
    """The median, the least, and how many calls.

    `event` makes one with `record()` and `synchronize()`; `between(start, end)` is in milliseconds.
    """
    for _ in range(WARM_UP):
        call()
    times: list[float] = []
    begin = time.monotonic()
    while len(times) < FEWEST or (len(times) < MOST and time.monotonic() - begin < SECONDS):
        start, end = event(), event()
        start.record()
        call()
        end.record()
        end.synchronize()
        times.append(between(start, end))
    return {"ms": statistics.median(times), "least_ms": min(times), "calls": len(times)}


def on_torch(call: Callable[[], Any]) -> dict[str, Any]:
    """Timed on torch's current stream."""
    import torch

    def event() -> Any:
        return torch.cuda.Event(enable_timing=True)

    return milliseconds(call, event, lambda start, end: start.elapsed_time(end))


def on_cupy(call: Callable[[], Any]) -> dict[str, Any]:
    """Timed on CuPy's current stream."""
    import cupy

    return milliseconds(call, cupy.cuda.Event, cupy.cuda.get_elapsed_time)
