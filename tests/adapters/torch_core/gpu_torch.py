"""Where the CUDA path of fastrnn.torch is tested: a real GPU, or CPU tensors taken for one's.

The emulated engine runs the same kernels, plans and workspaces on host memory; everything above it,
from the routing to torch's products, is the code that a GPU runs.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from fastrnn import _core, _gpu
from fastrnn.torch import _cuda, _route


class Poisoned(_cuda.Arrays):
    """Memory that nobody has written holds NaN, so that who reads it is seen."""

    def empty(self, shape: Any, dtype: str) -> Tensor:
        made = super().empty(shape, dtype)
        made.view(torch.uint8).fill_(0xFF)
        return made


@dataclass(frozen=True)
class Place:
    """Where the tensors of a test lie."""

    name: str
    device: torch.device

    def put(self, tensor: Tensor) -> Tensor:
        """A copy there, without gradient."""
        return tensor.detach().to(self.device, copy=True)


def emulated(monkeypatch: pytest.MonkeyPatch) -> Place:
    """CPU tensors are a GPU's; meta tensors stay what they are."""
    emulation = pytest.importorskip(
        "fastrnn._emulation", reason="built without FASTRNN_TESTING, so without the emulated GPU"
    )
    device = torch.device("cpu")
    torchs = (_cuda._address, lambda: 0, 0, Tensor.stride, _cuda.allows_tf32)
    machine = _gpu.Machine(Poisoned(device), emulation, *torchs)
    monkeypatch.setattr(_cuda, "runs_on", lambda tensor: tensor.is_cpu)
    monkeypatch.setattr(_cuda, "machine_of", lambda tensor: machine)
    return Place("emulated", device)


def real() -> Place:
    """The first GPU; a skip without one, which FASTRNN_REQUIRE_GPU=1 makes a failure."""
    refuse = pytest.fail if os.environ.get("FASTRNN_REQUIRE_GPU") else pytest.skip
    if not _core.build_info()["cuda"]:
        refuse("built without CUDA kernels")
    if not torch.cuda.is_available():
        refuse("torch finds no GPU")
    return Place("real", torch.device("cuda", 0))


def forced(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernels take what they can, whatever the rule for speed says."""
    monkeypatch.setattr(_route, "choice", "always")
