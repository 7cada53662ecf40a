"""What the probes share: workers of the peers, times in turn, the result file."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.check import Arrays
from bench.client import Worker, WorkerError
from bench.machine import cpus_for, usable_cpus
from bench.problems import Problem, Shape, parse_shape
from bench.quiet import wait_until_idle
from bench.sections import Section, to_markdown
from bench.timing import Contender, Effort, check, new_measurement, time_in_turn

SCHEMA = "fastrnn-bench-probe/1"
Rows = list[dict[str, Any]]

FULL = Effort(rounds=5, seconds=0.5, most_seconds=6.0)
QUICK = Effort(rounds=3, seconds=0.05, most_seconds=1.0, prepare_seconds=60.0)


@dataclass
class Probing:
    """What was asked for on the command line; empty where the probe decides."""

    cells: list[str] | None = None
    shapes: list[Shape] = field(default_factory=list)
    threads: int | None = None
    peers: list[str] = field(default_factory=list)
    quick: bool = False

    @property
    def effort(self) -> Effort:
        return QUICK if self.quick else FULL

    def problems(self, cells: list[str], modes: list[str], shapes: list[str]) -> list[Problem]:
        """The problems to probe; the arguments are the probe's own choice."""
        return [
            Problem(cell, mode, s.B, s.T, s.I, s.H, s.L, s.D)
            for s in self.shapes or [parse_shape(name) for name in shapes]
            for mode in modes
            for cell in self.cells or cells
        ]

    def thread_count(self, default: int | None = None) -> int:
        return self.threads or default or len(usable_cpus())


@dataclass
class Workers:
    """One worker for each peer that is there."""

    effort: Effort
    by_name: dict[str, tuple[Worker, float]]  # with the peer's share of the effort
    threads: int

    def wait(self, worker: Worker) -> bool:
        """Until none of the others uses CPU time."""
        return wait_until_idle([w.pid for w, _ in self.by_name.values() if w is not worker])

    def contenders(self, problem: Problem, compare: bool = True) -> list[Contender]:
        """Those that can do the problem and, if asked, agree with the reference."""
        found = []
        expected: dict[Problem, Arrays] = {}
        for name, (worker, share) in self.by_name.items():
            measurement = new_measurement(problem, self.threads, name)
            if compare:
                if not check(problem, worker, measurement, expected, self.effort):
                    if measurement.status != "declined":
                        say(f"{problem.name} {name}: {measurement.status}: {measurement.reason}")
                    continue
            elif worker.call("declines", problem):
                continue
            else:
                worker.call("prepare", problem, timeout=self.effort.prepare_seconds)
                worker.call("compute", [0], timeout=self.effort.prepare_seconds)
            found.append(Contender(measurement, worker, problem, self.effort.share(share)))
        return found


@contextmanager
def workers(probing: Probing, threads: int, peers: list[str] | None = None) -> Iterator[Workers]:
    """Workers of the peers that are installed, ended at the end; says who is left out."""
    started: dict[str, tuple[Worker, float]] = {}
    try:
        for peer in peers or probing.peers:
            worker = Worker(peer, threads, cpus_for(threads))
            started[peer] = (worker, 1.0)
            facts = worker.call("describe")
            if facts["unavailable"]:
                say(f"{facts['name']}: left out: {facts['unavailable']}")
                started.pop(peer)[0].close()
                continue
            started[facts["name"]] = (started.pop(peer)[0], facts["effort"])
        yield Workers(probing.effort, started, threads)
    finally:
        for worker, _ in started.values():
            worker.close()


def timed(contenders: list[Contender], group: Workers) -> dict[str, Contender]:
    """Time them in turn; those that came through, by the peer's name."""
    time_in_turn(contenders, group.wait)
    return _came_through(contenders)


def timed_pairs(
    problem: Problem, other: Problem, groups: tuple[Workers, Workers], compare: bool = True
) -> list[tuple[str, dict[str, float], dict[str, float]]]:
    """Two problems side by side: every peer's summaries of both, timed in turn.

    Parameters
    ----------
    groups : two Workers
        The same peers twice: each problem stays prepared in a process of its own.
    compare : bool
        Whether the second problem's results are compared with the reference.
    """
    second = groups[1].contenders(other, compare)
    able = {c.measurement.peer for c in second}
    first = [c for c in groups[0].contenders(problem) if c.measurement.peer in able]
    able &= {c.measurement.peer for c in first}
    second = [c for c in second if c.measurement.peer in able]

    def wait(worker: Worker) -> bool:
        everyone = [w for group in groups for w, _ in group.by_name.values()]
        return wait_until_idle([w.pid for w in everyone if w is not worker])

    time_in_turn([c for pair in zip(first, second, strict=True) for c in pair], wait)
    both = [_came_through(contenders) for contenders in (first, second)]
    for group in groups:
        release(group)
    return [
        (name, summary(both[0][name]), summary(both[1][name]))
        for name in both[0]
        if name in both[1]
    ]


def _came_through(contenders: list[Contender]) -> dict[str, Contender]:
    for contender in contenders:
        if contender.measurement.status != "timed":
            say(f"{contender.measurement.peer}: {contender.measurement.reason}")
    return {c.measurement.peer: c for c in contenders if c.measurement.status == "timed"}


def summary(contender: Contender) -> dict[str, float]:
    """Median, mean, quartiles and the worst of the times, in ms (in a stream per step)."""
    m, calls = contender.measurement, contender.calls_ms
    return {
        "median_ms": m.median_ms or 0.0, "p25_ms": m.p25_ms or 0.0, "p75_ms": m.p75_ms or 0.0,
        "p90_ms": m.p90_ms or 0.0, "mean_ms": statistics.fmean(calls), "worst_ms": max(calls),
        "calls": len(calls),
    }  # fmt: skip


def release(group: Workers) -> None:
    """Let every worker drop what it has prepared."""
    for worker, _ in group.by_name.values():
        try:
            worker.call("release")
        except WorkerError as error:
            say(str(error))


def say(line: str) -> None:
    """A line of progress."""
    print(f"bench: {line}", file=sys.stderr, flush=True)


def write_and_print(name: str, rows: Rows, command: list[str], out: Path | None) -> None:
    """Write the result file of a probe and print its section."""
    from bench.probes import load_probe
    from bench.run import free_path, new_document

    facts = new_document(Effort(0, 0, 0), command)
    path = out or free_path(facts, f"-{name}")
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {
        "schema": SCHEMA, "probe": name, "date": facts.date, "command": command,
        "git": facts.git, "machine_name": facts.machine_name, "machine": facts.machine,
        "rows": rows,
    }  # fmt: skip
    path.write_text(json.dumps(document, indent=1) + "\n")
    print(to_markdown([load_probe(name).section(rows)]), end="")
    say(f"wrote {path}")


def read_section(path: Path) -> Section:
    """The section of a probe's result file.

    Raises
    ------
    ValueError
        When the file is not one.
    """
    from bench.probes import load_probe

    try:
        document = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"bench: {path} is not a JSON file ({error})") from error
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise ValueError(f"bench: {path} is not a result file of a probe, schema {SCHEMA!r}")
    section: Section = load_probe(document["probe"]).section(document["rows"])
    git = document["git"]
    commit = f"{git['commit']}{' with uncommitted changes' if git['dirty'] else ''}"
    section.blocks.append(
        f"`python -m bench {' '.join(document['command'])}`, {document['date']}, commit {commit}, "
        f"{document['machine_name']}."
    )
    return section
