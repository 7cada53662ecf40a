"""What the machine can do at this moment: multiply-add ceiling and SGEMM rate.

Sampled again and again during a run. The best sample of the ceiling is what "% of peak" refers to;
a sample that falls behind shows that something else was using the machine.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from bench import roofline
from bench.native import compile_probes, fma_gflops

_SGEMM_SIZE = 1536  # 7.2 GFLOP a product: tens of ms on one core, far too large for any cache luck
_SGEMM_REPEATS = 3
_FMA_SECONDS = 0.02
_FMA_REPEATS = 3


class Canary:
    """The probes for one thread count; lives in a worker of its own, like a peer."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        rng = np.random.default_rng(0)
        size = (_SGEMM_SIZE, _SGEMM_SIZE)
        self._a = rng.standard_normal(size, dtype=np.float32)
        self._b = rng.standard_normal(size, dtype=np.float32)
        self._out = np.empty(size, np.float32)
        self._library, self._reason = compile_probes()

    def fma_unavailable(self) -> str | None:
        """Why there is no multiply-add ceiling (SGEMM is the only yardstick then), or None."""
        return self._reason

    def roofline(self, caches: dict[str, str]) -> dict[str, Any] | None:
        """The roofline of the machine, see `bench.roofline.measure`."""
        return roofline.measure(self._threads, caches)

    def sample(self) -> dict[str, float | None]:
        """GFLOP/s of both probes now: the best of a few repeats of each."""
        fma = None
        if self._library is not None:
            fma = max(
                fma_gflops(self._library, self._threads, _FMA_SECONDS) for _ in range(_FMA_REPEATS)
            )
        np.matmul(self._a, self._b, out=self._out)
        sgemm = max(self._sgemm() for _ in range(_SGEMM_REPEATS))
        return {"sgemm_gflops": sgemm, "fma_gflops": fma}

    def _sgemm(self) -> float:
        start = time.perf_counter()
        np.matmul(self._a, self._b, out=self._out)
        return 2e-9 * _SGEMM_SIZE**3 / (time.perf_counter() - start)
