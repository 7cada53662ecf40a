"""The linear cell with integer weights: the exact answer is a float, so the kernels must hit it.

Over a thousand steps every output and every gradient must equal the exact answer. That no rounding
can occur, in whatever order a kernel adds, is not hoped but checked: the same network with the
absolute value of every number bounds every partial sum, and that bound is below 2^24 (or 2^53).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cases import ARRAYS, DTYPES, Case, Problem, draw, random_generator, run_reference
from engine import forward, run_engine

EXACT_INTEGERS = {"float32": 2**24, "float64": 2**53}

# H = 33 units: tails of every vector length
STACKS = {
    "one_layer": {},
    "two_layers": {"L": 2},
    "two_directions": {"D": 2},
    "two_layers_two_directions_ragged": {"L": 2, "D": 2, "ragged": True},
    "no_bias_batch_first": {"bias": False, "batch_first": True},
}


def shift(H: int, rng: np.random.Generator) -> np.ndarray:
    """Signed shift: a unit's value visits all others once and is gone after H steps."""
    return np.diag(rng.choice([-1, 1], H - 1), -1)


def permutation(H: int, rng: np.random.Generator) -> np.ndarray:
    """Signed permutation of one cycle: nothing is ever forgotten."""
    return np.roll(np.diag(rng.choice([-1, 1], H)), 1, axis=0)


def integers(case: Case, recurrent: dict[str, object]) -> Problem:
    """The case with small integers for every number: few nonzero, so that sums stay short."""
    rng = random_generator(case)
    problem = draw(case)

    def sparse(shape: tuple[int, ...], density: float) -> np.ndarray:
        return rng.integers(-1, 2, shape) * (rng.random(shape) < density)

    params = []
    for name, old in zip(case.param_names, problem.params, strict=True):
        if name.startswith("weight_hh"):
            new = recurrent[case.dtype](case.H, rng)
        elif name.startswith("weight_ih"):
            new = sparse(old.shape, 2 / old.shape[1])
        else:
            new = sparse(old.shape, 0.1)
        params.append(new.astype(case.dtype))
    arrays = {n: getattr(problem, n) for n in ARRAYS}
    density = {"x": 0.3, "d_y": 0.1}
    arrays = {
        n: None if a is None else sparse(a.shape, density.get(n, 1.0)).astype(case.dtype)
        for n, a in arrays.items()
    }
    return replace(problem, params=params, **arrays)


@pytest.mark.parametrize("B", [1, 3])
@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_thousand_steps_are_exact(dtype: str, stack: str, B: int):
    case = Case("linear", 1000, B, 5, 33, dtype=dtype, **STACKS[stack])
    problem = integers(case, {"float32": shift, "float64": permutation})
    bound = run_reference(
        replace(
            problem,
            params=[np.abs(p) for p in problem.params],
            **{n: None if (a := getattr(problem, n)) is None else np.abs(a) for n in ARRAYS},
        )
    )
    largest = max(float(v.max()) for v in bound.values())
    assert largest < EXACT_INTEGERS[dtype], f"sums may reach {largest}: not exact in {case}"
    exact, got = run_reference(problem), run_engine(problem)
    for name, truth in exact.items():
        assert np.count_nonzero(truth) > truth.size / 20, f"{name} says little in {case}"
        different = np.argwhere(got[name] != truth)
        assert len(different) == 0, (
            f"{name}: {len(different)} of {truth.size} differ, first at {different[0]}: "
            f"{got[name][tuple(different[0])]} != {truth[tuple(different[0])]} in {case}"
        )
    inferred, *_ = forward(problem, training=False)
    assert np.array_equal(inferred, exact["y"])


def test_the_truth_is_the_same_in_python_integers():
    """The oracle's own exactness, against a loop over int."""
    case = Case("linear", 50, 1, 2, 3)
    problem = integers(case, {"float64": permutation})
    w, u, b, r = ([[int(v) for v in row] for row in np.atleast_2d(p)] for p in problem.params)
    h = [int(v) for v in problem.h_0[0, 0]]
    for t in range(case.T):
        x = [int(v) for v in problem.x[t, 0]]
        h = [
            sum(w[j][k] * x[k] for k in range(2))
            + sum(u[j][k] * h[k] for k in range(3))
            + b[0][j]
            + r[0][j]
            for j in range(3)
        ]
        assert run_reference(problem)["y"][t, 0].tolist() == h
