"""The one table of tolerances, each with where it comes from; no test types a number of its own.

What is compared, per tensor (y, h_n, c_n, and every gradient):

float64
    Relative to the reference, the plain float64 loop: max|a - b| <= 1e-12 * max|b|.
    Both sides round, each step's error is a few eps = 2.2e-16 and a contracting recurrence settles
    at a multiple of it; 1e-12 is 4500 eps, far above the rounding of either and far below any
    mistake in a formula, an index or an order.

float32
    No fixed number suits every K, T and cell, so the yardstick is measured: the same plain loop
    run in float32 with NumPy. Against the float64 truth the engine may err at most twice as much
    as that loop in the root mean square, and four times in the maximum, the extreme of one throw.
    One loop is one throw of the dice: in a tensor of few elements it may round to the very truth.
    So the loop is thrown several times, on the problem and on NEIGHBOURS of it (every number moved
    to an adjacent float32, each with its own float64 truth); the yardstick is the largest maximum
    and the root mean square over the throws. The engine is one throw too, so a tensor of n
    independent errors gets CHANCE / sqrt(n) on top (calibrated on the problems of test_kernels).
    n counts independent errors, not elements: a weight gradient of N rows (b, t) holds the rounding
    errors of N * gates * H numbers, spread over more places.
    Over many tensors luck averages out: there the geometric mean of the root-mean-square ratios
    must stay below TYPICAL_RATIO.
    Known: at B = 1 NumPy multiplies by dot products of 16 partial sums, where the kernels' blocks of
    64 terms err up to 1.7 times as much; from a batch of a few rows on they err as little or less.

Tensors that have vanished
    A gradient carried a thousand steps back may leave the normal range, where the kernels flush to
    zero on purpose. Below VANISHED a difference is not counted against either side.
"""

from __future__ import annotations

import math

import numpy as np

RELATIVE_FLOAT64 = 1e-12
NEIGHBOURS = 3
LOOP_RATIO = {"max": 4.0, "rms": 2.0}
CHANCE = 16.0
TYPICAL_RATIO = 1.5  # measured: at most 1.32 (avx512), 1.36 (baseline, no fused multiply-add)
TYPICAL_SIZE = 64  # elements a tensor needs to have a say in the geometric mean
VANISHED = {"float32": 1e-30, "float64": 1e-290}

# relu has a kink: float32 and float64 may land on its two sides and both be right. Test data keep
# every pre-activation this far from 0, relative to the layer's rms: 17 eps of float32, where the
# rounding of a dot product of O(100) terms and what the recurrence makes of it is a few.
KINK_DISTANCE = 2e-6

# Central differences of a scalar loss in float64, five-point stencil of step s: truncation is
# s^4/30 of the fifth derivative (1e-13 at s = 1e-3, larger where layers pile up), rounding is
# eps*|loss|/s = 1e-12. A wrong term in a formula shows at 1e-2 and above.
DIFFERENCE_STEP = 1e-3
DIFFERENCE_RELATIVE = 1e-8
# the stencil must not cross a kink: 2 steps, times the gain of the layers below
DIFFERENCE_KINK_DISTANCE = 2e-2

# torch.testing.assert_close's defaults (rtol, atol), and the tighter pair for float64 parity
ASSERT_CLOSE = {"float32": (1.3e-6, 1e-5), "float64": (1e-7, 1e-7)}
TORCH_PARITY_FLOAT64 = (1e-12, 1e-13)

# tanh and sigmoid of the kernels, in units in the last place
ULP = {"float32": 2.0, "float64": 2.0}

# A keep rate over n independent draws lies within this many standard deviations of 1 - p
KEEP_RATE_SIGMAS = 5.0


def relative_error(got: np.ndarray, exact: np.ndarray) -> float:
    """max|got - exact| / max|exact|, counting a vanished tensor as VANISHED in size."""
    if exact.size == 0:
        return 0.0
    scale = max(float(np.abs(exact).max()), VANISHED["float64"])
    return float(np.abs(got - exact).max()) / scale


def float64_bound_holds(got: np.ndarray, exact: np.ndarray) -> str | None:
    """None if `got` agrees with the reference, else what was measured and allowed."""
    error = relative_error(got, exact)
    if error <= RELATIVE_FLOAT64:  # False for NaN
        return None
    return f"relative error {error:.3g}, allowed {RELATIVE_FLOAT64:g}"


def float32_errors(got: np.ndarray, exact: np.ndarray) -> tuple[float, float]:
    """(max, root mean square) of |got - exact| in float64."""
    difference = np.abs(got.astype(np.float64) - exact)
    return float(difference.max()), math.sqrt(float((difference * difference).mean()))


def float32_ratios(
    got: np.ndarray, exact: np.ndarray, throws: list[tuple[np.ndarray, np.ndarray]]
) -> dict[str, tuple[float, float]]:
    """(error of `got`, error of the float32 loop) as "max" and as "rms".

    throws: (float32 loop, float64 truth) of the problem and of its neighbours.
    """
    maxima, rms = zip(*(float32_errors(loop, truth) for loop, truth in throws), strict=True)
    measured = float32_errors(got, exact)
    typical = math.sqrt(sum(v * v for v in rms) / len(rms))
    return {"max": (measured[0], max(maxima)), "rms": (measured[1], typical)}


def float32_bound_holds(measured: dict[str, tuple[float, float]], independent: int) -> str | None:
    """None if no ratio of `float32_ratios` is above the bound, else what was measured and allowed.

    independent: how many independent errors the tensor holds, at most its size.
    """
    for kind, (error, yardstick) in measured.items():
        ratio = LOOP_RATIO[kind] + CHANCE / math.sqrt(max(1, independent))
        allowed = ratio * yardstick + VANISHED["float32"]
        if not error <= allowed:  # also when the error is NaN
            return (
                f"{kind} error {error:.3g}, allowed {ratio:.3g} * {yardstick:.3g} "
                f"(NumPy float32 loop) = {allowed:.3g}"
            )
    return None
