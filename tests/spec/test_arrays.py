"""Arrays in and out: layouts and strides give the same bits, padding is not read, inputs stay."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cases import ARRAYS
from engine import assert_same_bits, assert_same_results, forward, run_engine
from problems import every_cell, every_dtype, every_size, every_stack, problem_of

from fastrnn import _core


@pytest.mark.parametrize("ragged", [False, True])
@every_size
@every_stack
@every_dtype
@every_cell
def test_batch_first_and_time_major(
    cell: str, dtype: str, stack: str, size: tuple[int, ...], ragged: bool
):
    dropout = 0.25 if stack.startswith("two") else 0.0
    problem = problem_of(cell, dtype, stack, size, ragged=ragged, dropout=dropout)
    case = replace(problem.case, batch_first=True)
    x, d_y = (np.ascontiguousarray(a.swapaxes(0, 1)) for a in (problem.x, problem.d_y))
    got = run_engine(replace(problem, case=case, x=x, d_y=d_y))
    for name in ("y", "d_x"):
        got[name] = got[name].swapaxes(0, 1)
    assert_same_results(got, run_engine(problem), problem.case)


def strided_views(a: np.ndarray) -> dict[str, np.ndarray]:
    """Arrays equal to a whose last axis is contiguous and whose other strides are anything."""
    T, B, K = a.shape

    def base(*shape: int) -> np.ndarray:
        return np.full(shape, np.nan, a.dtype)  # what lies between the strides must not be read

    views = {
        "every second step": base(2 * T, B, K)[::2],
        "every second row": base(T, 2 * B, K)[:, ::2],
        "columns of a wider array": base(T, B, K + 7)[..., 5 : 5 + K],
        "time reversed": base(T, B, K)[::-1],
        "rows reversed": base(T, B, K)[:, ::-1],
        "transposed": base(B, T, K).swapaxes(0, 1),
        "all at once": base(2 * B, 3 * T, K + 3).swapaxes(0, 1)[::-3, ::-2, 2 : 2 + K],
    }
    for view in views.values():
        view[...] = a
    return views


@every_size
@every_stack
@every_dtype
@every_cell
def test_strides_of_x(cell: str, dtype: str, stack: str, size: tuple[int, ...]):
    problem = problem_of(cell, dtype, stack, size)
    expected, views = run_engine(problem), strided_views(problem.x)
    # every pattern at the small sizes; at the large ones, which only differ in the partition, three
    names = list(views) if size[0] <= 3 else ["every second row", "transposed", "all at once"]
    for name in names:
        x = views[name]
        assert_same_results(run_engine(replace(problem, x=x)), expected, (name, problem.case))


@every_dtype
@every_cell
def test_x_with_stride_zero(cell: str, dtype: str):
    problem = problem_of(cell, dtype, "one_layer", (3, 37, 5, 33))
    for row in (problem.x[:1], problem.x[:, :1], problem.x[:1, :1]):
        x = np.broadcast_to(row, problem.x.shape)
        expected = run_engine(replace(problem, x=x.copy()))
        assert_same_results(run_engine(replace(problem, x=x)), expected, problem.case)


@every_size
@every_stack
@every_dtype
@every_cell
def test_padding_is_never_read(cell: str, dtype: str, stack: str, size: tuple[int, ...]):
    """NaN beyond the lengths, in x and in d_y, changes nothing; y and d_x are 0 there."""
    problem = problem_of(cell, dtype, stack, size, ragged=True)
    if size[0] == 1:
        problem.lengths = np.array([size[1] // 2])
    padding = np.arange(size[1])[:, None] >= problem.lengths
    assert padding.any()
    expected = run_engine(problem)
    x, d_y = problem.x.copy(), problem.d_y.copy()
    x[padding], d_y[padding] = np.nan, np.nan
    got = run_engine(replace(problem, x=x, d_y=d_y))
    assert_same_results(got, expected, problem.case)
    assert not got["y"][padding].any()
    assert not got["d_x"][padding].any()


@every_stack
@every_dtype
@every_cell
def test_inputs_are_not_changed(cell: str, dtype: str, stack: str):
    """Nor need they be writable."""
    problem = problem_of(cell, dtype, stack, (3, 37, 5, 33), ragged=True, dropout=0.25)
    inputs = {n: getattr(problem, n) for n in (*ARRAYS, "lengths")}
    inputs = {n: a for n, a in inputs.items() if a is not None}
    inputs |= dict(zip(problem.case.param_names, problem.params, strict=True))
    before = {name: a.copy() for name, a in inputs.items()}
    expected = run_engine(problem)
    for name, a in inputs.items():
        assert_same_bits(name, a, before[name], problem.case)
        a.flags.writeable = False
    assert_same_results(run_engine(problem), expected, problem.case)


@every_stack
@every_dtype
@every_cell
def test_results_share_no_memory_with_inputs_or_each_other(cell: str, dtype: str, stack: str):
    problem = problem_of(cell, dtype, stack, (3, 37, 5, 33))
    y, h_n, c_n, tape = forward(problem)
    gradients = _core.backward(tape, problem.d_y, problem.d_h_n, problem.d_c_n)
    results = [y, h_n, c_n, *gradients[:3], *gradients[3]]
    results = [a for a in results if a is not None]
    inputs = [getattr(problem, n) for n in ARRAYS] + problem.params
    for k, a in enumerate(results):
        assert a.flags.writeable
        assert not any(np.may_share_memory(a, b) for b in results[:k])
        assert not any(b is not None and np.may_share_memory(a, b) for b in inputs)
