"""`fastrnn._gpu` over torch tensors, without the checks and the autograd of fastrnn.torch."""

from __future__ import annotations

from typing import Any

import torch

from fastrnn import _gpu
from fastrnn._problem import Problem
from fastrnn.torch import _cuda


def machine(engine: Any, device: str) -> _gpu.Machine:
    """The machine of an engine on one of torch's devices, "cuda" or, for the emulation, "cpu"."""

    def stream() -> int:
        return int(torch.cuda.current_stream().cuda_stream) if device == "cuda" else 0

    arrays = _cuda.Arrays(torch.device(device))
    torchs = (_cuda._address, stream, 0, torch.Tensor.stride, _cuda.allows_tf32)
    return _gpu.Machine(arrays, engine, *torchs)


def problem(cell: str, dtype: str, I: int, H: int) -> Problem:
    """One layer, one direction, with biases. Its dtype is a name: all that `_gpu` asks of it."""
    return Problem(cell, I, H, 1, False, True, False, 0.0, dtype)  # type: ignore[arg-type]
