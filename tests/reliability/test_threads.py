"""Python threads: one module shared by many, the GIL released, no threads left behind."""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine import assert_same_results
from modules import LAYERS, Result, normal, run, run_inference

import fastrnn

THREADS = 64
T, B, I, H = 20, 6, 16, 40


def together(count: int, task: Callable[[int], Any]) -> list[Any]:
    """Run task(0), ..., task(count - 1) in as many threads, started at the same moment."""
    start = threading.Barrier(count)

    def begin(number: int) -> Any:
        start.wait()
        return task(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(begin, range(count)))


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("engine_threads", [1, 2])
@pytest.mark.parametrize("name", LAYERS)
def test_one_module_in_many_threads(name: str, engine_threads: int) -> None:
    fastrnn.set_num_threads(engine_threads)
    serial = LAYERS[name](I, H, num_layers=2, bidirectional=True, rng=0)
    shared = LAYERS[name](I, H, num_layers=2, bidirectional=True, rng=0)  # not packed yet
    inputs = [normal((T, B, I), key=number) for number in range(THREADS)]
    lengths = [[(number + row) % (T + 1) for row in range(B)] for number in range(THREADS)]

    def task(module: Any, number: int) -> Result:
        if number % 2:
            return run_inference(module, inputs[number], None, lengths[number])
        return run(module, inputs[number], None, lengths[number])

    expected = [task(serial, number) for number in range(THREADS)]
    found = together(THREADS, lambda number: task(shared, number))
    for number in range(THREADS):
        assert_same_results(found[number], expected[number], f"thread {number}")


@pytest.mark.usefixtures("threads")
def test_changing_the_number_of_threads_during_calls() -> None:
    lstm = fastrnn.LSTM(I, H, rng=0)
    x = normal((T, B, I))
    expected = run(lstm, x)
    running = True

    def change() -> None:
        number = 0
        while running:
            number = number % 4 + 1
            fastrnn.set_num_threads(number)
            time.sleep(0)

    changer = threading.Thread(target=change)
    changer.start()
    try:
        for number, found in enumerate(together(8, lambda _: [run(lstm, x) for _ in range(10)])):
            for result in found:
                assert_same_results(result, expected, f"thread {number}")
    finally:
        running = False
        changer.join()


def heartbeat_during(call: Callable[[], Any]) -> tuple[float, float]:
    """Seconds that the call took, and the longest pause of a thread that wants to run meanwhile."""
    beats: list[float] = []
    stop = threading.Event()

    def beat() -> None:
        while not stop.is_set():
            beats.append(time.perf_counter())
            time.sleep(0.001)

    thread = threading.Thread(target=beat)
    thread.start()
    while len(beats) < 5:
        time.sleep(0.001)
    start = time.perf_counter()
    call()
    end = time.perf_counter()
    stop.set()
    thread.join()
    during = [start, *(b for b in beats if start < b < end), end]
    return end - start, float(np.diff(during).max())


def long_call(seconds: float) -> Callable[[], Any]:
    """An inference that takes about so long."""
    lstm = fastrnn.LSTM(1, 512, rng=0)
    steps, took = 100, 0.0
    while took < seconds:
        x = np.broadcast_to(np.float32(0.1), (steps, 1, 1))
        start = time.perf_counter()
        lstm(x)
        took = time.perf_counter() - start
        if took < seconds:
            steps = int(steps * min(10.0, 1.3 * seconds / max(took, 1e-9)))
    return lambda: lstm(x)


def test_other_threads_run_during_a_call() -> None:
    call = long_call(0.5)
    # another program may hold the cores for a moment: the best of a few tries counts
    shares = []
    for _ in range(5):
        took, pause = heartbeat_during(call)
        shares.append(pause / took)
        if shares[-1] < 0.25:
            return
    pytest.fail(f"the longest pauses were {shares} of the call: the GIL was held")


def test_a_held_gil_is_noticed() -> None:
    sleep = ctypes.PyDLL(None).usleep  # PyDLL calls without releasing the GIL
    took, pause = heartbeat_during(lambda: sleep(300_000))
    assert pause / took > 0.9


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted in /proc")
@pytest.mark.usefixtures("threads")
def test_short_lived_threads_leave_none_behind() -> None:
    fastrnn.set_num_threads(2)
    lstm = fastrnn.LSTM(64, 128, rng=0)
    x = normal((20, 32, 64))  # enough work for the engine to share it

    def living() -> int:
        return len(os.listdir("/proc/self/task"))

    def call_in_new_threads(count: int) -> None:
        for _ in range(count):
            thread = threading.Thread(target=lstm, args=(x,))
            thread.start()
            thread.join()

    call_in_new_threads(5)
    before = living()
    call_in_new_threads(40)
    deadline = time.monotonic() + 5
    while living() > before + 4 and time.monotonic() < deadline:
        time.sleep(0.01)  # a thread that was joined may be leaving still
    assert living() <= before + 4, f"{living() - before} threads more after 40 calls"


@pytest.mark.usefixtures("threads")
def test_workers_may_run_everywhere_after_calls_with_pauses() -> None:
    """A worker that is moved off the caller's CPU keeps its affinity."""
    fastrnn.set_num_threads(2)
    lstm = fastrnn.LSTM(32, 64, rng=0)
    x = np.zeros((16, 32, 32), np.float32)
    for _ in range(20):
        lstm(x)
        time.sleep(0.002)  # the workers fall asleep
    allowed = os.sched_getaffinity(0)
    assert {frozenset(os.sched_getaffinity(int(t))) for t in os.listdir("/proc/self/task")} == {
        frozenset(allowed)
    }
