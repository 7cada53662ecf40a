"""The compiled engine driven at its lowest door, `fastrnn._core`, and bitwise comparison."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from cases import Problem, Result, named

from fastrnn import _core

# of tests that run several instruction sets: all that this machine has, or the one that is forced
ISAS = [_core.isa()] if os.environ.get("FASTRNN_ISA") else _core.isas()


@contextmanager
def running(isa: str) -> Iterator[None]:
    """Packs meanwhile take the kernels of this instruction set, and so does what runs on them."""
    before = _core._use_isa(isa)
    try:
        yield
    finally:
        _core._use_isa(before)


def pack(problem: Problem, previous: Any = None) -> Any:
    case = problem.case
    sizes = (case.I, case.H, case.L, case.D, case.bias)
    return _core.pack(case.cell, problem.params, *sizes, previous)


def forward(
    problem: Problem, training: bool = True, packed: Any = None, recompute: int = 0
) -> tuple[Any, ...]:
    """(y, h_n, c_n, tape)."""
    case, p = problem.case, problem
    return _core.forward(
        pack(problem) if packed is None else packed,
        p.x,
        p.h_0,
        p.c_0,
        p.lengths,
        case.batch_first,
        training,
        case.dropout,
        case.dropout_seed,
        recompute,
    )


def run_engine(problem: Problem, packed: Any = None, recompute: int = 0) -> Result:
    """Every output and gradient of one training pass, by name."""
    y, h_n, c_n, tape = forward(problem, packed=packed, recompute=recompute)
    gradients = _core.backward(tape, problem.d_y, problem.d_h_n, problem.d_c_n)
    return named(problem.case, (y, h_n, c_n), gradients)


def run_every_isa(problem: Problem, recompute: int = 0) -> dict[str, Result]:
    """`run_engine` on each of ISAS, by their names."""
    results = {}
    for isa in ISAS:
        with running(isa):
            results[isa] = run_engine(problem, recompute=recompute)
    return results


def assert_same_bits(name: str, got: np.ndarray, expected: np.ndarray, context: object) -> None:
    """Same shape, dtype and bytes; the message shows the first element that differs."""
    assert got.shape == expected.shape, f"{name}: {got.shape} != {expected.shape} in {context}"
    assert got.dtype == expected.dtype, f"{name}: {got.dtype} != {expected.dtype} in {context}"
    a, b = np.ascontiguousarray(got), np.ascontiguousarray(expected)
    if a.tobytes() == b.tobytes():
        return
    word = {4: np.uint32, 8: np.uint64}[a.itemsize]
    differing = np.argwhere(a.view(word) != b.view(word))
    at = tuple(int(i) for i in differing[0])
    raise AssertionError(
        f"{name}: {len(differing)} of {a.size} elements differ, first at {at}: "
        f"{float(a[at])!r} != {float(b[at])!r} in {context}"
    )


def assert_same_results(got: Result, expected: Result, context: object) -> None:
    assert got.keys() == expected.keys()
    for name in expected:
        assert_same_bits(name, got[name], expected[name], context)
