"""The same calls alone, and while another process keeps one of the CPUs busy."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from bench.machine import usable_cpus
from bench.probes.base import Probing, Rows, release, say, summary, timed, workers
from bench.sections import Grid, Section
from bench.tables import number, thread_text

_START_SECONDS = 0.3  # until the other process has begun to spin


def run(probing: Probing) -> Rows:
    """Every peer on each problem, first alone, then beside the other process."""
    rows: Rows = []
    threads = probing.thread_count()
    with workers(probing, threads) as group:
        for problem in probing.problems(
            ["lstm", "gru", "rnn"], ["inference", "training"], ["small-batch"]
        ):
            contenders = group.contenders(problem)
            alone = {name: summary(c) for name, c in timed(contenders, group).items()}
            again = group.contenders(problem, compare=False)
            with _busy_process():
                beside = {name: summary(c) for name, c in timed(again, group).items()}
            release(group)
            for name in alone.keys() & beside.keys():
                say(f"{problem.name} {name}: {alone[name]['mean_ms']:.3g} ms alone, "
                    f"{beside[name]['mean_ms']:.3g} ms beside (means)")  # fmt: skip
                rows.append(
                    {
                        "problem": problem.name, "threads": threads, "peer": name,
                        "alone": alone[name], "beside": beside[name],
                    }
                )  # fmt: skip
    return rows


@contextmanager
def _busy_process() -> Iterator[None]:
    """A process that spins on the last of our CPUs."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(process.pid, usable_cpus()[-1:])
        time.sleep(_START_SECONDS)
        yield
    finally:
        process.kill()
        process.wait()


def section(rows: Rows) -> Section:
    """A line for each problem and peer."""
    lines = []
    for row in sorted(rows, key=lambda r: (r["problem"], r["peer"] != "fastrnn", r["peer"])):
        alone, beside = row["alone"], row["beside"]
        lines.append(
            [
                row["problem"], row["peer"], number(alone["median_ms"]),
                number(beside["median_ms"]), f"{beside['median_ms'] / alone['median_ms']:.2f}x",
                f"{beside['mean_ms'] / alone['mean_ms']:.2f}x", number(beside["p90_ms"]),
                number(beside["worst_ms"]),
            ]
        )  # fmt: skip
    header = ["problem", "peer", "alone, ms", "beside, ms", "medians", "means", "p90", "worst"]
    text = (
        f"{thread_text(rows[0]['threads']) if rows else 'No peer was timed'}; medians alone and "
        "beside a process that spins on one of the CPUs; then ratios of medians and of means, and "
        "the 90th percentile and the worst call beside it (ms)."
    )
    return Section("With one core kept busy by another process", [text, Grid(header, lines)])
