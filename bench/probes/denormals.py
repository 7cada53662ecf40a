"""The same calls on usual numbers, and on numbers below the smallest normal one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from bench.probes.base import Probing, Rows, say, timed_pairs, workers
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
            tiny = replace(problem, subnormal=True)
            for name, usual, subnormal in timed_pairs(problem, tiny, (group, other), compare=False):
                row = {
                    "problem": problem.name,
                    "threads": threads,
                    "peer": name,
                    "normal": usual,
                    "subnormal": subnormal,
                }
                say(f"{problem.name} {name}: {_ratio(row):.2f}x")
                rows.append(row)
    return rows


def _ratio(row: dict[str, Any]) -> float:
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
