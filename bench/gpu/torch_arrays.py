"""torch as the array library of `fastrnn._gpu`: NumPy has no name for bfloat16, torch has.

The stack around the kernels is the package's own; torch makes its products. For measurements, not
an interface: no checks, no autograd.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from fastrnn import _gpu
from fastrnn._problem import Problem


class TorchArrays:
    """What `fastrnn._gpu` calls of NumPy."""

    def __init__(self, device: str) -> None:
        self.device = device

    def empty(self, shape: Any, dtype: Any) -> torch.Tensor:
        """Uninitialised, on the device. A dtype is NumPy's, or a name of torch's."""
        return torch.empty(shape, dtype=torch_dtype(dtype), device=self.device)


def torch_dtype(dtype: Any) -> torch.dtype:
    """torch's name for NumPy's dtype, or for its own in text."""
    return getattr(torch, dtype if isinstance(dtype, str) else np.dtype(dtype).name)


def machine(engine: Any, device: str) -> _gpu.Machine:
    """The machine of an engine on one of torch's devices, "cuda" or, for the emulation, "cpu"."""

    def stream() -> int:
        return int(torch.cuda.current_stream().cuda_stream) if device == "cuda" else 0

    return _gpu.Machine(TorchArrays(device), engine, lambda t: int(t.data_ptr()), stream, 0)


def problem(cell: str, dtype: str, I: int, H: int) -> Problem:
    """One layer, one direction, with biases. Its dtype is a name: all that `_gpu` asks of it."""
    return Problem(cell, I, H, 1, False, True, False, 0.0, dtype)  # type: ignore[arg-type]
