"""The problems of the bitwise tests: sizes large enough for every partition, and their rows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from cases import ARRAYS, CELLS, DTYPES, Case, Problem, draw

# (B, T, I, H): one row; tails everywhere; one thread's cache; hidden units worth splitting
SIZES = [(1, 100, 64, 64), (3, 37, 5, 33), (32, 64, 64, 128), (64, 20, 40, 256)]
STACKS = {"one_layer": {}, "two_layers_two_directions": {"L": 2, "D": 2}}

every_cell = pytest.mark.parametrize("cell", CELLS)
every_dtype = pytest.mark.parametrize("dtype", DTYPES)
every_stack = pytest.mark.parametrize("stack", STACKS)
every_size = pytest.mark.parametrize("size", SIZES, ids=lambda s: "B{}-T{}-I{}-H{}".format(*s))


def problem_of(cell: str, dtype: str, stack: str, size: tuple[int, ...], **more: Any) -> Problem:
    B, T, I, H = size
    return draw(Case(cell, T, B, I, H, dtype=dtype, **STACKS[stack], **more))


def take_rows(problem: Problem, rows: Any) -> Problem:
    """The same problem for some rows of its batch (time-major)."""
    arrays = {n: getattr(problem, n) for n in ARRAYS}
    chosen = {n: None if a is None else np.ascontiguousarray(a[:, rows]) for n, a in arrays.items()}
    lengths = None if problem.lengths is None else problem.lengths[rows]
    return replace(problem, lengths=lengths, **chosen)
