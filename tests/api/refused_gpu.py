"""Refused calls with arrays on a GPU; NumPy stands for CuPy, so that they are refused anywhere."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
from refusal import GRU, OnGpu, Refusal, V, W, X

from fastrnn import _device, _gpu, _scan
from fastrnn._check.arrays import HOST

FLOAT64 = SimpleNamespace(asarray=lambda value: np.zeros(3))
MACHINE = _gpu.Machine(FLOAT64, None, id, lambda: 0, 0)


def without_cupy() -> Any:
    with mock.patch.dict("sys.modules", {"cupy": None}):
        return _device._cupy.__wrapped__()


def adopt(value: Any) -> Any:
    return _device.door_of(MACHINE).adopt("GRU", "h_0", value, np.dtype(np.float32))


def recomputing() -> Any:
    with mock.patch.object(_scan, "place_of", return_value=(MACHINE, HOST)):
        return GRU.forward(X, recompute=True)


REFUSED_GPU = {
    "no CuPy": Refusal(
        without_cupy, ImportError, "fastrnn", "x is a GPU array, expected CuPy to be installed"
    ),
    "state in CPU memory": Refusal(
        lambda: adopt(np.zeros(3, np.float32)), W, "GRU", "not in GPU memory, expected an array on"
    ),
    "dtype on a GPU": Refusal(
        lambda: adopt(OnGpu()), W, "GRU", "h_0 has dtype float64, expected float32, the dtype of"
    ),
    "recompute on a GPU": Refusal(
        recomputing, V, "GRU.forward", "recompute is -1, expected False for arrays on a GPU"
    ),
}
