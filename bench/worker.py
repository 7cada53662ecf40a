"""The process in which one peer (or the canary) lives.

``python -m bench.worker JSON`` serves the methods of one object over a pipe until the pipe closes.
The JSON says which file descriptor, which CPUs, and which object. Nothing heavier than the standard
library may be imported before the CPUs are set: thread pools look at them when they are loaded.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.peers.base import Array
    from bench.problems import Problem

_WARM_UP_SECONDS = 0.005
_LONG_CALL_SECONDS = 0.3
_BATCH_AXIS_1 = ("y", "h_n", "c_n", "d_x")  # results whose rows are independent of each other


class PeerHost:
    """Prepares, runs and times one peer; every public method can be called over the pipe."""

    def __init__(self, peer: str, threads: int) -> None:
        from bench.peers import load_peer

        self._type = load_peer(peer)
        self._threads = threads
        self._peer: Any = None  # the prepared instance
        self._call: Any = None  # its method that is timed
        self._problem: Any = None
        self._training = False
        self._last = 0.0  # seconds of the latest call

    def describe(self) -> dict[str, Any]:
        """Name, version, reason for being unavailable, and what the peer can do."""
        unavailable = self._type.available()
        return {
            "name": self._type.name,
            "version": None if unavailable else self._type.version(),
            "unavailable": unavailable,
            "modes": list(self._type.modes),
            "cells": list(self._type.cells),
            "effort": self._type.effort,
        }

    def declines(self, problem: Problem) -> str | None:
        """Why the peer does not do this problem; None when it does."""
        kind = self._type
        if problem.mode not in kind.modes or problem.cell not in kind.cells:
            return f"does no {problem.cell} {problem.mode}"
        if problem.L * problem.D > 1 and not kind.stacks:
            return "does one layer in one direction"
        if problem.ragged and not kind.ragged:
            return "does rows of one length"
        if problem.dtype not in kind.dtypes:
            return f"does no {problem.dtype}"
        return kind.declines(problem)

    def prepare(self, problem: Problem) -> None:
        """Draw the problem's arrays and hand them to a new instance of the peer."""
        from bench.problems import make_inputs

        self.release()
        data = make_inputs(problem)
        self._peer = self._type()
        self._peer.prepare(
            problem, data.weights, data.x, data.h_0, data.c_0, data.d_y, self._threads
        )
        if data.lengths is not None:
            self._peer.set_lengths(data.lengths)
        self._problem = problem
        self._training = problem.mode == "training"
        self._call = {
            "inference": self._peer.infer,
            "training": self._peer.train_step,
            "stream": self._peer.stream,
        }[problem.mode]
        if problem.mode == "stream":
            self._peer.start_stream()

    def plan(self) -> dict[str, Any] | None:
        """How the library runs the prepared problem, in its own words."""
        plan: dict[str, Any] | None = self._peer.plan()
        return plan

    def compute(self, rows: list[int] | None) -> dict[str, Array]:
        """Run the prepared problem once and return its results, or only some rows of the batch."""
        if self._problem.mode == "stream":
            self._peer.start_stream()
            import numpy as np

            return {"y": np.stack([self._peer.step(t).copy() for t in range(self._problem.T)])}
        start = time.perf_counter()
        self._call()
        self._last = time.perf_counter() - start
        results: dict[str, Array] = self._peer.results()
        if rows is not None:
            results = {n: results[n][:, rows] for n in _BATCH_AXIS_1 if n in results}
        return results

    def measure(self, seconds: float, most_calls: int) -> list[int]:
        """Nanoseconds of each call, for about the given time and at least one call.

        A few untimed calls come first, to bring weights back into the caches and threads out of
        their sleep; not when a call takes long, for then it does not matter.
        """
        if self._last < _LONG_CALL_SECONDS:
            end = time.perf_counter() + _WARM_UP_SECONDS
            self._timed_call()
            while time.perf_counter() < end:
                self._timed_call()
        gc.collect()
        gc.disable()
        try:
            times: list[int] = []
            end = time.perf_counter() + seconds
            while not times or (time.perf_counter() < end and len(times) < most_calls):
                times.append(self._timed_call())
        finally:
            gc.enable()
        self._last = times[-1] * 1e-9
        return times

    def _timed_call(self) -> int:
        if self._training:
            self._peer.touch_weights()
        start = time.perf_counter_ns()
        self._call()
        return time.perf_counter_ns() - start

    def memory(self, problem: Problem) -> dict[str, int]:
        """Bytes resident before the problem's first call, and at the peak of that call.

        For a fresh process: everything that the library takes at its first call is counted.
        """
        self.prepare(problem)
        gc.collect()
        with contextlib.suppress(OSError):  # where it is not allowed the peak includes `prepare`
            Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts anew
        before = _status_bytes("VmRSS")
        self._call()
        return {"before": before, "peak": _status_bytes("VmHWM")}

    def release(self) -> None:
        """Drop the prepared problem and its memory."""
        self._peer = self._call = None
        self._last = 0.0
        gc.collect()


def _status_bytes(name: str) -> int:
    """A field of /proc/self/status that counts kB, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


def serve(host: Any, connection: Connection) -> None:
    """Answer ``(method, arguments)`` with ``(True, value)`` or ``(False, message)``."""
    while True:
        try:
            method, arguments = connection.recv()
        except EOFError:
            return
        try:
            answer = (True, getattr(host, method)(*arguments))
        except Exception as error:  # told to the runner, which reports it beside the peer's name
            answer = (False, f"{type(error).__name__}: {error}")
        connection.send(answer)


def main(argument: str) -> None:
    """Set the CPUs, build the object, serve it."""
    order = json.loads(argument)
    connection = Connection(order["fd"])
    if order["cpus"] and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, order["cpus"])
    if order["peer"] is None:
        from bench.canary import Canary

        host: Any = Canary(order["threads"])
    else:
        host = PeerHost(order["peer"], order["threads"])
    serve(host, connection)


if __name__ == "__main__":
    main(sys.argv[1])
