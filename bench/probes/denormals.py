"""The same calls on usual numbers, and on numbers below the smallest normal one."""

from __future__ import annotations

from dataclasses import replace

from bench.probes.base import Probing, Rows, say, summary, timed, workers
from bench.sections import Grid, Section
from bench.tables import number, thread_text


def run(probing: Probing) -> Rows:
    """Every peer on each problem, the two kinds of numbers in two processes and in turn."""
    rows: Rows = []
    threads = probing.thread_count()
    with workers(probing, threads) as group, workers(probing, threads) as other:
        for problem in probing.problems(
            ["lstm", "gru", "rnn"], ["inference", "training"], ["small-batch"]
        ):
            usual = group.contenders(problem)
            names = [c.measurement.peer for c in usual]
            tiny = other.contenders(replace(problem, subnormal=True), compare=False)
            tiny = [c for c in tiny if c.measurement.peer in names]
            for contender in tiny:
                contender.worker.call("compute", [0])
            normal = timed(usual, group)
            subnormal = timed(tiny, other)
            for name in normal.keys() & subnormal.keys():
                row = {
                    "problem": problem.name, "threads": threads, "peer": name,
                    "normal": summary(normal[name]), "subnormal": summary(subnormal[name]),
                }  # fmt: skip
                say(f"{problem.name} {name}: {_ratio(row):.2f}x")
                rows.append(row)
    return rows


def _ratio(row: dict) -> float:
    return float(row["subnormal"]["median_ms"] / row["normal"]["median_ms"])


def section(rows: Rows) -> Section:
    """A line for each problem and peer."""
    lines = [
        [
            row["problem"], row["peer"], number(row["normal"]["median_ms"]),
            number(row["subnormal"]["median_ms"]), f"{_ratio(row):.2f}x",
        ]
        for row in sorted(rows, key=lambda r: (r["problem"], r["peer"] != "fastrnn", r["peer"]))
    ]  # fmt: skip
    header = ["problem", "peer", "normal, ms", "subnormal, ms", "ratio"]
    text = (
        f"{thread_text(rows[0]['threads']) if rows else 'No peer was timed'}, medians. Subnormal: "
        "x, states and the gradient of y are standard normal times 1e-40, biases are zero, so that "
        "everything the layer computes lies near 1e-40."
    )
    return Section("Subnormal inputs", [text, Grid(header, lines)])
