"""One run: check every peer, then time them all, repeat by repeat in turn."""

from __future__ import annotations

import contextlib
import platform
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from bench import record
from bench.check import (
    Arrays,
    WrongResultError,
    comparisons,
    complaint,
    expected_results,
    largest_errors,
)
from bench.client import Worker, WorkerError
from bench.machine import cpus_for, git_facts, machine_facts, machine_name
from bench.problems import Problem, Shape
from bench.quiet import StrangerMeter, wait_until_idle
from bench.record import CanarySample, Document, Measurement, PeerFacts


@dataclass(frozen=True)
class Effort:
    """How long each peer is timed on each problem."""

    rounds: int  # at least this many rounds,
    seconds: float  # and at least this much time in timed calls;
    most_seconds: float  # but no further round after this much,
    fewest_rounds: int = 3  # unless there were fewer rounds than this.
    most_calls: int = 2000  # in one round

    def enough(self, rounds: int, seconds: float) -> bool:
        if rounds >= self.rounds and seconds >= self.seconds:
            return True
        return seconds >= self.most_seconds and rounds >= self.fewest_rounds


FULL = Effort(rounds=7, seconds=1.5, most_seconds=10.0)
QUICK = Effort(rounds=3, seconds=0.2, most_seconds=2.0)


@dataclass(frozen=True)
class Settings:
    """What to time."""

    cells: list[str]
    modes: list[str]
    shapes: list[Shape]
    threads: list[int]
    peers: list[str]
    effort: Effort
    confine: bool = True  # keep a peer with n threads on n CPUs

    @property
    def measurements(self) -> int:
        """Number of measurements asked for, those that turn out impossible included."""
        return len(self.problems()) * len(self.threads) * len(self.peers)

    def problems(self) -> list[Problem]:
        return [
            Problem(cell, mode, s.B, s.T, s.I, s.H)
            for cell in self.cells
            for mode in self.modes
            for s in self.shapes
        ]


@dataclass
class Contender:
    """A peer that passed the check of the problem at hand, with what was timed so far."""

    measurement: Measurement
    worker: Worker
    meter: StrangerMeter
    calls_ms: list[float] = field(default_factory=list)


class Runner:
    """Holds the workers of one run.

    Parameters
    ----------
    settings : Settings
        What to time.
    path : Path or None
        The result file, rewritten after every problem so that an interrupted run is not lost; by
        default ``results/<machine>/<date>-<commit>.json`` beside this file, with a number if taken.
    command : list of str
        The command line, for the record.
    report : callable
        Called with one line of text and the number of measurements that this line settles, of
        ``settings.measurements`` in all.
    """

    def __init__(
        self,
        settings: Settings,
        path: Path | None,
        command: list[str],
        report: Callable[[str, int], None],
    ) -> None:
        self.settings = settings
        self._report = report
        self._workers: dict[tuple[str, int], Worker] = {}
        self._canaries: dict[int, Worker] = {}
        facts = machine_facts()
        self.document = Document(
            date=datetime.now(UTC).isoformat(timespec="seconds"),
            command=command,
            complete=False,
            git=git_facts(),
            machine_name=machine_name(facts),
            machine=facts,
            versions={"python": platform.python_version(), "numpy": np.__version__},
            settings=asdict(settings),
            peers=[],
            fma_unavailable=None,
        )
        self.path = path or _free_path(self.document)

    def run(self) -> Document:
        """Do everything; the workers are ended however this ends."""
        try:
            self._start()
            for problem in self.settings.problems():
                expected: dict[Problem, Arrays] = {}  # shared by all peers and thread counts
                for threads in self.settings.threads:
                    self._one_problem(problem, threads, expected)
                    record.write(self.document, self.path)
            self.document.complete = True
            record.write(self.document, self.path)
        finally:
            for worker in self._everyone():
                worker.close()
        return self.document

    def _everyone(self) -> list[Worker]:
        return [*self._workers.values(), *self._canaries.values()]

    def _start(self) -> None:
        """Start a worker for each peer and thread count, and ask what the peers can do."""
        for module in self.settings.peers:
            facts = PeerFacts(module, module, None, None)
            try:
                for threads in self.settings.threads:
                    self._workers[module, threads] = self._new_worker(module, threads)
                    answer = self._workers[module, threads].call("describe")
                facts = PeerFacts(module, **answer)
            except WorkerError as error:
                facts.unavailable = str(error)
            if any(facts.name == other.name for other in self.document.peers):
                raise ValueError(f"bench: two peers have the name {facts.name!r}; rename one")
            self.document.peers.append(facts)
            if facts.unavailable:
                problems = len(self.settings.problems()) * len(self.settings.threads)
                self._report(f"{facts.name}: left out: {facts.unavailable}", problems)
                for threads in self.settings.threads:
                    if worker := self._workers.pop((module, threads), None):
                        worker.close()
        for threads in self.settings.threads:
            self._canaries[threads] = self._new_worker(None, threads)
            self.document.fma_unavailable = self._canaries[threads].call("fma_unavailable")

    def _new_worker(self, peer: str | None, threads: int) -> Worker:
        return Worker(peer, threads, cpus_for(threads) if self.settings.confine else [])

    def _one_problem(self, problem: Problem, threads: int, expected: dict[Problem, Arrays]) -> None:
        """Check and time every peer that can do the problem."""
        contenders = []
        for facts in self.document.peers:
            if facts.unavailable:
                continue
            if problem.mode not in facts.modes or problem.cell not in facts.cells:
                self._report(f"{problem.name} {threads}T {facts.name}: not offered", 1)
                continue
            worker = self._workers[facts.module, threads]
            measurement = _new_measurement(problem, threads, facts.name)
            self.document.measurements.append(measurement)
            self._check(problem, worker, measurement, expected)
            if measurement.status == "timed":
                contenders.append(Contender(measurement, worker, StrangerMeter(worker.pid)))
            else:
                self._settle(measurement, worker)
        if contenders:
            self._sample_canary(problem, threads)
            self._time(problem, contenders)
        for contender in contenders:
            self._settle(contender.measurement, contender.worker)

    def _check(
        self,
        problem: Problem,
        worker: Worker,
        measurement: Measurement,
        expected: dict[Problem, Arrays],
    ) -> None:
        """Compare with the reference; leaves the worker prepared for the problem itself."""
        try:
            for compared, rows in comparisons(problem):
                if compared not in expected:
                    expected[compared] = expected_results(compared, rows)
                worker.call("prepare", compared)
                results = worker.call("compute", rows)
                for name, error in largest_errors(results, expected[compared]).items():
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

    def _time(self, problem: Problem, contenders: list[Contender]) -> None:
        """Rounds over all contenders in turn, A B C A B C, until each has had enough."""
        effort = self.settings.effort
        unfinished = list(contenders)
        while unfinished:
            for contender in list(unfinished):
                measurement = contender.measurement
                if not self._wait_for_others_than(contender.worker):
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
                contender.calls_ms += [t * 1e-6 for t in times]
                measurement.round_medians_ms.append(statistics.median(times) * 1e-6)
                seconds = sum(contender.calls_ms) * 1e-3
                if effort.enough(len(measurement.round_medians_ms), seconds):
                    _summarize(contender, problem)
                    unfinished.remove(contender)

    def _wait_for_others_than(self, worker: Worker) -> bool:
        """Sleep until no other worker uses CPU time, nor this process's own BLAS threads."""
        return wait_until_idle([w.pid for w in self._everyone() if w is not worker])

    def _sample_canary(self, problem: Problem, threads: int) -> None:
        worker = self._canaries[threads]
        self._wait_for_others_than(worker)
        self.document.canary.append(CanarySample(threads, problem.name, **worker.call("sample")))

    def _settle(self, measurement: Measurement, worker: Worker) -> None:
        """Free the worker's memory and say what came out."""
        with contextlib.suppress(WorkerError):  # a worker that is gone has freed its memory
            worker.call("release")
        place = f"{measurement.cell}/{measurement.mode}"
        shape = f"{measurement.B}x{measurement.T}x{measurement.I}x{measurement.H}"
        self._report(f"{place}/{shape} {measurement.threads}T {_in_words(measurement)}", 1)


def _free_path(document: Document) -> Path:
    folder = Path(__file__).resolve().parent / "results" / document.machine_name
    stem = f"{document.date[:10]}-{document.git['commit'] or 'nogit'}"
    number = 1
    while (path := folder / f"{stem}{f'-{number}' if number > 1 else ''}.json").exists():
        number += 1
    return path


def _new_measurement(problem: Problem, threads: int, peer: str) -> Measurement:
    return Measurement(
        cell=problem.cell, mode=problem.mode, B=problem.B, T=problem.T, I=problem.I, H=problem.H,
        threads=threads, peer=peer, status="timed",
    )  # fmt: skip


def _summarize(contender: Contender, problem: Problem) -> None:
    measurement = contender.measurement
    p10, median, p90 = map(float, np.percentile(contender.calls_ms, (10, 50, 90)))
    measurement.p10_ms, measurement.median_ms, measurement.p90_ms = p10, median, p90
    measurement.calls = len(contender.calls_ms)
    measurement.gflops = problem.flops / (median * 1e6)
    measurement.strangers_cpus = round(contender.meter.cpus, 3)


def _in_words(measurement: Measurement) -> str:
    if measurement.status != "timed":
        return f"{measurement.peer}: {measurement.status}: {measurement.reason}"
    return (
        f"{measurement.peer}: {measurement.median_ms:.3g} ms "
        f"({measurement.p10_ms:.3g} to {measurement.p90_ms:.3g}), {measurement.gflops:.3g} GFLOP/s"
    )
