"""What the calls of a stepper do beside computing: no memory taken, threads, modes, interrupts."""

from __future__ import annotations

import signal
import threading
import time
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from engine import assert_same_bits
from modules import LAYERS, normal
from streams import assert_same_state, every_layer, stream

import fastrnn


@pytest.fixture
def traced() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("S", [1, 4])
@every_layer
def test_a_step_with_out_allocates_nothing(name: str, S: int) -> None:
    stepper = fastrnn.Stepper(LAYERS[name](8, 16, num_layers=2, rng=0), S)
    inputs = [normal((S, 8), key=k) for k in range(50)]
    block, blocks = normal((200, S, 8)), np.empty((200, S, 16), np.float32)
    out = np.empty((S, 16), np.float32)

    def steps(count: int) -> None:
        for _ in range(count):
            for x in inputs:
                stepper.step(x, out)
            stepper.process(block, out=blocks)

    steps(2)
    tracemalloc.reset_peak()
    before, _ = tracemalloc.get_traced_memory()
    steps(200)  # 10,000 steps
    after, peak = tracemalloc.get_traced_memory()
    assert after - before < 1000, "something was kept"
    assert peak - before < 2000, "something as large as an array was made on the way"


@every_layer
def test_steppers_in_threads(name: str) -> None:
    """Four at once, small (the GIL kept) and large (the GIL given up), as one after the other."""
    for I, H, L, steps in ((8, 24, 2, 400), (64, 256, 1, 30)):
        module = LAYERS[name](I, H, num_layers=L, rng=0)
        inputs = [normal((steps, 2, I), key=key) for key in range(4)]
        start = threading.Barrier(4)

        def task(x: np.ndarray, wait: Any = start.wait, module: Any = module) -> Any:
            stepper = fastrnn.Stepper(module, 2)
            wait()
            return stream(stepper, x, (len(x) // 2,)), stepper.state

        expected = [task(x, wait=lambda: None) for x in inputs]
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(task, inputs))
        for (y, state), (y_alone, state_alone) in zip(found, expected, strict=True):
            assert_same_bits("y", y, y_alone, (name, H))
            assert_same_state(state, state_alone, (name, H))


def test_a_second_thread_is_told() -> None:
    """While a long block runs, another thread gets a sentence; the block is not disturbed."""
    module = fastrnn.LSTM(64, 256, rng=0)
    x = normal((3000, 4, 64))
    expected, _ = module(x)
    stepper = fastrnn.Stepper(module, 4)
    told: list[str] = []
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(stepper.process, x)
        calls = [lambda: stepper.step(x[0]), lambda: stepper.state, stepper.reset, stepper.refresh]
        deadline = time.monotonic() + 60
        while len(told) < len(calls) and not running.done() and time.monotonic() < deadline:
            try:
                # until the block has begun, reading the state disturbs nothing
                if not told:
                    _ = stepper.state
                else:
                    calls[len(told)]()
            except RuntimeError as error:
                told.append(str(error))
        y = running.result()
    assert len(told) == len(calls)
    assert all("another thread is in a call of this stepper" in sentence for sentence in told)
    assert_same_bits("y", y, expected, "disturbed")


@pytest.mark.parametrize("H", [8, 256])  # the GIL kept and given up
def test_the_processors_modes_are_left_alone(H: int) -> None:
    """Denormals live on after a step, and are flushed within: tiny inputs are as good as zero."""
    module = fastrnn.LSTM(64, H, bias=False, rng=0)
    stepper = fastrnn.Stepper(module, 9)
    tiny = np.full((9, 64), 1e-40, np.float32)
    for _ in range(2):
        assert not stepper.step(tiny).any()
        assert (tiny * np.float32(1.5) > tiny).all()
    assert not stepper.process(np.stack([tiny] * 3)).any()
    assert (tiny * np.float32(1.5) > tiny).all()


class Stop(Exception):
    """Raised by a signal handler."""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs POSIX timers")
def test_an_interrupted_block_leaves_the_states_of_some_step() -> None:
    def stop(*_: Any) -> None:
        raise Stop

    module = fastrnn.GRU(64, 256, num_layers=2, rng=0)
    long = normal((10_000, 4, 64))
    stepper = fastrnn.Stepper(module, 4)
    expected, _ = module(long)
    before = signal.signal(signal.SIGALRM, stop)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(Stop):
            stepper.process(long)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    h = stepper.state
    reached = [t for t in range(len(long)) if np.array_equal(expected[t], h[-1])]
    assert len(reached) == 1
    assert 0 < reached[0] < len(long) - 1
    done = reached[0] + 1
    assert_same_bits(
        "y", stepper.process(long[done : done + 300]), expected[done : done + 300], done
    )


LSTM = fastrnn.LSTM(4, 6, rng=0)
STEPPER = fastrnn.Stepper(LSTM, 3)
X = normal((3, 4))


def test_without_its_beginning() -> None:
    bare = fastrnn.Stepper.__new__(fastrnn.Stepper)
    with pytest.raises(RuntimeError, match="__init__ has not run"):
        bare.step(X)
    with pytest.raises(RuntimeError, match="__init__ ran before"):
        STEPPER.__init__(LSTM, 3)  # type: ignore[misc]


def test_empty_blocks() -> None:
    stepper = fastrnn.Stepper(LSTM, 3)
    stepper.step(X)
    before = stepper.state
    assert stepper.process(np.empty((0, 3, 4), np.float32)).shape == (0, 3, 6)
    assert_same_state(stepper.state, before, "nothing happened")


def test_repr_and_properties() -> None:
    assert repr(STEPPER) == "Stepper(LSTM(4, 6), streams=3)"
    assert STEPPER.module is LSTM
    assert STEPPER.streams == 3
