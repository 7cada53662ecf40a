"""Modules called with GPU arrays: CuPy's, or on the emulated GPU NumPy's in their place."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from machines import Gpu
from tolerances import STORAGE_RELATIVE, relative_error

import fastrnn
from fastrnn import _device, _scan
from fastrnn._check.arrays import HOST

T, B, I, H = 11, 6, 5, 24


@pytest.fixture
def arrays(gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> Gpu:
    """A GPU whose arrays the modules take for what they are."""
    if not gpu.is_real:
        monkeypatch.setattr(_scan, "place_of", lambda x: (gpu.machine, HOST))
        monkeypatch.setattr(_device, "door_of", lambda machine: HOST)
    return gpu


def everything(module: Any, x: Any, state: Any, lengths: Any, d_y: Any) -> list[Any]:
    """Inference, and all results and gradients of a training call."""
    y, final, tape = module.forward(x, state, lengths=lengths)
    d_x, d_state, grads = module.backward(tape, d_y)
    alone = module(x, state, lengths=lengths)[0]
    if isinstance(final, tuple):
        return [alone, y, *final, d_x, *d_state, *grads.values()]
    return [alone, y, final, d_x, d_state, *grads.values()]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("name", ["LSTM", "GRU", "RNN"])
def test_strided_arrays_and_empty_rows(
    arrays: Gpu, name: str, batch_first: bool, dtype: str, monkeypatch: pytest.MonkeyPatch
):
    """Every argument is a view with gaps, x with its axes swapped; rows of length 0 keep h_0."""
    rng, xp = np.random.default_rng(7), arrays.machine.xp
    options = {"num_layers": 2, "bidirectional": True, "batch_first": batch_first}
    module = getattr(fastrnn, name)(I, H, dtype=np.dtype(dtype), rng=8, **options)
    lead = (B, T) if batch_first else (T, B)
    x, d_y = rng.normal(size=(*lead, I)), rng.normal(size=(*lead, 2 * H))
    states = [rng.normal(size=(4, B, H)) for _ in range(2 if name == "LSTM" else 1)]
    lengths = np.array([T, 0, 3, 1, 0, T])

    def gapped(values: np.ndarray) -> Any:
        wide = xp.asarray(np.repeat(values.astype(dtype), 2, axis=-1))
        view = wide[..., ::2]
        assert not view.flags.c_contiguous
        return view

    def swapped(values: np.ndarray) -> Any:
        return xp.asarray(np.ascontiguousarray(values.astype(dtype).swapaxes(0, 1))).swapaxes(0, 1)

    state = tuple(gapped(s) for s in states)
    given = (swapped(x), state if name == "LSTM" else state[0], xp.asarray(lengths), gapped(d_y))
    got = [arrays.to_host(a) for a in everything(module, *given)]
    monkeypatch.undo()  # from here on NumPy arrays are NumPy arrays
    plain = tuple(s.astype(dtype) for s in states)
    on_cpu = (x.astype(dtype), plain if name == "LSTM" else plain[0], lengths, d_y.astype(dtype))
    expected = everything(module, *on_cpu)
    for one, other in zip(got, expected, strict=True):
        assert one.dtype == dtype
        assert one.shape == other.shape
        assert relative_error(one, other) <= STORAGE_RELATIVE[dtype]
    empty = np.flatnonzero(lengths == 0)
    for final, initial in zip(got[2:], plain, strict=False):
        assert final[:, empty].tobytes() == initial[:, empty].tobytes()


def test_no_rows_and_no_steps(arrays: Gpu):
    gru = fastrnn.GRU(I, H, rng=9)
    xp = arrays.machine.xp
    for steps, rows in ((0, 3), (4, 0), (0, 0)):
        x = xp.asarray(np.ones((steps, rows, I), np.float32))
        h_0 = xp.asarray(np.full((1, rows, H), 0.25, np.float32))
        y, h_n, tape = gru.forward(x, h_0)
        d_x, d_h_0, grads = gru.backward(tape, None, xp.asarray(np.ones_like(arrays.to_host(h_n))))
        assert y.shape == (steps, rows, H)
        assert d_x.shape == x.shape
        assert d_h_0.shape == h_0.shape
        if steps == 0:
            assert arrays.to_host(h_n).tobytes() == arrays.to_host(h_0).tobytes()
            assert (arrays.to_host(d_h_0) == 1).all()
        assert all((arrays.to_host(g) == 0).all() for g in grads.values() if steps * rows == 0)
