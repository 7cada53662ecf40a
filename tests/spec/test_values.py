"""Values at the edge: NaN and infinity reach what depends on them and nothing else; saturation,
denormal numbers, and the state of the processor that a call must leave as it found it."""

from __future__ import annotations

import ctypes
import ctypes.util
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from cases import CELLS, DTYPES, Case, Problem, Result, draw, run_reference
from engine import assert_same_bits, assert_same_results, run_engine
from tolerances import ASSERT_CLOSE

every_cell = pytest.mark.parametrize("cell", CELLS)
every_dtype = pytest.mark.parametrize("dtype", DTYPES)
every_poison = pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf], ids=str)
T, B, I, H = 9, 5, 7, 33


def reference_of(problem: Problem) -> Result:
    with np.errstate(all="ignore"):  # inf - inf is the point of these tests
        return run_reference(problem, problem.case.dtype)


def assert_like(name: str, got: np.ndarray, expected: np.ndarray, context: object) -> None:
    """NaN and infinities at the same places, the rest close."""
    rtol, atol = ASSERT_CLOSE[str(got.dtype)]
    np.testing.assert_allclose(got, expected, rtol, atol, err_msg=f"{name} in {context}")


def by_direction(case: Case, array: np.ndarray) -> list[np.ndarray]:
    """y as one array (T, B, H) per direction of time, its own first step first."""
    halves = [array[..., :H], array[..., H:]][: case.D]
    return [halves[0], *(half[::-1] for half in halves[1:])]


@every_poison
@every_dtype
@every_cell
def test_a_poisoned_input_reaches_its_row_from_its_step_on(cell: str, dtype: str, poison: float):
    problem = draw(Case(cell, T, B, I, H, D=2, dtype=dtype))
    clean, (t, b, i) = run_engine(problem), (4, 2, 3)
    x = problem.x.copy()
    x[t, b, i] = poison
    poisoned = replace(problem, x=x)
    got, expected = run_engine(poisoned), reference_of(poisoned)
    others = np.arange(B) != b
    for name in ("y", "h_n", "c_n", "d_x", "d_h_0", "d_c_0"):
        if name in got:
            assert_same_bits(name, got[name][:, others], clean[name][:, others], poisoned.case)
    for name in ("y", "h_n", "c_n"):
        if name in got:
            assert_like(name, got[name], expected[name], poisoned.case)
    first = (t, T - 1 - t)  # the step as each direction counts
    halves = (by_direction(problem.case, result["y"]) for result in (got, clean))
    for mine, theirs, step in zip(*halves, first, strict=True):
        assert_same_bits("y before", mine[:step, b], theirs[:step, b], poisoned.case)
        if np.isnan(poison):
            assert np.isnan(mine[step:, b]).all(), poisoned.case


@every_poison
@every_dtype
@every_cell
def test_a_poisoned_state_stays_in_its_row_and_direction(cell: str, dtype: str, poison: float):
    problem = draw(Case(cell, T, B, I, H, D=2, dtype=dtype))
    clean = run_engine(problem)
    for name in ("h_0", "c_0") if problem.case.has_c else ("h_0",):
        state = getattr(problem, name).copy()
        state[1, 3, 5] = poison  # reverse direction, row 3
        poisoned = replace(problem, **{name: state})
        got, expected = run_engine(poisoned), reference_of(poisoned)
        others = np.arange(B) != 3
        assert_same_bits("y", got["y"][..., :H], clean["y"][..., :H], poisoned.case)
        assert_same_bits("y", got["y"][:, others], clean["y"][:, others], poisoned.case)
        assert_same_bits("h_n", got["h_n"][0], clean["h_n"][0], poisoned.case)
        assert_same_bits("d_x", got["d_x"][:, others], clean["d_x"][:, others], poisoned.case)
        assert_like("y", got["y"], expected["y"], poisoned.case)
        assert not np.array_equal(got["y"], clean["y"])


@every_dtype
@every_cell
def test_a_poisoned_gradient_reaches_its_row_up_to_its_step(cell: str, dtype: str):
    problem = draw(Case(cell, T, B, I, H, dtype=dtype))
    clean, (t, b) = run_engine(problem), (4, 2)
    d_y = problem.d_y.copy()
    d_y[t, b] = np.nan  # every unit, so that one of relu's open ones is among them
    poisoned = replace(problem, d_y=d_y)
    got, expected, others = run_engine(poisoned), reference_of(poisoned), np.arange(B) != b
    assert_same_bits("d_x", got["d_x"][:, others], clean["d_x"][:, others], poisoned.case)
    assert_same_bits("d_x", got["d_x"][t + 1 :], clean["d_x"][t + 1 :], poisoned.case)
    assert_same_bits("d_h_0", got["d_h_0"][:, others], clean["d_h_0"][:, others], poisoned.case)
    assert np.isnan(got["d_x"][: t + 1, b]).all()
    for name in ("d_weight_ih_l0", "d_weight_hh_l0", "d_bias_ih_l0", "d_bias_hh_l0", "d_h_0"):
        assert np.array_equal(np.isnan(got[name]), np.isnan(expected[name])), name
    assert np.isnan(got["d_bias_hh_l0"]).any()


@every_dtype
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn_tanh"])
def test_huge_weights_saturate(cell: str, dtype: str):
    """Gates at exactly 0 and 1, no NaN in either pass, with pre-activations near overflow."""
    problem = draw(Case(cell, T, B, I, H, L=2, dtype=dtype))
    huge = np.finfo(dtype).max / 1e6
    for scale in (100.0, 1e4, huge):
        scaled = replace(problem, params=[p * p.dtype.type(scale) for p in problem.params])
        got, expected = run_engine(scaled), reference_of(scaled)
        for name, value in got.items():
            assert not np.isnan(value).any(), f"{name} at scale {scale} in {scaled.case}"
        bound = np.maximum(1.0, np.abs(problem.h_0[1]))  # the GRU's h is a mean of h_0 and tanh
        assert (np.abs(got["y"]) <= bound).all()
        if scale == huge:  # far from every threshold: the saturated values themselves
            assert_like("y", got["y"], expected["y"], scaled.case)


@every_dtype
def test_a_large_cell_state_is_carried_on(dtype: str):
    """c of 1e30: tanh(c) is 1, c' = f * c + i * g stays finite, and only f decides."""
    problem = draw(Case("lstm", T, B, I, H, dtype=dtype))
    large = replace(problem, c_0=problem.c_0 * problem.c_0.dtype.type(1e30))
    got, expected = run_engine(large), reference_of(large)
    assert_like("y", got["y"], expected["y"], large.case)
    scale = np.abs(expected["c_n"]).max()
    assert scale > 1e20
    assert_like("c_n", got["c_n"] / scale, expected["c_n"] / scale, large.case)


@every_dtype
@every_cell
def test_denormal_inputs_are_as_good_as_zero(cell: str, dtype: str):
    tiny = np.finfo(dtype).smallest_subnormal * 1000
    problem = draw(Case(cell, T, B, I, H, dtype=dtype))
    small = replace(problem, x=np.sign(problem.x) * tiny, h_0=np.sign(problem.h_0) * tiny)
    zero = replace(problem, x=0 * problem.x, h_0=0 * problem.h_0)
    got, expected = run_engine(small), run_engine(zero)
    for name in ("y", "h_n", "d_x", "d_h_0"):
        assert_like(name, got[name], expected[name], small.case)


# ---- the processor's floating-point state --------------------------------------------------------

FE = {"nearest": 0x000, "down": 0x400, "up": 0x800, "toward_zero": 0xC00}  # fenv.h on x86

x86_only = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="rounding modes are numbered as on x86"
)


def libm() -> ctypes.CDLL:
    return ctypes.CDLL(ctypes.util.find_library("m"))


@contextmanager
def rounding(mode: str) -> Iterator[None]:
    assert libm().fesetround(FE[mode]) == 0
    try:
        yield
    finally:
        libm().fesetround(FE["nearest"])


def denormals_live() -> bool:
    """Whether this thread computes with denormal numbers (FTZ and DAZ are off)."""
    small = np.full(64, 1e-40, np.float32)
    return bool((small * np.float32(1.5) > small).all()) and 5e-324 * 3.0 == 1.5e-323


@every_dtype
@every_cell
@pytest.mark.usefixtures("threads")
def test_denormals_live_on_after_a_call(cell: str, dtype: str):
    """The kernels may flush them to zero, but only while they run."""
    assert denormals_live()
    for size in ((1, 3, 2, 1), (20, 17, 64, 64)):
        run_engine(draw(Case(cell, *size, dtype=dtype)))
        assert denormals_live()


@x86_only
@every_dtype
@every_cell
def test_the_callers_rounding_mode_is_left_alone_and_has_no_say(cell: str, dtype: str):
    problem = draw(Case(cell, 20, 17, 64, 64, dtype=dtype))
    expected = run_engine(problem)
    for mode in ("up", "toward_zero", "down"):
        with rounding(mode):
            got = run_engine(problem)
            after = libm().fegetround()
        assert after == FE[mode]
        assert_same_results(got, expected, (mode, problem.case))


@every_cell
@pytest.mark.parametrize("H", [5, 16, 17])
def test_an_infinity_spreads_as_in_the_reference(cell: str, H: int):
    """Lanes of a vector past H are padding: what they compute must not come back."""
    problem = draw(Case(cell, T=4, B=3, I=3, H=H, dtype="float64"))
    problem.x[2, 1, 0] = np.inf
    with np.errstate(all="ignore"):
        exact = run_reference(problem)
    got = run_engine(problem)
    for name, truth in exact.items():
        np.testing.assert_array_equal(np.isfinite(got[name]), np.isfinite(truth), err_msg=name)
