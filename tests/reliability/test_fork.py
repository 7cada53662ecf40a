"""Processes: a forked child computes the same bits and does not hang, however it was forked."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import select
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from engine import assert_same_results
from modules import Result, normal, run

import fastrnn

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork"),
    # newer Pythons warn of what is tested here
    pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning"),
    pytest.mark.usefixtures("threads"),
]

PATIENCE = 30.0  # seconds; the work takes milliseconds, a hang takes for ever
LSTM = fastrnn.LSTM(64, 128, 2, bidirectional=True, rng=0)
X = normal((20, 32, 64))  # enough work for the engine to share it


def work() -> Result:
    return run(LSTM, X)


def in_child(task: Callable[[], Any]) -> Any:
    """What the task returns in a forked child; fails if the child does not end in time."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reader)
            answer = pickle.dumps(task())
            while answer:
                answer = answer[os.write(writer, answer) :]
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    try:
        return _answer(reader, child)
    finally:
        os.close(reader)


def _answer(reader: int, child: int) -> Any:
    deadline, chunks = time.monotonic() + PATIENCE, []
    while True:
        ready, _, _ = select.select([reader], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            pytest.fail(f"the forked child was still running after {PATIENCE} s")
        chunk = os.read(reader, 1 << 16)
        if not chunk:
            break
        chunks.append(chunk)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0, "the forked child failed"
    return pickle.loads(b"".join(chunks))


@pytest.fixture
def expected() -> Result:
    """The results in this process, by two threads: from then on their pool exists."""
    fastrnn.set_num_threads(2)
    return work()


def test_a_child_computes_the_same_bits(expected: Result) -> None:
    for number in range(5):
        assert_same_results(in_child(work), expected, f"child {number}")
    assert_same_results(work(), expected, "the parent, afterwards")


def test_a_child_says_that_it_runs_on_one_thread(expected: Result) -> None:
    def ask() -> tuple[int, str, str]:
        info = fastrnn.info()
        return info["threads"], info["threads_from"], str(fastrnn.explain(LSTM, X))

    threads, source, plan = in_child(ask)
    assert threads == 1
    assert source.startswith("forked child")
    assert "forked child" in plan
    assert fastrnn.get_num_threads() == 2, "the parent still shares its work"


def test_a_child_of_a_child(expected: Result) -> None:
    def nested() -> tuple[Result, Result]:
        return in_child(work), work()

    for found in in_child(nested):
        assert_same_results(found, expected, "nested")


def test_a_child_with_threads_of_its_own(expected: Result) -> None:
    def threaded() -> list[Result]:
        found: list[Result] = []
        threads = [threading.Thread(target=lambda: found.append(work())) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return found

    answers = in_child(threaded)
    assert len(answers) == 4
    for found in answers:
        assert_same_results(found, expected, "a thread of the child")


def test_forking_while_other_threads_are_in_a_call(expected: Result) -> None:
    running = True
    wrong: list[str] = []

    def keep_working() -> None:
        while running:
            try:
                assert_same_results(work(), expected, "a thread beside the fork")
            except AssertionError as error:
                wrong.append(str(error))
                return

    threads = [threading.Thread(target=keep_working) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for number in range(8):
            time.sleep(0.003 * (number % 4))
            assert_same_results(in_child(work), expected, f"child {number}")
    finally:
        running = False
        for thread in threads:
            thread.join()
    assert not wrong


def call_with(x: Any) -> Result:
    return run(LSTM, x)


@pytest.mark.parametrize(("method", "size"), [("fork", 4), ("forkserver", 2), ("spawn", 2)])
def test_a_pool_of_processes(expected: Result, method: str, size: int) -> None:
    with multiprocessing.get_context(method).Pool(size) as pool:
        found = pool.map_async(call_with, [X] * 8).get(timeout=4 * PATIENCE)
    for number, result in enumerate(found):
        assert_same_results(result, expected, f"{method}, task {number}")


def test_a_child_that_hangs_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("test_fork.PATIENCE", 0.2)
    with pytest.raises(pytest.fail.Exception, match=r"still running after 0\.2 s"):
        in_child(lambda: time.sleep(60))
