"""The oracle's BPTT against central differences, for every cell and every input."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from cases import CELLS, Case, Problem, random_generator, run_reference, solve
from tolerances import DIFFERENCE_KINK_DISTANCE, DIFFERENCE_RELATIVE, DIFFERENCE_STEP


def loss(problem: Problem) -> float:
    """<y, d_y> + <h_n, d_h_n> + <c_n, d_c_n>: the scalar whose gradients backward returns."""
    result = run_reference(problem)
    pairs = [("y", problem.d_y), ("h_n", problem.d_h_n), ("c_n", problem.d_c_n)]
    return sum(float((result[name] * d).sum()) for name, d in pairs if d is not None)


def slope(problem: Problem, array: np.ndarray, direction: np.ndarray) -> float:
    """d loss(array + s * direction) / ds at 0 by the five-point stencil."""
    original, values = array.copy(), {}
    for k in (-2, -1, 1, 2):
        array[...] = original + k * DIFFERENCE_STEP * direction
        values[k] = loss(problem)
    array[...] = original
    return (8 * (values[1] - values[-1]) - (values[2] - values[-2])) / (12 * DIFFERENCE_STEP)


VARIANTS = {
    "plain": {},
    "two_directions": {"D": 2},
    "ragged": {"B": 4, "ragged": True},
    "ragged_two_directions_two_layers": {"B": 4, "ragged": True, "D": 2, "L": 2},
    "three_layers_dropout": {"L": 3, "dropout": 0.4},
    "four_layers_two_directions": {"L": 4, "D": 2},
    "no_bias_batch_first": {"bias": False, "batch_first": True},
    "final_state_alone": {"arriving": ("h_n", "c_n")},
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("cell", CELLS)
def test_bptt_against_central_differences(cell: str, variant: str):
    case = replace(Case(cell, T=4, B=2, I=2, H=3), **VARIANTS[variant])
    problem, solution = solve(case, DIFFERENCE_KINK_DISTANCE)
    inputs = {"x": problem.x, "h_0": problem.h_0, "c_0": problem.c_0}
    inputs |= dict(zip(case.param_names, problem.params, strict=True))
    rng = random_generator(case, attempt=500)
    for name, array in inputs.items():
        if array is None:
            continue
        gradient = solution[f"d_{name}"]
        scale = max(np.abs(gradient).max(), 1.0)
        # a dense direction touches every element at once; in the plain variant also one by one
        directions = [rng.choice([-1.0, 1.0], array.shape) for _ in range(2)]
        if variant == "plain":
            directions += list(np.eye(array.size).reshape(array.size, *array.shape))
        for direction in directions:
            exact = float((gradient * direction).sum())
            measured = slope(problem, array, direction)
            assert abs(measured - exact) <= DIFFERENCE_RELATIVE * scale * math.sqrt(array.size), (
                f"d_{name}: {exact} by BPTT, {measured} by differences in {case}"
            )
