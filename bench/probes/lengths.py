"""Rows of different lengths: time for each step that is there, against rows of one length."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from bench.probes.base import Probing, Rows, say, timed_pairs, workers
from bench.problems import make_inputs
from bench.sections import Grid, Section
from bench.tables import number, thread_text


def run(probing: Probing) -> Rows:
    """Every peer that takes lengths, dense and ragged in two processes."""
    rows: Rows = []
    threads = probing.thread_count()
    with workers(probing, threads) as group, workers(probing, threads) as other:
        for problem in probing.problems(
            ["lstm", "gru", "rnn"], ["inference", "training"], ["small-batch", "char-lm"]
        ):
            ragged = replace(problem, ragged=True)
            lengths = make_inputs(ragged).lengths
            assert lengths is not None, "a ragged problem has lengths"
            share = float(lengths.mean() / problem.T)
            for name, dense, uneven in timed_pairs(problem, ragged, (group, other)):
                row = {
                    "problem": problem.name,
                    "threads": threads,
                    "peer": name,
                    "valid": share,
                    "dense": dense,
                    "ragged": uneven,
                }
                say(f"{problem.name} {name}: {_ratio(row):.2f}x per step")
                rows.append(row)
    return rows


def _ratio(row: dict[str, Any]) -> float:
    """Time per (b, t) that is there, over the same with dense rows."""
    return float(row["ragged"]["median_ms"] / row["valid"] / row["dense"]["median_ms"])


def section(rows: Rows) -> Section:
    """A line for each problem and peer."""
    lines = [
        [
            row["problem"], row["peer"], number(row["dense"]["median_ms"]),
            number(row["ragged"]["median_ms"]), number(100 * row["valid"]), f"{_ratio(row):.2f}x",
        ]
        for row in sorted(rows, key=lambda r: (r["problem"], r["peer"] != "fastrnn", r["peer"]))
    ]  # fmt: skip
    header = ["problem", "peer", "dense, ms", "ragged, ms", "valid, %", "per valid (b,t)"]
    text = (
        f"{thread_text(rows[0]['threads']) if rows else 'No peer was timed'}, medians. Lengths are "
        "uniform in 1..T, rows in no order; torch packs and pads within the timed call. The last "
        "column is the time for each (b, t) within a row's length, over that of dense rows."
    )
    return Section("Rows of different lengths", [text, Grid(header, lines)])
