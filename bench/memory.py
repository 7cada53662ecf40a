"""Memory that one call adds to a fresh process: the most that was resident during the call, less
what was resident before it (VmHWM, VmRSS)."""

from __future__ import annotations

from bench.check import (
    Arrays,
    WrongResultError,
    comparisons,
    complaint,
    expected_results,
    largest_errors,
)
from bench.client import Worker, WorkerError
from bench.problems import Problem
from bench.record import MemoryUse


def measure(
    problem: Problem, worker: Worker, use: MemoryUse, expected: dict[Problem, Arrays]
) -> None:
    """Fill in `use` from a worker that has done nothing yet; its results are checked afterwards."""
    try:
        if reason := worker.call("declines", problem):
            use.status, use.reason = "declined", reason
            return
        found = worker.call("memory", problem)
        compared, rows = comparisons(problem)[-1]
        if compared not in expected:
            expected[compared] = expected_results(compared, rows)
        errors = largest_errors(worker.call("compute", rows), expected[compared])
        use.reason = complaint(errors)
        if use.reason:
            use.status = "refused"
        else:
            use.before_bytes, use.peak_bytes = found["before"], found["peak"]
    except WorkerError as error:
        use.status, use.reason = "failed", str(error)
    except WrongResultError as error:
        use.status, use.reason = "refused", str(error)


def in_words(use: MemoryUse) -> str:
    """One line about a measurement."""
    head = f"memory of {use.cell}/{use.mode}/{use.B}x{use.T}x{use.I}x{use.H} {use.threads}T"
    if use.status != "timed":
        return f"{head} {use.peer}: {use.status}: {use.reason}"
    added = (use.peak_bytes - use.before_bytes) / 2**20
    return f"{head} {use.peer}: {added:.0f} MiB added to {use.before_bytes / 2**20:.0f}"
