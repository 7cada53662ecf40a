"""One run: check every peer, then time them all, repeat by repeat in turn."""

from __future__ import annotations

import contextlib
import json
import platform
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from bench import memory, record, roofline
from bench.check import Arrays
from bench.client import Worker, WorkerError
from bench.machine import cpus_for, git_facts, machine_facts, machine_name
from bench.problems import Problem
from bench.quiet import wait_until_idle
from bench.record import (
    CanarySample,
    Document,
    Measurement,
    MemoryUse,
    PeerFacts,
)
from bench.settings import Settings
from bench.timing import Contender, check, new_measurement, time_in_turn


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
    unfinished : Document, optional
        A run that was interrupted; what it holds is not measured again.
    """

    def __init__(
        self,
        settings: Settings,
        path: Path | None,
        command: list[str],
        report: Callable[[str, int], None],
        unfinished: Document | None = None,
    ) -> None:
        self.settings = settings
        self._report = report
        self._workers: dict[tuple[str, int], Worker] = {}
        self._canaries: dict[int, Worker] = {}
        if unfinished is not None:
            self.document = unfinished
            _refuse_other_place(unfinished)
            unfinished.resumed.append(datetime.now(UTC).isoformat(timespec="seconds"))
        else:
            self.document = new_document(settings, command)
        self.path = path or free_path(self.document)

    def run(self) -> Document:
        """Do everything; the workers are ended however this ends."""
        try:
            self._start()
            for problem in self.settings.problems():
                expected: dict[Problem, Arrays] = {}  # shared by all peers and thread counts
                for threads in self.settings.threads_for(problem):
                    if self._is_there(problem, threads):
                        self._report(f"{problem.name} {threads}T: there", len(self.settings.peers))
                        continue
                    self._one_problem(problem, threads, expected)
                    record.write(self.document, self.path)
            self._close()  # their memory is wanted now
            self._measure_memory()
            self.document.complete = True
            record.write(self.document, self.path)
        finally:
            self._close()
        return self.document

    def _everyone(self) -> list[Worker]:
        return [*self._workers.values(), *self._canaries.values()]

    def _close(self) -> None:
        for worker in self._everyone():
            worker.close()
        self._workers.clear()
        self._canaries.clear()

    def _start(self) -> None:
        """Start a worker for each peer and thread count, and ask what the peers can do."""
        self.document.peers.clear()
        for module in self.settings.peers:
            facts = PeerFacts(module, module, None, None)
            try:
                for threads in self.settings.every_thread_count:
                    self._workers[module, threads] = self._new_worker(module, threads)
                    answer = self._workers[module, threads].call("describe")
                facts = PeerFacts(module, **answer)
            except WorkerError as error:
                facts.unavailable = str(error)
            if any(facts.name == other.name for other in self.document.peers):
                raise ValueError(f"bench: two peers have the name {facts.name!r}; rename one")
            self.document.peers.append(facts)
            if facts.unavailable:
                self._report(
                    f"{facts.name}: left out: {facts.unavailable}",
                    self.settings.measurements // len(self.settings.peers),
                )
                for threads in self.settings.every_thread_count:
                    if worker := self._workers.pop((module, threads), None):
                        worker.close()
        for threads in self.settings.every_thread_count:
            canary = self._canaries[threads] = self._new_worker(None, threads)
            self.document.fma_unavailable = canary.call("fma_unavailable")
            known = [roof.threads for roof in self.document.rooflines]
            if self.settings.roofline and threads not in known:
                self._wait_for_others_than(canary)
                measured = roofline.ask(canary, self.document.machine["caches"])
                self.document.rooflines += [measured] if measured else []

    def _new_worker(self, peer: str | None, threads: int) -> Worker:
        return Worker(peer, threads, cpus_for(threads) if self.settings.confine else [])

    def _is_there(self, problem: Problem, threads: int) -> bool:
        """Whether an interrupted run has this already; files are written problem by problem."""
        key = asdict(new_measurement(problem, threads, ""))
        fields = ("cell", "mode", "B", "T", "I", "H", "L", "D", "threads")
        return any(
            all(getattr(m, name) == key[name] for name in fields)
            for m in self.document.measurements
        )

    def _one_problem(self, problem: Problem, threads: int, expected: dict[Problem, Arrays]) -> None:
        """Check and time every peer that can do the problem."""
        contenders = []
        for facts in self.document.peers:
            if facts.unavailable:
                continue
            worker = self._workers[facts.module, threads]
            measurement = new_measurement(problem, threads, facts.name)
            self.document.measurements.append(measurement)
            if check(problem, worker, measurement, expected, self.settings.effort):
                effort = self.settings.effort.share(facts.effort)
                contenders.append(Contender(measurement, worker, problem, effort))
            else:
                self._settle(measurement, worker)
        if contenders:
            self._sample_canary(problem, threads)
            time_in_turn(contenders, self._wait_for_others_than)
        for contender in contenders:
            self._settle(contender.measurement, contender.worker)

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
        self._report(in_words(measurement), 1)

    def _measure_memory(self) -> None:
        """A fresh process for every peer and cell, with the most threads of the run."""
        threads = max(self.settings.threads)
        for problem in self.settings.memory_problems():
            expected: dict[Problem, Arrays] = {}
            for facts in self.document.peers:
                use = MemoryUse(
                    problem.cell, problem.mode, problem.B, problem.T, problem.I, problem.H,
                    threads, facts.name, "timed",
                )  # fmt: skip
                there = [(m.cell, m.peer) for m in self.document.memory]
                if facts.unavailable or (use.cell, use.peer) in there:
                    continue
                worker = self._new_worker(facts.module, threads)
                try:
                    memory.measure(problem, worker, use, expected)
                finally:
                    worker.close()
                self.document.memory.append(use)
                record.write(self.document, self.path)
                self._report(memory.in_words(use), 1)


def new_document(settings: Any, command: list[str]) -> Document:
    """A document with the facts of this machine and nothing measured."""
    facts = machine_facts()
    return Document(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        command=command,
        complete=False,
        git=git_facts(),
        machine_name=machine_name(facts),
        machine=facts,
        versions={"python": platform.python_version(), "numpy": np.__version__},
        settings=json.loads(json.dumps(asdict(settings))),  # as it will be read back
        peers=[],
        fma_unavailable=None,
    )


def free_path(document: Document, suffix: str = "") -> Path:
    """Where the results of a run go when nobody says so."""
    folder = Path(__file__).resolve().parent / "results" / document.machine_name
    stem = f"{document.date[:10]}-{document.git['commit'] or 'nogit'}{suffix}"
    number = 1
    while (path := folder / f"{stem}{f'-{number}' if number > 1 else ''}.json").exists():
        number += 1
    return path


def _refuse_other_place(document: Document) -> None:
    """A run goes on where it began: on the same machine, with the same source tree."""
    here, git = machine_name(machine_facts()), git_facts()
    if document.complete:
        raise ValueError("bench: the run is complete, there is nothing to resume")
    if document.machine_name != here:
        raise ValueError(f"bench: the run was made on {document.machine_name}, this is {here}")
    if document.git != git:
        raise ValueError(
            f"bench: the run was made at commit {document.git['commit']}, this is "
            f"{git['commit']}{' with changes' if git['dirty'] else ''}; check it out to resume"
        )


def in_words(measurement: Measurement) -> str:
    """One line about a settled measurement."""
    m = measurement
    problem = Problem(m.cell, m.mode, m.B, m.T, m.I, m.H, m.L, m.D)
    head = f"{problem.name} {m.threads}T {m.peer}:"
    if m.status != "timed":
        return f"{head} {m.status}: {m.reason}"
    unit, scale = ("us a step", 1e3) if m.mode == "stream" else ("ms", 1.0)
    median, p25, p75 = (scale * (value or 0) for value in (m.median_ms, m.p25_ms, m.p75_ms))
    return f"{head} {median:.3g} {unit} ({p25:.3g} to {p75:.3g}), {m.gflops:.3g} GFLOP/s"
