"""Streams in blocks: ``fastrnn.Stepper.process`` beside the single steps of all peers."""

from __future__ import annotations

from pathlib import Path

from bench.probes.base import Probing, Rows, release, say, summary, timed, workers
from bench.sections import Grid, Section
from bench.tables import number, thread_text

_BLOCK_PEER = str(Path(__file__).with_name("block_peer.py"))


def run(probing: Probing) -> Rows:
    """One stream: every peer a step at a time, fastrnn a block of 100 steps at a time as well."""
    rows: Rows = []
    threads = probing.thread_count(default=1)
    with workers(probing, threads, [_BLOCK_PEER, *probing.peers]) as group:
        shapes = ["step-64", "step-128", "step-256", "step-512"]
        for problem in probing.problems(["lstm", "gru", "rnn"], ["stream"], shapes):
            for name, contender in timed(group.contenders(problem), group).items():
                row = {"problem": problem.name, "threads": threads, "peer": name}
                rows.append(row | {"step": summary(contender)})
                say(f"{problem.name} {name}: {1e3 * rows[-1]['step']['median_ms']:.3g} us a step")
            release(group)
    return rows


def section(rows: Rows) -> Section:
    """A line for each problem, a column for each peer."""
    peers = list(dict.fromkeys(row["peer"] for row in rows))
    lines = []
    for problem in dict.fromkeys(row["problem"] for row in rows):
        times = {r["peer"]: r["step"]["median_ms"] for r in rows if r["problem"] == problem}
        cells = [number(1e3 * times[p]) if p in times else "-" for p in peers]
        lines.append([problem, *cells])
    text = (
        f"{thread_text(rows[0]['threads']) if rows else 'No peer was timed'}, microseconds a step, "
        "medians; `fastrnn process` hands over 100 steps at a time."
    )
    return Section("Streams, a block at a time", [text, Grid(["problem", *peers], lines)])
