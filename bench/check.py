"""Is what a peer computes right? Nothing is timed before the answer is yes.

Two comparisons with ``fastrnn.reference`` in float64: every result of the same problem with fewer
steps (so that the slow reference stays cheap), and, of the very problem that will be timed, all
results that belong to single rows of the batch, for the first, middle and last row. Rows do not
influence each other, so the reference needs those rows alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

from bench.problems import REFERENCE_CELLS, Inputs, Problem, make_inputs
from fastrnn import reference

Arrays = dict[str, NDArray[Any]]

TOLERANCE = {"value": 1e-5, "gradient": 1e-4}
"""Largest error accepted: absolute for y, h_n, c_n; for gradients relative to the largest entry.

Float32 peers stay below 2e-6 in both; a wrong gate order, a lost step or half-precision arithmetic
is off by 1e-3 and more.
"""


class WrongResultError(Exception):
    """A peer's result is missing, has another shape or dtype, or is not finite."""


_REFERENCE_FLOPS = 7e10  # more would take the reference more than a second or two


def comparisons(problem: Problem) -> list[tuple[Problem, list[int] | None]]:
    """The problems to compute for the check, and which rows of the batch to compare (None: all).

    Examples
    --------
    >>> comparisons(Problem("lstm", "training", B=2, T=3, I=4, H=5))[0][1] is None
    True
    >>> short, whole = comparisons(Problem("lstm", "training", B=256, T=365, I=32, H=256))
    >>> short[0].T, whole[0].T, whole[1]
    (154, 365, [0, 128, 255])
    """
    per_step = problem.flops / problem.steps_per_time
    short = problem.with_steps(max(4, int(_REFERENCE_FLOPS / per_step)))
    if short.T >= problem.T:
        return [(problem, None)]
    rows = sorted({0, problem.B // 2, problem.B - 1})
    return [(short, None), (problem, rows)]


def expected_results(problem: Problem, rows: list[int] | None) -> Arrays:
    """What the float64 reference computes for a problem, or for some of its rows alone.

    Returns
    -------
    dict of float64 arrays
        Named as in :meth:`bench.peers.base.Peer.results`; with `rows`, without weight gradients,
        which are sums over all rows.
    """
    inputs = make_inputs(problem)
    if rows is not None:
        inputs = _only_rows(inputs, rows)
    results = reference_results(problem, inputs, np.float64)
    if problem.mode == "stream":
        results = {"y": results["y"]}  # the state stays inside the peer
    if rows is not None:
        results = {n: a for n, a in results.items() if not n.startswith(("d_weight", "d_bias"))}
    return results


def reference_results(problem: Problem, inputs: Inputs, dtype: npt.DTypeLike) -> Arrays:
    """Results of the NumPy formulas in the given dtype, named as a peer names them."""
    y, h_n, c_n, tape = reference.forward(
        REFERENCE_CELLS[problem.cell],
        list(inputs.weights.values()),  # in PyTorch's order, which is the reference's
        inputs.x,
        inputs.h_0,
        inputs.c_0,
        lengths=inputs.lengths,
        num_layers=problem.L,
        bidirectional=problem.D == 2,
        dtype=dtype,
    )
    results: Arrays = {"y": y, "h_n": h_n}
    if c_n is not None:
        results["c_n"] = c_n
    if problem.mode == "training":
        results["d_x"], _, _, gradients = reference.backward(tape, inputs.d_y)
        results |= {f"d_{n}": g for n, g in zip(inputs.weights, gradients, strict=True)}
    return results


def largest_errors(
    results: Arrays, expected: Arrays, dtype: npt.DTypeLike = "float32"
) -> dict[str, float]:
    """Largest error of each result, measured as :data:`TOLERANCE` says; `dtype` is the problem's.

    Raises
    ------
    WrongResultError
        When a result is missing, has another shape or dtype, or is not finite.
    """
    errors = {}
    for name, right in expected.items():
        if name not in results:
            raise WrongResultError(f"{name} is missing")
        result = results[name]
        if result.shape != right.shape or result.dtype != dtype:
            raise WrongResultError(
                f"{name} is {result.dtype} {result.shape}, expected {dtype} {right.shape}"
            )
        if not np.isfinite(result).all():
            raise WrongResultError(f"{name} is not finite")
        error = np.abs(result - right).max()
        if name.startswith("d_"):
            error /= np.abs(right).max()
        errors[name] = float(error)
    return errors


def complaint(errors: dict[str, float]) -> str | None:
    """One sentence about the worst error beyond the tolerance; None when all are within it."""

    def ratio(name: str) -> float:
        return errors[name] / TOLERANCE["gradient" if name.startswith("d_") else "value"]

    worst = max(errors, key=ratio)
    if ratio(worst) <= 1:
        return None
    kind = "gradient" if worst.startswith("d_") else "value"
    return f"{worst} is off by {errors[worst]:.2g}, accepted is {TOLERANCE[kind]:g} ({kind})"


def _only_rows(inputs: Inputs, rows: list[int]) -> Inputs:
    def pick(array: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.ascontiguousarray(array[:, rows])

    return Inputs(
        inputs.weights,
        pick(inputs.x),
        pick(inputs.h_0),
        None if inputs.c_0 is None else pick(inputs.c_0),
        pick(inputs.d_y),
        None if inputs.lengths is None else inputs.lengths[rows],
    )
