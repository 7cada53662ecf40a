"""Arrays in GPU memory at the door: CuPy's own, and any other library's seen through CuPy.

Results are CuPy arrays on the device of x, computed on CuPy's current stream. CuPy is imported by
the first call that needs it.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any

import numpy as np

from . import _core, _gpu
from ._check.arrays import Door, dtype_advice, on_gpu, same_numbers
from ._check.numbers import describe
from ._problem import Problem

Array = Any


@cache
def _cupy() -> Any:
    try:
        import cupy
    except ImportError as error:
        raise ImportError(
            "fastrnn: x is a GPU array, expected CuPy to be installed, which handles them; "
            "pip install 'fastrnn[cuda]', or pass a NumPy array"
        ) from error
    return cupy


def machine(device: int) -> _gpu.Machine:
    """CuPy on one device. RuntimeError, one sentence, in a build without CUDA kernels."""
    _core.require_device()
    xp = _cupy()
    return _gpu.Machine(
        xp,
        _core,
        lambda a: int(a.data.ptr),
        lambda: int(xp.cuda.get_current_stream().ptr),
        device,
        allows_tf32=lambda: os.environ.get("CUPY_TF32") == "1",  # CuPy's own switch
        here=lambda: xp.cuda.Device(device),
        wait=lambda: xp.cuda.get_current_stream().synchronize(),
    )


def door(x: Any) -> tuple[_gpu.Machine, Door]:
    """The machine that x lies on, and how the other arguments come to it."""
    _core.require_device()
    xp = _cupy()
    m = machine(int(xp.asarray(x).device.id))
    return m, door_of(m)


def door_of(m: _gpu.Machine) -> Door:
    """How arguments come to a machine."""

    def adopt(call: str, name: str, value: Any, dtype: np.dtype[Any]) -> Array:
        if not on_gpu(value):
            raise TypeError(
                f"{call}: {name} is {describe(value)}, not in GPU memory, expected an array on the "
                f"GPU because x is one; copy it with cupy.asarray({name})"
            )
        with m.here():
            found = m.xp.asarray(value)
        if not same_numbers(found.dtype, dtype):
            raise TypeError(
                f"{call}: {name} has dtype {found.dtype}, expected {dtype}, "
                f"the dtype of the parameters; {dtype_advice(name, found.dtype, dtype)}"
            )
        return found

    def dense(value: Array, dtype: np.dtype[Any]) -> Array:
        with m.here():
            return m.xp.ascontiguousarray(value, dtype)

    return Door(adopt, dense, dense)


def forward(
    m: _gpu.Machine,
    problem: Problem,
    params: list[Array],
    x: Array,
    h_0: Array | None,
    c_0: Array | None,
    lengths: np.ndarray | None,
    batch_first: bool,
    training: bool,
    dropout: float,
    seed: int,
) -> tuple[Array, Array, Array | None, _gpu.DeviceTape | None]:
    """`_gpu.forward` for checked arguments of `_core.forward`, x with the engine's axes."""
    xp, p = m.xp, problem
    x = _time_first(m, x, batch_first)
    steps, rows = x.shape[:2]
    width = p.output_size
    masks: list[Array | None] = [None] * p.num_layers
    for layer in range(1, p.num_layers if dropout > 0 else 1):
        # Drawn by the CPU's generator: the same masks everywhere, at the price of a copy.
        drawn = _core._dropout_mask(0, steps * rows * width, layer, dropout, seed, p.dtype)
        masks[layer] = xp.asarray(drawn.reshape(steps, rows, width))
    given = None if lengths is None else xp.asarray(lengths)
    y, h_n, c_n, tape = _gpu.forward(m, p, params, x, h_0, c_0, given, masks, training)
    return (y.swapaxes(0, 1) if batch_first else y), h_n, c_n, tape


def backward(
    tape: _gpu.DeviceTape, batch_first: bool, d_y: Array | None, *d_state: Array | None
) -> tuple[Array, Array, Array | None, list[Array]]:
    """`_gpu.backward` for the checked arguments of `_core.backward`."""
    d_y = None if d_y is None else _time_first(tape.machine, d_y, batch_first)
    d_x, d_h_0, d_c_0, grads = _gpu.backward(tape, d_y, *d_state)
    return (d_x.swapaxes(0, 1) if batch_first else d_x), d_h_0, d_c_0, grads


def _time_first(m: _gpu.Machine, value: Array, batch_first: bool) -> Array:
    return m.xp.ascontiguousarray(value.swapaxes(0, 1) if batch_first else value)
