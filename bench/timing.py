"""Checking one peer on one problem, and timing several in turn: A B C A B C."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

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
from bench.quiet import StrangerMeter
from bench.record import Measurement


@dataclass(frozen=True)
class Effort:
    """How long each peer is timed on each problem."""

    rounds: int  # at least this many rounds,
    seconds: float  # and at least this much time in timed calls;
    most_seconds: float  # but no further round after this much,
    fewest_rounds: int = 3  # unless there were fewer rounds than this.
    most_calls: int = 2000  # in one round
    prepare_seconds: float = 120.0  # for building and compiling; beyond that a peer has failed

    def enough(self, rounds: int, seconds: float) -> bool:
        if rounds >= self.rounds and seconds >= self.seconds:
            return True
        return seconds >= self.most_seconds and rounds >= self.fewest_rounds

    def share(self, part: float) -> Effort:
        """The effort for a peer that is to get a part of the time only."""
        rounds = max(self.fewest_rounds, math.ceil(self.rounds * part))
        return Effort(
            min(rounds, self.rounds), self.seconds * part, self.most_seconds * part,
            self.fewest_rounds, self.most_calls, self.prepare_seconds,
        )  # fmt: skip


@dataclass
class Contender:
    """A peer that passed the check of its problem, with what was timed so far."""

    measurement: Measurement
    worker: Worker
    problem: Problem
    effort: Effort
    meter: StrangerMeter = field(init=False)
    calls_ms: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.meter = StrangerMeter(self.worker.pid)

    @property
    def steps_per_call(self) -> int:
        """A stream's call makes all steps; its times are told per step."""
        return self.problem.T // self.problem.steps_per_time


def new_measurement(problem: Problem, threads: int, peer: str) -> Measurement:
    """A measurement about to be made."""
    return Measurement(
        cell=problem.cell, mode=problem.mode, B=problem.B, T=problem.T, I=problem.I, H=problem.H,
        L=problem.L, D=problem.D, threads=threads, peer=peer, status="timed",
    )  # fmt: skip


def check(
    problem: Problem,
    worker: Worker,
    measurement: Measurement,
    expected: dict[Problem, Arrays],
    effort: Effort,
) -> bool:
    """Compare with the reference; leaves the worker prepared for the problem itself.

    Parameters
    ----------
    expected : dict
        Results of the reference that were computed already; added to.

    Returns
    -------
    bool
        Whether the peer may be timed; if not, the measurement says why.
    """
    limit = effort.prepare_seconds
    try:
        if reason := worker.call("declines", problem):
            measurement.status, measurement.reason = "declined", reason
            return False
        for compared, rows in comparisons(problem):
            if compared not in expected:
                expected[compared] = expected_results(compared, rows)
            start = time.monotonic()
            worker.call("prepare", compared, timeout=limit)
            results = worker.call("compute", rows, timeout=limit)
            measurement.prepare_s = round(time.monotonic() - start, 3)
            for name, error in largest_errors(results, expected[compared], problem.dtype).items():
                measurement.errors[name] = max(error, measurement.errors.get(name, 0.0))
        measurement.reason = complaint(measurement.errors)
        if measurement.reason:
            measurement.status = "refused"
        else:
            measurement.plan = worker.call("plan")
    except WorkerError as error:
        measurement.status, measurement.reason = "failed", str(error)
    except WrongResultError as error:
        measurement.status, measurement.reason = "refused", str(error)
    return measurement.status == "timed"


def time_in_turn(contenders: list[Contender], wait: Callable[[Worker], bool]) -> None:
    """Rounds over all contenders in turn until each has had enough; fills their measurements.

    Parameters
    ----------
    contenders : list of Contender
    wait : callable
        Waits until nobody but the given worker uses CPU time; False when that did not happen.
    """
    unfinished = list(contenders)
    while unfinished:
        for contender in list(unfinished):
            measurement, effort = contender.measurement, contender.effort
            if not wait(contender.worker):
                measurement.busy_before += 1
            try:
                with contender.meter:
                    times = contender.worker.call(
                        "measure", effort.seconds / effort.rounds, effort.most_calls
                    )
            except WorkerError as error:
                measurement.status, measurement.reason = "failed", str(error)
                unfinished.remove(contender)
                continue
            calls_ms = [t * 1e-6 / contender.steps_per_call for t in times]
            contender.calls_ms += calls_ms
            measurement.round_medians_ms.append(statistics.median(calls_ms))
            seconds = sum(contender.calls_ms) * contender.steps_per_call * 1e-3
            if effort.enough(len(measurement.round_medians_ms), seconds):
                _summarize(contender)
                unfinished.remove(contender)


def _summarize(contender: Contender) -> None:
    measurement = contender.measurement
    quantiles = np.percentile(contender.calls_ms, (10, 25, 50, 75, 90))
    p10, p25, median, p75, p90 = map(float, quantiles)
    measurement.p10_ms, measurement.p90_ms = p10, p90
    measurement.p25_ms, measurement.median_ms, measurement.p75_ms = p25, median, p75
    measurement.calls = len(contender.calls_ms)
    measurement.gflops = contender.problem.flops / (median * 1e6)
    measurement.strangers_cpus = round(contender.meter.cpus, 3)
