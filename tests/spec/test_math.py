"""tanh and sigmoid of the running kernels: accuracy within tolerances.ULP, exact special values.

The whole proof, every float32, is ``python -m bench.ulp``; here is a sample of every binade and
every place where something could break: borders of binades, of the reductions, of saturation, NaN,
zeros. Errors are in units in the last place of the true result; below 1.01 times the smallest
normal number the kernels may flush to zero, so there only the absolute error counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from cases import DTYPES, SEED
from tolerances import ULP

from fastrnn import _core

FUNCTIONS = {"tanh": _core._tanh, "sigmoid": _core._sigmoid}
BITS = {"float32": np.uint32, "float64": np.uint64}
STRIDE = 4099  # prime: no low bit of the pattern is left out
FLUSHED = 1.01  # of the smallest normal number

every_function = pytest.mark.parametrize("function", FUNCTIONS)
every_dtype = pytest.mark.parametrize("dtype", DTYPES)


def exact(function: str, x: np.ndarray, wide: type) -> np.ndarray:
    """The function in a wider dtype, without subtractions that cancel."""
    x = x.astype(wide)
    if function == "tanh":
        return np.tanh(x)
    e = np.exp(-np.abs(x))
    return np.where(np.signbit(x), e, 1) / (1 + e)


def ulp_errors(y: np.ndarray, true: np.ndarray) -> np.ndarray:
    """|y - true| in ULP, and 0 where the true result may be flushed and the error is that small."""
    limits = np.finfo(y.dtype)
    difference = np.abs(y - true)
    ulp = np.ldexp(true.dtype.type(1), np.frexp(true)[1] - (limits.nmant + 1))
    near_zero = np.abs(true) < FLUSHED * limits.tiny
    excused = near_zero & (difference <= FLUSHED * limits.tiny)
    return np.where(excused, 0, difference / np.maximum(ulp, limits.smallest_subnormal))


def assert_accurate(function: str, x: np.ndarray, wide: type) -> None:
    y = FUNCTIONS[function](x)
    assert y.dtype == x.dtype
    assert y.shape == x.shape
    errors = ulp_errors(y, exact(function, x, wide))
    at = int(np.argmax(errors))  # NaN wins
    bound = ULP[x.dtype.name]
    assert errors[at] <= bound, (
        f"{function}({float(x[at]).hex()}) = {float(y[at]).hex()} errs by {errors[at]:.4f} ULP, "
        f"allowed {bound}"
    )


def both_signs(x: np.ndarray) -> np.ndarray:
    return np.concatenate([x, -x])


def neighbours(x: np.ndarray, reach: int) -> np.ndarray:
    """Every number and the next `reach` on either side, of both signs; NaN left out."""
    bits = x.view(BITS[x.dtype.name]).astype(np.int64)
    around = np.add.outer(bits, np.arange(-reach, reach + 1)).ravel()
    infinity = int(np.array(np.inf, x.dtype).view(BITS[x.dtype.name]))
    return both_signs(np.clip(around, 0, infinity).astype(BITS[x.dtype.name]).view(x.dtype))


def borders(dtype: str) -> np.ndarray:
    """Where a kernel may change its way: powers of two, steps of exponents, saturation."""
    limits = np.finfo(dtype)
    exponents = np.arange(limits.minexp - limits.nmant, limits.maxexp)
    powers = np.ldexp(np.ones(1, dtype), exponents)
    steps = np.arange(0, 2.0 * limits.maxexp, 0.25) * (math.log(2) / 2)
    saturation = [0.55, 9.01, 9.5, 17.32, 19.06, 19.5, 30, 36.7, 45, 87.33, 88.72, 103.97]
    saturation += [104, 708.39, 709.78, 745.13, 745.2, 1e4]
    return np.concatenate([powers, steps.astype(dtype), np.array(saturation, dtype), [limits.max]])


def strided_patterns() -> np.ndarray:
    """Every STRIDE-th float32, infinities and NaN left out."""
    infinity = int(np.array(np.inf, np.float32).view(np.uint32))
    return both_signs(np.arange(0, infinity, STRIDE, dtype=np.uint32).view(np.float32))


def random_doubles(count: int) -> np.ndarray:
    """Float64 numbers of either sign, all magnitudes from 2^-40 to 2^11 alike."""
    rng = np.random.default_rng(SEED)
    return both_signs(np.ldexp(1 + rng.random(count), rng.integers(-40, 11, count)))


needs_long_double = pytest.mark.skipif(
    np.finfo(np.longdouble).nmant < 63,
    reason="the float64 oracle needs a long double of 64 bits or more",
)


@every_function
def test_float32_sample_of_all_patterns(function):
    assert_accurate(function, strided_patterns(), np.float64)


@every_function
def test_float32_borders(function):
    assert_accurate(function, neighbours(borders("float32").astype(np.float32), 8), np.float64)


@needs_long_double
@every_function
def test_float64_random(function):
    assert_accurate(function, random_doubles(200_000), np.longdouble)


@needs_long_double
@every_function
def test_float64_borders(function):
    assert_accurate(function, neighbours(borders("float64"), 8), np.longdouble)


@every_function
def test_float64_against_mpmath(function):
    """An oracle that shares nothing with the C library."""
    mpmath = pytest.importorskip("mpmath", reason="mpmath is the independent float64 oracle")
    mp = mpmath.mp.clone()
    mp.prec = 120
    formulas: dict[str, Callable] = {"tanh": mp.tanh, "sigmoid": lambda v: 1 / (1 + mp.exp(-v))}
    x = random_doubles(1000)
    x = x[np.abs(x) < 700]
    y = FUNCTIONS[function](x)
    for v, got in zip(x.tolist(), y.tolist(), strict=True):
        true = formulas[function](mp.mpf(v))
        ulp = math.ulp(float(true))
        error = float(abs(mp.mpf(got) - true) / ulp)
        assert error <= ULP["float64"], f"{function}({v.hex()}) errs by {error:.4f} ULP"


@every_function
@every_dtype
def test_nan_stays_nan(function, dtype):
    """Quiet and signalling, both signs, any payload, in every lane beside numbers."""
    bits = BITS[dtype]
    infinity = int(np.array(np.inf, dtype).view(bits))
    sign = int(np.array(-0.0, dtype).view(bits))
    payloads = [1, 2, 3, 0x1234, sign - infinity - 1, (sign - infinity) // 2 + 7]
    nan = np.array([s + infinity + p for p in payloads for s in (0, sign)], bits).view(dtype)
    assert np.isnan(nan).all()
    assert np.isnan(FUNCTIONS[function](nan)).all()
    numbers = np.linspace(-20, 20, 67, dtype=dtype)
    expected = FUNCTIONS[function](numbers)
    for lane in range(numbers.size):
        x = numbers.copy()
        x[lane] = np.nan
        y = FUNCTIONS[function](x)
        assert np.isnan(y[lane])
        others = np.arange(x.size) != lane
        assert np.array_equal(y[others], expected[others]), f"NaN in lane {lane} changed others"


@every_dtype
def test_infinities_and_zeros_are_exact(dtype):
    x = np.array([np.inf, -np.inf, 0.0, -0.0, np.finfo(dtype).max, -np.finfo(dtype).max], dtype)
    tanh, sigmoid = _core._tanh(x), _core._sigmoid(x)
    assert tanh.tolist() == [1.0, -1.0, 0.0, 0.0, 1.0, -1.0]
    assert np.signbit(tanh).tolist() == [False, True, False, True, False, True]
    assert sigmoid.tolist() == [1.0, 0.0, 0.5, 0.5, 1.0, 0.0]
    assert not np.signbit(sigmoid).any()


@every_dtype
def test_tanh_is_odd_to_the_bit(dtype):
    x = strided_patterns() if dtype == "float32" else random_doubles(100_000)
    x = np.concatenate([x, neighbours(borders(dtype).astype(dtype), 2)])
    assert np.array_equal(_core._tanh(-x).view(BITS[dtype]), (-_core._tanh(x)).view(BITS[dtype]))


@every_dtype
def test_results_stay_in_their_range(dtype):
    x = strided_patterns() if dtype == "float32" else random_doubles(100_000)
    x = np.concatenate([x, neighbours(borders(dtype).astype(dtype), 2)])
    tanh, sigmoid = _core._tanh(x), _core._sigmoid(x)
    assert (np.abs(tanh) <= 1).all()
    assert (np.abs(tanh) <= np.abs(x)).all()
    assert (sigmoid >= 0).all()
    assert (sigmoid <= 1).all()
    assert ((sigmoid >= 0.5) == (x >= 0))[np.abs(x) > np.finfo(dtype).eps].all()


@every_function
@every_dtype
def test_every_length_and_lane_gives_the_same_bits(function, dtype):
    """No result depends on where in a vector, or in its tail, its input stood."""
    x = np.random.default_rng(SEED).normal(0, 4, 80).astype(dtype)
    whole = FUNCTIONS[function](x)
    for n in range(x.size + 1):
        for start in (0, min(n, 5)):
            assert np.array_equal(FUNCTIONS[function](x[start:n]), whole[start:n]), (start, n)


@every_dtype
def test_the_error_measure_counts_ulps(dtype):
    """The yardstick itself: one step of the dtype is 1 ULP, and half of one just below a binade."""
    true = np.array([0.3, 1.0, 0.7, 3e-30], dtype)
    above = np.nextafter(true, np.array(2, dtype))
    assert ulp_errors(above, true.astype(np.longdouble)).tolist() == [1, 1, 1, 1]
    one, below = np.ones(1, dtype), np.nextafter(np.ones(1, dtype), np.zeros(1, dtype))
    assert ulp_errors(below, one.astype(np.longdouble)).tolist() == [0.5]
    assert ulp_errors(one, below.astype(np.longdouble)).tolist() == [1]
    smallest = np.finfo(dtype).tiny
    zero, normal = np.zeros(1, dtype), np.array([smallest, 2 * smallest], np.longdouble)
    assert ulp_errors(zero, normal[:1]).tolist() == [0]
    assert ulp_errors(zero, normal[1:])[0] > 1e6


@pytest.mark.slow
@pytest.mark.parametrize("function", ["sigmoid", "tanh"])
def test_all_float32_inputs(function: str) -> None:
    """All 2^32 of them, against the bound of the contract (docs/numerics.md has the maxima)."""
    from bench import ulp

    assert ulp.main(["--function", function, "--dtype", "float32"]) == 0
