"""The two GPUs that tests run on: the emulated one, and a real one behind CuPy."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from fastrnn import _core, _device, _gpu

# Clocks pass, at most so many: a stream that does nothing else for a while.
_DELAY = r"""
extern "C" __global__ void delay(long long clocks) {
  const long long start = clock64();
  while (clock64() - start < clocks) continue;
}
"""
DELAY_CLOCKS = 10_000_000  # 5 to 10 ms


@dataclass(frozen=True)
class Gpu:
    """A machine of `fastrnn._gpu`, and what tests do with its streams.

    The emulated one has no streams: its calls are over when they return.
    """

    name: str
    machine: _gpu.Machine
    to_host: Callable[[Any], np.ndarray]

    @property
    def is_real(self) -> bool:
        return self.name == "real"

    def stream(self) -> Any:
        """A stream that does not wait for the default one; None if emulated."""
        return self.machine.xp.cuda.Stream(non_blocking=True) if self.is_real else None

    def on(self, stream: Any) -> AbstractContextManager[Any]:
        """Work and memory of the block belong to the stream."""
        return nullcontext() if stream is None else stream

    def delay(self) -> None:
        """The current stream is busy for some milliseconds."""
        if self.is_real:
            kernel = self.machine.xp.RawKernel(_DELAY, "delay")
            kernel((1,), (1,), (np.int64(DELAY_CLOCKS),))

    def wait(self, *streams: Any) -> None:
        """Until the streams, or all of the device, have nothing left to do."""
        if not self.is_real:
            return
        for stream in streams:
            stream.synchronize()
        if not streams:
            self.machine.xp.cuda.runtime.deviceSynchronize()

    def capture(self, call: Callable[[], None]) -> Callable[[], None]:
        """`call`, captured into a CUDA graph: each call of the result replays it, and waits."""
        if not self.is_real:
            return call
        stream = self.stream()
        with stream:
            stream.begin_capture()
            try:
                call()
            finally:
                graph = stream.end_capture()

        def replay() -> None:
            graph.launch(stream)
            stream.synchronize()

        return replay


def emulated() -> Gpu:
    """Skips in a build without it."""
    emulation = pytest.importorskip(
        "fastrnn._emulation", reason="built without FASTRNN_TESTING, so without the emulated GPU"
    )
    machine = _gpu.Machine(np, emulation, lambda a: a.ctypes.data, lambda: 0, 0)
    return Gpu("emulated", machine, np.asarray)


def real() -> Gpu:
    """Skips, or fails where FASTRNN_REQUIRE_GPU is set, if there is none."""
    # `python -m bench gpu-check` must not pass because everything was skipped
    refuse = pytest.fail if os.environ.get("FASTRNN_REQUIRE_GPU") else pytest.skip
    if not _core.build_info()["cuda"]:
        refuse("built without CUDA kernels")
    try:
        import cupy

        cupy.cuda.runtime.getDeviceCount()
    except ImportError as error:
        refuse(f"CuPy cannot be imported: {error}")
    except cupy.cuda.runtime.CUDARuntimeError as error:
        refuse(f"no GPU: {error}")
    if os.environ.get("FASTRNN_GPU_POOL") == "off":  # sanitizers see arrays, not pieces of a pool
        cupy.cuda.set_allocator(None)
    return Gpu("real", _device.machine(0), cupy.asnumpy)


def torch_beside(gpu: Gpu) -> tuple[Any, str]:
    """torch, and the device where it computes what this GPU computes."""
    if not gpu.is_real:
        return pytest.importorskip("torch", reason="torch is not installed"), "cpu"
    refuse = pytest.fail if os.environ.get("FASTRNN_REQUIRE_GPU") else pytest.skip
    try:
        import torch
    except ImportError as error:
        refuse(f"torch cannot be imported: {error}")
    if not torch.cuda.is_available():
        refuse("torch sees no GPU")
    return torch, "cuda"
