"""The one table of tolerances, each with where it comes from; no test types a number of its own.

What is compared, per tensor (y, h_n, c_n, and every gradient):

float64
    Relative to the reference, the plain float64 loop: max|a - b| <= 1e-12 * max|b|.
    Both sides round, each step's error is a few eps = 2.2e-16 and a contracting recurrence settles
    at a multiple of it; 1e-12 is 4500 eps, far above the rounding of either and far below any
    mistake in a formula, an index or an order.

float32
    No fixed number suits every K, T and cell, so the yardstick is measured: the same plain loop
    run in float32 with NumPy. Error is the 2-norm of the difference to the float64 truth, and the
    engine's is at most LOOP_RATIO = 2 times the loop's.
    Rounding is a throw of the dice: in a tensor of few elements either side may hit the very truth.
    So a case is drawn again and again, for both sides, until INDEPENDENT errors are pooled. A draw
    whose squared errors, of both sides together, are above OUTLIER medians is scaled down to that,
    on both sides alike, or one draw that grew by powers of ten would speak for all (normal errors
    are above 9 medians once in 500 draws). The median is over the draws that err at all.
    The maximum cannot be held at 2: the loop's own, over four throws, exceeds twice that over four
    others in 28 of 12,000 tensors (up to 4.3 times), for extremes do not settle. It is held at
    EXTREME_RATIO, against a single wrong element.
    Over many tensors the geometric mean of the ratios must stay below TYPICAL_RATIO.
    Each instruction set is held to all this by itself. A run of tests/spec/test_kernels.py ends
    with what it measured of each (docs/numerics.md).

Tensors that have vanished
    A gradient carried a thousand steps back may leave the normal range, where the kernels flush to
    zero on purpose. Below VANISHED a difference is not counted against either side.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, field

import numpy as np

RELATIVE_FLOAT64 = 1e-12
LOOP_RATIO = 2.0
OUTLIER = 9.0
EXTREME_RATIO = 16.0
INDEPENDENT = 256  # the 2-norm of so many errors is within 5 % of its mean (1 / sqrt(2 n))
FEWEST_THROWS = 4
MOST_STEPS = 64_000  # of all throws of a case, for the time it takes: T = 1000 is thrown 64 times
TYPICAL_RATIO = 1.25
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

# torch.autograd.gradcheck in float64: central differences of step 1e-6 round at eps*|f|/step =
# 2e-10 and truncate at 1e-12; a wrong term shows at 1e-2. torch's own default is 1e-5, 1e-3.
GRADCHECK = {"eps": 1e-6, "atol": 1e-8, "rtol": 1e-6}

# (rtol, atol) of bfloat16 autocast against float32: torch rounds inputs and weights to 8 bits, 4e-3
# each; assert_close's rtol for bfloat16, and as much of the tensor's size absolutely
AUTOCAST = (1.6e-2, 1.6e-2)

# two float32 trainings that add in different orders: their losses, relatively, over tens of steps
LOSS_CURVES = 1e-4

# tanh and sigmoid of the kernels, in units in the last place
ULP = {"float32": 1.5, "float64": 2.0}

# max|a - b| / max|b| of a GPU scan against the float64 loop, by what its arrays hold. y, the saved
# values, h and d_pre are rounded to storage at every step; a gradient is a product of four such
# numbers and takes the error of the steps after it along. 16 bits: 8 half-ulps (2^-9 and
# 2^-12; TF32 rounds both factors of every product to as many bits). float32: 64 half-ulps, a sum
# of a hundred terms. float64 as above.
STORAGE_RELATIVE = {
    "float32": 64 * 2.0**-24,
    "float64": RELATIVE_FLOAT64,
    "bfloat16": 8 * 2.0**-9,
    "float16": 8 * 2.0**-12,
    "tf32": 8 * 2.0**-12,
}
# The same for stacks of layers around such scans: a tensor counts as large as the gradients that
# arrive (unit normal) at least, for where gates saturate or sums cancel, less than their rounding
# is left. RNN's tanh takes 1 - y^2 from a rounded y, which errs twice as much, twice in a step.
STACK_SIZE = 1.0
STACK_RNN = 4.0
# relu in these: where a pre-activation is nearer to 0 than its rounding, the two sides take other
# branches and an element of a gradient is another number. The 2-norm says how few they are.
KINKED_RELATIVE = {"bfloat16": 2.0**-3, "float16": 2.0**-6, "tf32": 2.0**-6}

# One step of a GPU's scan against the formulas in float64, from the state that the scan itself
# stored: so many units in the last place of what is stored, and the rounding of float32 sums of
# `terms` products, which grows with the root of their number and with the sum of their sizes.
STEP_ULPS = 2.0


def step_rounding(terms: int) -> float:
    """Error of a sum in float32, and of the cell behind it, in units of the sum's sizes."""
    return 2.0**-24 * (4 * math.sqrt(terms) + 16)


# 2-norm of the error of y after a thousand steps in 16 bits, relative to that of y
THOUSAND_STEPS = 1e-2

# A keep rate over n independent draws lies within this many standard deviations of 1 - p
KEEP_RATE_SIGMAS = 5.0


def relative_error(got: np.ndarray, exact: np.ndarray) -> float:
    """max|got - exact| / max|exact|, counting a vanished tensor as VANISHED in size."""
    if exact.size == 0:
        return 0.0
    scale = max(float(np.abs(exact).max()), VANISHED["float64"])
    return float(np.abs(got - exact).max()) / scale


def float64_miss(got: np.ndarray, exact: np.ndarray) -> str | None:
    """None if `got` agrees with the reference, else what was measured and allowed."""
    error = relative_error(got, exact)
    if error <= RELATIVE_FLOAT64:  # False for NaN
        return None
    return f"relative error {error:.3g}, allowed {RELATIVE_FLOAT64:g}"


def sizes_of_errors(side: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Mean square and maximum of what one side errs against the truth, in float64."""
    errors = (side - truth.astype(np.float64)).ravel()
    # einsum: one pass on one thread; BLAS would wake a team for sums that take microseconds
    return float(np.einsum("i,i", errors, errors)) / errors.size, float(np.abs(errors).max())


MEASURED: dict[str, list[Float32Errors]] = {}
"""Every tensor that tests/spec/test_kernels.py compared, by ISA; summed up at the end of a run."""


@dataclass
class Float32Errors:
    """Errors of the engine and of the float32 NumPy loop on one tensor, pooled over throws."""

    squares: list[tuple[float, float]] = field(default_factory=list)  # mean square (engine, loop)
    maxima: list[tuple[float, float]] = field(default_factory=list)

    def add(self, engine: tuple[float, float], loop: tuple[float, float]) -> None:
        """One throw: the `sizes_of_errors` of both."""
        self.squares.append((engine[0], loop[0]))
        self.maxima.append((engine[1], loop[1]))

    def norms(self) -> tuple[float, float]:
        """Root mean square error over all throws: (engine, loop), both scaled down in outliers."""
        together = [engine + loop for engine, loop in self.squares]
        erring = [t for t in together if t > 0] or [1.0]
        limit = OUTLIER * statistics.median_low(erring)
        weights = [limit / t if t > limit else 1.0 for t in together]
        engine, loop = (
            math.sqrt(sum(w * square for w, square in zip(weights, side, strict=True)) / len(side))
            for side in zip(*self.squares, strict=True)
        )
        return engine, loop

    def ratio(self) -> float | None:
        """Engine's error in units of the loop's; None where a side made none."""
        engine, loop = self.norms()
        return engine / loop if min(engine, loop) > VANISHED["float32"] else None

    def extreme(self) -> float | None:
        """Engine's largest error in units of the loop's; None where a side made none."""
        engine, loop = (max(side) for side in zip(*self.maxima, strict=True))
        return engine / loop if min(engine, loop) > VANISHED["float32"] else None

    def miss(self) -> str | None:
        """None if the bounds hold, else what was measured and allowed."""
        norm, yardstick = self.norms()
        if not norm <= LOOP_RATIO * yardstick + VANISHED["float32"]:  # also when it is NaN
            return (
                f"error {norm:.3g}, allowed {LOOP_RATIO:g} * {yardstick:.3g} (NumPy float32 loop)"
            )
        highest, yardstick = (max(side) for side in zip(*self.maxima, strict=True))
        if not highest <= EXTREME_RATIO * yardstick + VANISHED["float32"]:
            return f"max {highest:.3g}, allowed {EXTREME_RATIO:g} * {yardstick:.3g} (NumPy's)"
        return None


def measured() -> list[str]:
    """What the run saw of the float32 bounds, a line for each instruction set that it compared."""
    lines = []
    for isa, tensors in MEASURED.items():
        norms = [ratio for errors in tensors if (ratio := errors.ratio()) is not None]
        extremes = [ratio for errors in tensors if (ratio := errors.extreme()) is not None]
        if norms:
            lines.append(
                f"isa {isa}: float32 error in units of the NumPy loop's, {len(norms):,} tensors: "
                f"2-norm at most {max(norms):.2f}, geometric mean "
                f"{statistics.geometric_mean(norms):.2f}; maximum at most {max(extremes):.1f}"
            )
    return lines
