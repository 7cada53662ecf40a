"""What a refused call is, and the modules and arrays that the refused calls are made of."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from modules import normal

import fastrnn
from fastrnn import functional as F

V, W = ValueError, TypeError
T, B, I, H = 5, 3, 4, 6
X = normal((T, B, I))
LSTM = fastrnn.LSTM(I, H, rng=0)
BATCH_FIRST = fastrnn.LSTM(I, H, batch_first=True, rng=0)
GRU = fastrnn.GRU(I, H, rng=0)
RNN = fastrnn.RNN(I, H, rng=0)
DEEP = fastrnn.LSTM(I, H, num_layers=2, bidirectional=True, rng=0)
CELL = fastrnn.LSTMCell(I, H, rng=0)
STATE = normal((1, B, H))
Y, _, TAPE = LSTM.forward(X)
TAPE_F = F.lstm(X, list(LSTM.parameters().values()), training=True)[2]
PARAMS = LSTM.parameters()
LONG = np.broadcast_to(np.zeros(I, np.float32), (2**18, 1, I))
LONG_TAPE = DEEP.forward(LONG)[2]
MANY_ROWS = np.broadcast_to(np.zeros(I, np.float32), (0, 2**40, I))
HUGE = np.broadcast_to(np.zeros(I, np.float32), (2**50, 1, I))


@dataclass(frozen=True)
class Refusal:
    """A call, the exception it must raise and a piece of the sentence."""

    run: Callable[[], Any]
    kind: type[Exception]
    call: str
    piece: str


def starved(run: Callable[[], Any]) -> Any:
    """Run it in a process that gets no more memory than a little."""
    fastrnn._core.release_memory()
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (4 << 20), hard))
    taken: list[bytearray] = []  # what malloc kept of memory that was freed before
    try:
        with contextlib.suppress(MemoryError):
            while True:
                taken.append(bytearray(1 << 20))
        return run()
    finally:
        taken.clear()
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


class OnGpu:
    """What CuPy shows of an array."""

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {"shape": (T, B, I), "typestr": "<f4", "data": (0, True), "version": 3}


class Unreadable:
    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        raise OSError("the disk is gone")


def fake_torch_tensor() -> Any:
    kind = type("Tensor", (), {"__module__": "torch"})
    return kind()
