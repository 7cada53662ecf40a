"""Interrupts long calls and reports what happened as JSON: python interrupted_calls.py.

A process of its own, because a signal that comes too late would end the tests.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from modules import normal, run

import fastrnn
from fastrnn import functional as F

LONG = 1.5  # seconds of a call that is interrupted
BEFORE = 0.15  # seconds from its start to the signal
TRIES = 7
WIDE = 2048  # units and rows of a call with few, long steps
BIG = 6656  # packs for longer than twice what Ctrl-C may take, also on two free cores

lstm = fastrnn.LSTM(1, 512, rng=0)


def steps_for(seconds: float, call: Callable[[int], Any]) -> int:
    """Steps for which the call takes at least so long, also when the cores are free."""

    def seconds_of(steps: int) -> float:
        start = time.perf_counter()
        call(steps)
        return time.perf_counter() - start

    steps = 100
    while True:
        took = min(seconds_of(steps) for _ in range(3))
        if took >= seconds:
            return steps
        steps = int(steps * min(8.0, 1.3 * seconds / max(took, 1e-9))) + 1


def x_of(steps: int) -> np.ndarray:
    return np.broadcast_to(np.float32(0.1), (steps, 1, 1))  # long, and 4 bytes of memory


def interrupted(
    call: Callable[[], Any], number: int = signal.SIGINT, before: float = BEFORE
) -> dict[str, Any]:
    """Run the call, send the signal, say what was raised and how long after the signal."""
    sent: list[float] = []

    def send() -> None:
        time.sleep(before)
        sent.append(time.perf_counter())
        os.kill(os.getpid(), number)

    sender = threading.Thread(target=send)
    start = time.perf_counter()
    raised = "nothing"
    sender.start()
    try:
        call()
        end = time.perf_counter()
        sender.join()  # the signal of a call that ended early is answered here
    except BaseException as error:
        end = time.perf_counter()
        raised = type(error).__name__
        sender.join()
    return {"raised": raised, "after": end - sent[0], "took": end - start}


def seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def wide_steps() -> dict[str, Any]:
    """Calls of two steps, each longer than Ctrl-C may take."""
    wide = fastrnn.LSTM(1, WIDE, rng=0)
    x = np.broadcast_to(np.float32(0.1), (2, WIDE, 1))
    y, _, tape = wide.forward(x)
    calls = {
        "wide inference": lambda: wide(x),
        "wide forward": lambda: wide.forward(x),
        "wide backward": lambda: wide.backward(tape, y),
    }
    found: dict[str, Any] = {"took": {name: seconds(call) for name, call in calls.items()}}
    return found | {name: [interrupted(call) for _ in range(3)] for name, call in calls.items()}


def big_weights() -> dict[str, Any]:
    """Calls that pack, transpose and unpack for most of their time."""
    params = [np.zeros((4 * BIG, BIG), np.float32) for _ in range(2)]  # never in memory: all zeros
    x = np.zeros((1, 1, BIG), np.float32)

    def new_call(name: str) -> Callable[[], Any]:
        if name == "packing":
            call = partial(F.lstm, x, params)
        else:  # a new tape, whose weights have not been transposed yet
            y, _, tape = F.lstm(x, params, training=True)
            call = partial(F.lstm_backward, tape, y)
        fastrnn._core.release_memory()  # recycled memory would make them shorter
        return call

    found: dict[str, Any] = {"took": {}}
    for name in ("packing", "transposing"):
        found["took"][name] = seconds(new_call(name))
        found[name] = [interrupted(new_call(name), before=0.04) for _ in range(3)]
    return found


def memory() -> int:
    """Bytes of this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def main() -> dict[str, Any]:
    found: dict[str, Any] = {}
    small = normal((10, 3, 1))
    before = run(lstm, small)

    def bits_are_the_same() -> bool:
        after = run(lstm, small)
        return all(after[key].tobytes() == before[key].tobytes() for key in before)

    steps = steps_for(LONG, lambda n: lstm(x_of(n)))
    x = x_of(steps)
    calls: dict[str, Callable[[], Any]] = {
        "inference": lambda: lstm(x),
        "forward": lambda: lstm.forward(x),
    }
    y, _, tape = lstm.forward(x)
    calls["backward"] = partial(lstm.backward, tape, y)
    calls["recomputing forward"] = lambda: lstm.forward(x, recompute=True)
    short = lstm.forward(x, recompute=True)[-1]
    calls["recomputing backward"] = partial(lstm.backward, short, y)
    for name, call in calls.items():
        found[name] = [interrupted(call) for _ in range(TRIES)]
        found[f"{name}, usable after"] = bits_are_the_same()
    del calls["backward"], calls["recomputing backward"], tape, short, y

    # a leak would keep the output of each call
    for _ in range(3):
        interrupted(calls["forward"])
    base = memory()
    for _ in range(10):
        interrupted(calls["forward"])
    found["leaked"] = (memory() - base) / 10
    found["output"] = steps * 512 * 4

    for group in (wide_steps(), big_weights()):
        found.setdefault("took", {}).update(group.pop("took"))
        found |= group

    # another exception than KeyboardInterrupt, from another signal
    def expire(*_: Any) -> None:
        raise TimeoutError

    signal.signal(signal.SIGALRM, expire)
    found["alarm"] = interrupted(calls["inference"], signal.SIGALRM)

    # a handler that returns: the call goes on
    handled: list[float] = []
    signal.signal(signal.SIGUSR1, lambda *_: handled.append(time.perf_counter()))
    start = time.perf_counter()
    found["handled"] = interrupted(calls["inference"], signal.SIGUSR1)
    found["handled"]["handler ran after"] = handled[0] - start if handled else None

    # a call in another thread: the main thread alone is interrupted
    results: list[np.ndarray] = []
    thread = threading.Thread(target=lambda: results.append(lstm(x)[0]))
    thread.start()
    found["main"] = interrupted(lambda: time.sleep(LONG))
    thread.join()
    found["other thread is right"] = results[0].tobytes() == lstm(x)[0].tobytes()
    found["usable after all"] = bits_are_the_same()
    return found


if __name__ == "__main__":
    print(json.dumps(main()))
