"""One problem and its data: the sizes and options of a run, and arrays drawn from its seed."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from tolerances import KINK_DISTANCE

from fastrnn import reference

SEED = 20261121  # the root of every random number in the tests; printed by pytest's header
CELLS = list(reference.CELLS)
DTYPES = ["float32", "float64"]
ARRAYS = ("x", "h_0", "c_0", "d_y", "d_h_n", "d_c_n")  # of a Problem, beside params and lengths
ATTEMPTS = 100  # at data that keep relu off its kink
Result = dict[str, np.ndarray]


@dataclass(frozen=True)
class Case:
    """A problem. Its repr is all that is needed to draw the same data again."""

    cell: str
    T: int
    B: int
    I: int
    H: int
    L: int = 1
    D: int = 1
    dtype: str = "float64"
    bias: bool = True
    batch_first: bool = False
    ragged: bool = False
    states: bool = True
    arriving: tuple[str, ...] = ("y", "h_n", "c_n")
    dropout: float = 0.0
    dropout_seed: int = 0x1234_5678_9ABC_DEF0

    @property
    def gates(self) -> int:
        return reference.CELLS[self.cell].gates

    @property
    def has_c(self) -> bool:
        return reference.CELLS[self.cell].states == 2

    @property
    def param_names(self) -> list[str]:
        """torch.nn's names, in its order."""
        kinds = ["weight_ih", "weight_hh"] + (["bias_ih", "bias_hh"] if self.bias else [])
        return [
            f"{kind}_l{layer}{suffix}"
            for layer in range(self.L)
            for suffix in ("", "_reverse")[: self.D]
            for kind in kinds
        ]


@dataclass
class Problem:
    """The arrays of a case, all of its dtype; x, d_y in the case's layout."""

    case: Case
    params: list[np.ndarray]
    x: np.ndarray
    h_0: np.ndarray | None
    c_0: np.ndarray | None
    lengths: np.ndarray | None
    d_y: np.ndarray | None
    d_h_n: np.ndarray | None
    d_c_n: np.ndarray | None
    extra: dict[str, Any] = field(default_factory=dict)


def random_generator(case: Case, attempt: int = 0) -> np.random.Generator:
    """A generator for this case; its float32 and float64 versions draw the same numbers."""
    text = repr(replace(case, dtype="float64"))
    return np.random.default_rng([SEED, zlib.crc32(text.encode()), attempt])


def draw(case: Case, attempt: int = 0) -> Problem:
    """Random data: torch's default initialisation, unit inputs, nonzero states and gradients."""
    rng = random_generator(case, attempt)
    T, B, H, L, D, G = case.T, case.B, case.H, case.L, case.D, case.gates

    def uniform(*shape: int) -> np.ndarray:
        return (rng.uniform(-1, 1, shape) / np.sqrt(H)).astype(case.dtype)

    def normal(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(case.dtype)

    params = []
    for layer in range(L):
        for _ in range(D):
            params += [uniform(G * H, case.I if layer == 0 else D * H), uniform(G * H, H)]
            params += [uniform(G * H), uniform(G * H)] if case.bias else []
    steps = (B, T) if case.batch_first else (T, B)
    x, d_y = normal(*steps, case.I), normal(*steps, D * H)
    h_0, c_0, d_h_n, d_c_n = (normal(L * D, B, H) for _ in range(4))
    lengths = None
    if case.ragged:  # in no order; where there is room, one row of 0 and one of T
        lengths = rng.integers(0, T + 1, B)
        if B > 1:
            lengths[rng.permutation(B)[:2]] = [0, T]
    return Problem(
        case,
        params,
        x,
        h_0 if case.states else None,
        c_0 if case.states and case.has_c else None,
        lengths,
        d_y if "y" in case.arriving else None,
        d_h_n if "h_n" in case.arriving else None,
        d_c_n if "c_n" in case.arriving and case.has_c else None,
    )


def run_reference(problem: Problem, dtype: str = "float64", training: bool = True) -> Result:
    """Every output and gradient of the plain NumPy loop, by name."""
    case, p = problem.case, problem
    y, h_n, c_n, tape = reference.forward(
        case.cell,
        p.params,
        p.x,
        p.h_0,
        p.c_0,
        p.lengths,
        num_layers=case.L,
        bidirectional=case.D == 2,
        bias=case.bias,
        dropout=case.dropout,
        seed=case.dropout_seed,
        training=training,
        dtype=dtype,
        batch_first=case.batch_first,
    )
    problem.extra["tape"] = tape
    d_x, d_h_0, d_c_0, grads = reference.backward(tape, p.d_y, p.d_h_n, p.d_c_n)
    return named(case, (y, h_n, c_n), (d_x, d_h_0, d_c_0, grads))


def named(case: Case, outputs: tuple[Any, ...], gradients: tuple[Any, ...]) -> Result:
    """The tuples of forward and backward as one dict, states that the cell lacks left out."""
    y, h_n, c_n = outputs
    d_x, d_h_0, d_c_0, grads = gradients
    assert (c_n is not None) == case.has_c, f"{case}: c_n is {type(c_n)}"
    assert (d_c_0 is not None) == case.has_c, f"{case}: d_c_0 is {type(d_c_0)}"
    result = {"y": y, "h_n": h_n, "c_n": c_n, "d_x": d_x, "d_h_0": d_h_0, "d_c_0": d_c_0}
    result |= {f"d_{n}": g for n, g in zip(case.param_names, grads, strict=True)}
    return {name: array for name, array in result.items() if array is not None}


def kink_distance(problem: Problem) -> float:
    """Least nonzero |pre-activation| of the last RNN run, relative to its layer's size (rms).

    A pre-activation of exactly 0 is a sum of zeros (a silent or dropped layer below, no bias), is 0
    in any arithmetic and so on the same side of the kink in all.
    """
    distance = np.inf
    for scan in problem.extra["tape"].steps:
        pre = np.abs(np.concatenate([np.zeros(0), *(saved[0].ravel() for _, _, saved in scan)]))
        if pre.any():
            distance = min(distance, pre[pre > 0].min() / np.sqrt((pre * pre).mean()))
    return float(distance)


def solve(case: Case, distance: float = KINK_DISTANCE, throw: int = 0) -> tuple[Problem, Result]:
    """Data and float64 solution; for relu, the first draw that stays off the kink.

    Every `throw` has draws of its own.
    """
    for attempt in range(ATTEMPTS):
        problem = draw(case, throw * ATTEMPTS + attempt)
        solution = run_reference(problem)
        if case.cell != "rnn_relu" or kink_distance(problem) >= distance:
            return problem, solution
    raise RuntimeError(
        f"{case}: {ATTEMPTS} draws, none with every |pre| >= {distance}; take fewer steps"
    )
