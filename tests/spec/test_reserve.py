"""The reserve: what a training forward keeps, in the caller's memory instead of the tape's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastrnn import _core
from fastrnn._problem import Problem

T, B, I, H = 6, 5, 3, 9
LENGTHS = np.array([4, 6, 0, 1, 5])


def made(cell: str, dtype: str, layers: int, directions: int) -> tuple[Problem, list[Any]]:
    options = (layers, directions == 2, True, False, 0.0)
    problem = Problem(cell, I, H, *options, np.dtype(dtype))
    rng = np.random.default_rng(0)
    shapes = problem.parameter_shapes().values()
    return problem, [rng.uniform(-0.5, 0.5, shape).astype(dtype) for shape in shapes]


def rows(array: Any) -> tuple[int, int, int]:
    return array.ctypes.data, array.strides[0] // array.itemsize, array.strides[1] // array.itemsize


@pytest.mark.parametrize("lengths", [None, LENGTHS])
@pytest.mark.parametrize(
    ("layers", "directions", "dropout"), [(1, 1, 0.0), (3, 2, 0.0), (2, 2, 0.5)]
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cell", _core.cells())
def test_the_bits_are_the_tapes(
    cell: str, dtype: str, layers: int, directions: int, dropout: float, lengths: Any
) -> None:
    problem, params = made(cell, dtype, layers, directions)
    rng = np.random.default_rng(1)

    def normal(*shape: int) -> Any:
        return rng.standard_normal(shape).astype(dtype)

    x, d_y = normal(T, B, I), normal(T, B, H * directions)
    states = [normal(layers * directions, B, H) for _ in range(problem.states)]
    d_states = [normal(layers * directions, B, H) for _ in range(problem.states)]
    packed = problem.pack(params, None)
    h_0, c_0 = (*states, None)[:2]
    expected = _core.forward(packed, x, h_0, c_0, lengths, False, True, dropout, 7)
    tape = expected[-1]
    gradients = _core.backward(tape, d_y, *(*d_states, None)[:2])

    def at(array: Any) -> int:
        return 0 if array is None else array.ctypes.data

    alive = T * B if lengths is None else int(lengths.sum())
    reserve = np.full(problem.reserve_bytes(T, B, alive) // x.itemsize, np.nan, dtype)
    assert reserve.nbytes == tape.nbytes
    y, h_n, c_n = (None if e is None else np.full_like(e, np.nan) for e in expected[:3])
    addresses = tuple(map(at, params))
    forward = (addresses, T, B, *rows(x), at(h_0), at(c_0), at(lengths))
    written = (*rows(y), at(h_n), at(c_n))
    room = (at(reserve), reserve.nbytes)
    used = _core.forward_at(packed, *forward, *written, True, *room, dropout, 7)
    assert used is packed
    for found, wanted in zip((y, h_n, c_n), expected, strict=False):
        assert wanted is None or np.array_equal(found, wanted)

    d_params = [np.full_like(p, np.nan) for p in params]
    outs = [np.full_like(g, np.nan) if g is not None else None for g in gradients[:3]]
    d_x, d_h_0, d_c_0 = outs
    call = (packed, T, B, *rows(x), at(lengths), *room, dropout, 7, *rows(d_y))
    d_h_n, d_c_n = (*d_states, None)[:2]
    for _ in range(2):  # the reserve is only read
        given = (at(d_h_n), at(d_c_n), *rows(d_x), at(d_h_0), at(d_c_0))
        _core.backward_at(*call, *given, tuple(map(at, d_params)))
        for found, wanted in zip(outs + d_params, [*gradients[:3], *gradients[3]], strict=True):
            assert wanted is None or np.array_equal(found, wanted)


def test_changed_weights_are_noticed() -> None:
    problem, params = made("lstm", "float32", 1, 1)
    packed = problem.pack(params, None)
    x, y, h, c = (np.ones(s, np.float32) for s in ((T, B, I), (T, B, H), (1, B, H), (1, B, H)))
    addresses = tuple(p.ctypes.data for p in params)
    state = (h.ctypes.data, c.ctypes.data)
    tail = (0, 0, 0, *rows(y), *state, False, 0, 0, 0.0, 0)
    assert _core.forward_at(packed, addresses, T, B, *rows(x), *tail) is packed
    params[1][3, 4] += 1
    used = _core.forward_at(packed, addresses, T, B, *rows(x), *tail)
    assert used is not packed
    expected = _core.forward(problem.pack(params, None), x, None, None, None, False, False, 0.0, 0)
    assert np.array_equal(y, expected[0])


def test_wrong_numbers_are_refused() -> None:
    problem, params = made("gru", "float32", 1, 1)
    packed = problem.pack(params, None)
    x, y, h = (np.ones(s, np.float32) for s in ((T, B, I), (T, B, H), (1, B, H)))
    addresses = tuple(p.ctypes.data for p in params)
    reserve = np.empty(problem.reserve_bytes(T, B, T * B), np.uint8)

    def run(
        sizes: Any = (T, B), short: int = 0, lengths: int = 0, dropout: float = 0.0, most: int = 4
    ) -> None:
        room = (reserve.ctypes.data, reserve.nbytes - short)
        tail = (*rows(y), h.ctypes.data, 0, True, *room, dropout, 0)
        _core.forward_at(packed, addresses[:most], *sizes, *rows(x), 0, 0, lengths, *tail)

    run()
    with pytest.raises(ValueError, match=r"forward: reserve has \d+ bytes, expected \d+"):
        run(short=1)
    with pytest.raises(ValueError, match="forward: B has value -1"):
        run((T, -1))
    with pytest.raises(ValueError, match="forward: dropout has value 2"):
        run(dropout=2.0)
    too_long = np.full(B, T + 1)
    with pytest.raises(ValueError, match=r"lengths\[0\] has value 7, expected 0 to T = 6"):
        run(lengths=too_long.ctypes.data)
    with pytest.raises(ValueError, match="pack: params has 3 arrays, expected 4"):
        run(most=3)
    gradients = (*rows(x), h.ctypes.data, 0, tuple(p.ctypes.data for p in params))
    with pytest.raises(ValueError, match="backward: reserve has no bytes"):
        _core.backward_at(packed, T, B, *rows(x), 0, 0, 0, 0.0, 0, 0, 0, 0, 0, 0, *gradients)
