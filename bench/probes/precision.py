"""The same calls in float64: twice the bytes, half the lanes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from bench.probes.base import Probing, Rows, say, timed_pairs, workers
from bench.sections import Grid, Section
from bench.tables import number, thread_text


def run(probing: Probing) -> Rows:
    """Every peer on each problem, the two dtypes in two processes and in turn."""
    rows: Rows = []
    threads = probing.thread_count()
    with workers(probing, threads) as group, workers(probing, threads) as other:
        for problem in probing.problems(
            ["lstm", "gru", "rnn"], ["inference", "training"], ["char-lm", "deepbench-512"]
        ):
            double = replace(problem, dtype="float64")
            for name, single, wide in timed_pairs(problem, double, (group, other)):
                row = {
                    "problem": problem.name,
                    "threads": threads,
                    "peer": name,
                    "float32": single,
                    "float64": wide,
                }
                say(f"{problem.name} {name}: {_ratio(row):.2f}x")
                rows.append(row)
    return rows


def _ratio(row: dict[str, Any]) -> float:
    return float(row["float64"]["median_ms"] / row["float32"]["median_ms"])


def section(rows: Rows) -> Section:
    """A line for each problem and peer."""
    lines = [
        [
            row["problem"], row["peer"], number(row["float32"]["median_ms"]),
            number(row["float64"]["median_ms"]), f"{_ratio(row):.2f}x",
        ]
        for row in sorted(rows, key=lambda r: (r["problem"], r["peer"] != "fastrnn", r["peer"]))
    ]  # fmt: skip
    header = ["problem", "peer", "float32, ms", "float64, ms", "ratio"]
    text = (
        f"{thread_text(rows[0]['threads']) if rows else 'No peer was timed'}, medians. A vector "
        "holds half as many float64 and every array has twice the bytes: 2 is what that costs."
    )
    return Section("float64", [text, Grid(header, lines)])
