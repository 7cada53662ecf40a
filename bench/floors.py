"""The least time that a problem can take on a measured roofline, by a simple model.

``floor = max(flops / peak, sum over levels of bytes / bandwidth)``. Flops are the matrix products
(`Problem.flops`). Bytes are the weights that every step has to read again: the recurrent weights of
each layer and direction, once a step (their products with the input can be made for all steps at
once), twice in training (forward and backward); in a stream all weights, as each call is a step of
its own. Weights stay where they fit: L1 serves what it holds, L2 the rest as far as it holds it,
and so on, cores together (each can keep its own share of the hidden units). Inputs, outputs, saved
values and element-wise work are not counted, so the floor is lower than what is possible.
"""

from __future__ import annotations

from dataclasses import dataclass

from bench.problems import Problem
from bench.record import Roofline

_FLOAT = 4


@dataclass(frozen=True)
class Floor:
    """The least time, and what decides it."""

    ms: float
    bound: str  # "FMA" or the memory level that takes most of the reading time
    weight_bytes: int  # read in the time that is reported


def floor(problem: Problem, roofline: Roofline) -> Floor:
    """Least milliseconds of what a reported time covers (one step in a stream)."""
    compute_ms = problem.flops / roofline.fma_gflops * 1e-6
    passes = _passes(problem)
    read_ms = {level.name: 0.0 for level in roofline.levels}
    total = 0
    for size, times in passes:
        total += size * times
        rest = size
        for k, level in enumerate(roofline.levels):
            last = k == len(roofline.levels) - 1
            part = rest if last else min(rest, level.capacity_bytes)
            read_ms[level.name] += times * part / level.gbytes_per_s * 1e-6
            rest -= part
    memory_ms = sum(read_ms.values())
    if compute_ms >= memory_ms:
        return Floor(compute_ms, "FMA", total)
    return Floor(memory_ms, max(read_ms, key=lambda name: read_ms[name]), total)


def _passes(problem: Problem) -> list[tuple[int, int]]:
    """Sets of weights that are read in turn: their bytes, and how many times they are read."""
    rows = problem.gates * problem.H * _FLOAT
    if problem.mode == "stream":
        return [(problem.D * sum(rows * (I + problem.H) for I in problem.input_sizes), 1)]
    times = problem.T * (2 if problem.mode == "training" else 1)
    return [(rows * problem.H, times)] * (problem.L * problem.D)
