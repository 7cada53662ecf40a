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
    as that loop, in the maximum and in the root mean square.
    A floor is added because one loop is one throw of the dice: in a tensor of a few elements it may
    round to the very truth. The floor is measured too, as the noise N of the problem: how far the
    float64 truth moves (root mean square of some draws) when every input number moves by half a
    float32 ULP, which no float32 computation can tell apart. Unlike eps * max|tensor|, it knows
    about cancellation in sums. For a tensor of n elements the floor is CHANCE / sqrt(n) * N, since
    chance averages out over the elements, and for the maximum, which averages less, two N more.
    Calibrated on honest float32 arithmetic in another order (8,000 tensors of the problems of
    test_kernels): the need beyond twice the loop is at most 6.5 N at n < 8 (a sum of 111 terms
    that nearly cancel), 0.8 N (max) and 0.13 N (rms) at n >= 64, none in the rms at n >= 512.
    Weight and bias gradients get no more than that: a running float32 sum of T*B = 629 or 17,000
    terms fails (it errs up to 30 N more than twice the loop), one in blocks of 256 rows fails at
    T*B = 629, one in blocks of 64 rows passes everywhere.

Tensors that have vanished
    A gradient carried a thousand steps back may leave the normal range, where the kernels flush to
    zero on purpose. Below VANISHED a difference is not counted against either side.
"""

from __future__ import annotations

import math

import numpy as np

RELATIVE_FLOAT64 = 1e-12
LOOP_RATIO = 2.0
CHANCE = 12.0
MAXIMUM = 2.0
NUDGES = {37: 4, 1000: 2}  # draws, by T at most; a run of a thousand steps averages by itself
NUDGE = 2.0**-24  # half a float32 ULP, relative
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


def float32_bound_holds(
    got: np.ndarray, loop: np.ndarray, nudged: list[np.ndarray], exact: np.ndarray
) -> str | None:
    """None if `got` errs at most twice as much as the float32 loop, else measured and allowed."""
    if exact.size == 0:
        return None
    chance = CHANCE / math.sqrt(exact.size)
    noise = np.sqrt(np.mean(np.square([float32_errors(n, exact) for n in nudged]), axis=0))
    measured, yardstick = float32_errors(got, exact), float32_errors(loop, exact)
    for kind, k, share in (("max", 0, MAXIMUM + chance), ("rms", 1, chance)):
        allowed = LOOP_RATIO * yardstick[k] + share * noise[k] + VANISHED["float32"]
        if not measured[k] <= allowed:  # also when measured is NaN
            return (
                f"{kind} error {measured[k]:.3g}, allowed {LOOP_RATIO:g} * {yardstick[k]:.3g} "
                f"(NumPy float32 loop) + {share:.3g} * {noise[k]:.3g} (noise) = {allowed:.3g}"
            )
    return None
