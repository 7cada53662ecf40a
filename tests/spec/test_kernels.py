"""Every kernel against the oracle: outputs, final states and every gradient, within tolerances.py.

Nearly all of the time goes into the oracle, so what it has computed is compared with the kernels
of every instruction set of this machine, or of the one that FASTRNN_ISA forces.

Two sets of problems. The first is the full product of the odd sizes H x B x T for one layer and one
direction, where the tails of vectors, tiles and batches are. The second covers every triple of all
options together (sizes, layers, directions, lengths, biases, layouts, states, gradients, dropout):
the bugs of recurrent kernels live in combinations that suites skip.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from cases import CELLS, DTYPES, Case, Problem, Result, run_reference, solve
from covering import combinations, covering_rows
from engine import ISAS, assert_same_bits, forward, run_every_isa, running
from tolerances import (
    FEWEST_THROWS,
    INDEPENDENT,
    MEASURED,
    MOST_STEPS,
    TYPICAL_RATIO,
    Float32Errors,
    float64_miss,
    sizes_of_errors,
)

from fastrnn import _core, reference

HS = [1, 7, 15, 16, 17, 33, 65]
BS = [0, 1, 3, 17]
SHORT_TS = [0, 1, 2, 37]

OPTIONS: dict[str, list[Any]] = {
    "T": SHORT_TS,
    "B": BS,
    "I": [1, 5, 16, 32, 33],
    "H": HS,
    "L": [1, 2, 3, 4],
    "D": [1, 2],
    "bias": [True, False],
    "batch_first": [False, True],
    "ragged": [False, True],
    "states": [True, False],
    "arriving": [("y", "h_n", "c_n"), ("y",), ("h_n",), ("c_n",), ()],
    "dropout": [0.0, 0.3],
}

# a thousand steps: one row, a small batch, a full one; (B, I, H, L, D, ragged, arriving)
LONG = [
    (1, 3, 1, 1, 1, False, ("y", "h_n", "c_n")),
    (3, 5, 33, 1, 1, False, ("y", "h_n", "c_n")),
    (17, 7, 16, 1, 1, True, ("y", "h_n", "c_n")),
    (1, 16, 65, 1, 2, False, ("y",)),
    (3, 1, 17, 2, 2, True, ("y", "h_n", "c_n")),
    (3, 4, 15, 1, 1, False, ("h_n",)),
    (1, 2, 7, 4, 1, False, ("c_n",)),
]


def test_engine_and_reference_list_the_same_cells():
    counts = {name: {"gates": c.gates, "states": c.states} for name, c in reference.CELLS.items()}
    assert _core.cells() == counts


def independent_errors(case: Case, name: str, size: int) -> int:
    """How many rounding errors a tensor holds: at most the size of the d_pre it is made of."""
    if name == "d_x" or name.startswith(("d_weight", "d_bias")):
        return min(size, case.T * case.B * case.gates * case.H)
    return size


def float32_errors(
    problem: Problem, exact: Result, got: dict[str, Result], recompute: int = 0
) -> dict[tuple[str, str], Float32Errors]:
    """Engine and NumPy loop on as many draws of the case as the smallest tensor needs.

    By instruction set and tensor, like `got` of the first draw.
    """
    case = problem.case
    sizes = {name: truth.size for name, truth in exact.items() if truth.size}
    fewest = min((independent_errors(case, name, size) for name, size in sizes.items()), default=0)
    throws = 1
    if fewest > 0:
        throws = min(-(-INDEPENDENT // fewest), MOST_STEPS // (case.T * case.L * case.D))
        throws = max(FEWEST_THROWS, throws)
    errors = {(isa, name): Float32Errors() for isa in got for name in sizes}
    for k in range(throws):
        if k > 0:
            problem, exact = solve(case, throw=k)
            got = run_every_isa(problem, recompute)
        loop = run_reference(problem, "float32")
        yardsticks = {name: sizes_of_errors(loop[name], exact[name]) for name in sizes}
        for (isa, name), pooled in errors.items():
            pooled.add(sizes_of_errors(got[isa][name], exact[name]), yardsticks[name])
    return errors


def assert_agrees(problem: Problem, exact: Result, recompute: int = 0) -> list[tuple[str, float]]:
    """The engine's every result against the truth; the message names all tensors that miss.

    Returns the float32 error ratios (engine to NumPy loop), each after its instruction set.
    """
    case = problem.case
    got = run_every_isa(problem, recompute)
    for isa, results in got.items():
        assert results.keys() == exact.keys()
        for name, truth in exact.items():
            array = results[name]
            assert array.shape == truth.shape, f"{isa}, {name}: {array.shape} in {case}"
            assert array.dtype == case.dtype, f"{isa}, {name}: {array.dtype} in {case}"
    ratios: list[tuple[str, float | None]] = []
    if case.dtype == "float64":
        misses = {
            (isa, name): float64_miss(results[name], truth)
            for isa, results in got.items()
            for name, truth in exact.items()
        }
    else:
        errors = float32_errors(problem, exact, got, recompute)
        misses = {of: pooled.miss() for of, pooled in errors.items()}
        for (isa, _), pooled in errors.items():
            ratios.append((isa, pooled.ratio()))
            MEASURED.setdefault(isa, []).append(pooled)
    missed = [
        f"{isa}, {name} {exact[name].shape}: {miss}" for (isa, name), miss in misses.items() if miss
    ]
    if missed:
        pytest.fail("\n".join([str(case), *missed]), pytrace=False)
    return [(isa, ratio) for isa, ratio in ratios if ratio is not None]


def assert_typical(ratios: list[tuple[str, float]], context: object) -> None:
    """Over many tensors float32 is no worse than the loop, not just never twice as bad."""
    for isa in ISAS:
        own = [ratio for of, ratio in ratios if of == isa]
        if own:
            mean = float(np.exp(np.log(own).mean()))
            what = f"geometric mean of {len(own)} error ratios of {isa}, {context}"
            assert mean <= TYPICAL_RATIO, what


def assert_inference_is_training(problem: Problem) -> None:
    """Kernels with and without saved values give the same bits; inference takes no dropout."""
    case = problem.case
    for isa in ISAS:
        with running(isa):
            *trained, tape = forward(replace(problem, case=replace(case, dropout=0.0)))
            *inferred, nothing = forward(problem, training=False)
        assert tape is not None, (isa, case)
        assert nothing is None, (isa, case)
        for name, a, b in zip(("y", "h_n", "c_n"), inferred, trained, strict=True):
            if name != "c_n" or case.has_c:
                assert_same_bits(name, a, b, (isa, case))


@pytest.mark.parametrize("H", HS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", CELLS)
def test_every_odd_size(cell: str, dtype: str, H: int):
    ratios = []
    for B in BS:
        for T in SHORT_TS:
            for I in {1, H + 2}:
                problem, exact = solve(Case(cell, T, B, I, H, dtype=dtype))
                ratios += assert_agrees(problem, exact)
                assert_inference_is_training(problem)
    assert_typical(ratios, (cell, H))


@pytest.mark.parametrize("long", LONG, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", CELLS)
def test_a_thousand_steps(cell: str, dtype: str, long: tuple[Any, ...]):
    B, I, H, L, D, ragged, arriving = long
    case = Case(cell, 1000, B, I, H, L, D, dtype, ragged=ragged, arriving=arriving)
    problem, exact = solve(case)
    assert_agrees(problem, exact)
    assert_inference_is_training(problem)


ROWS = covering_rows(OPTIONS, 3, seed=2)
SLICES = 8


def test_the_rows_cover_every_triple_of_options():
    open_ = combinations(OPTIONS, 3)
    levels = [{n: OPTIONS[n].index(row[n]) for n in OPTIONS} for row in ROWS]
    covered = {c for c in open_ if any(all(row[n] == v for n, v in c) for row in levels)}
    assert covered == open_


@pytest.mark.parametrize("part", range(SLICES))
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", CELLS)
def test_every_triple_of_options(cell: str, dtype: str, part: int):
    ratios = []
    for row in ROWS[part::SLICES]:
        problem, exact = solve(Case(cell, dtype=dtype, **row))
        ratios += assert_agrees(problem, exact)
        assert_inference_is_training(problem)
    assert_typical(ratios, (cell, part))
