"""What the machine can do at this moment: multiply-add ceiling and SGEMM rate.

Sampled again and again during a run. The best sample of the ceiling is what "% of peak" refers to;
a sample that falls behind shows that something else was using the machine.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

_SGEMM_SIZE = 1536  # 7.2 GFLOP a product: tens of ms on one core, far too large for any cache luck
_SGEMM_REPEATS = 3
_FMA_SECONDS = 0.02
_FMA_REPEATS = 3


class Canary:
    """The two probes for one thread count; lives in a worker of its own, like a peer."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        rng = np.random.default_rng(0)
        size = (_SGEMM_SIZE, _SGEMM_SIZE)
        self._a = rng.standard_normal(size, dtype=np.float32)
        self._b = rng.standard_normal(size, dtype=np.float32)
        self._out = np.empty(size, np.float32)
        self._library, self._reason = _compile_fma_peak()

    def fma_unavailable(self) -> str | None:
        """Why there is no multiply-add ceiling; None when there is one."""
        return self._reason

    def sample(self) -> dict[str, float | None]:
        """GFLOP/s of both probes now: the best of a few repeats of each."""
        fma = max(self._fma() for _ in range(_FMA_REPEATS)) if self._library else None
        np.matmul(self._a, self._b, out=self._out)
        sgemm = max(self._sgemm() for _ in range(_SGEMM_REPEATS))
        return {"sgemm_gflops": sgemm, "fma_gflops": fma}

    def _sgemm(self) -> float:
        start = time.perf_counter()
        np.matmul(self._a, self._b, out=self._out)
        return 2e-9 * _SGEMM_SIZE**3 / (time.perf_counter() - start)

    def _fma(self) -> float:
        """All threads start together; the rate is all their work over the slowest one's time."""
        assert self._library is not None
        library = self._library
        repeats = 100_000
        start = time.perf_counter()
        library.fma_peak(repeats, 1.0, 0.0)
        repeats = int(repeats * _FMA_SECONDS / (time.perf_counter() - start)) + 1
        seconds = [0.0] * self._threads
        gate = threading.Barrier(self._threads)

        def work(index: int) -> None:
            gate.wait()
            begin = time.perf_counter()
            library.fma_peak(repeats, 1.0, 0.0)  # ctypes releases the GIL
            seconds[index] = time.perf_counter() - begin

        threads = [threading.Thread(target=work, args=(i,)) for i in range(self._threads)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return float(1e-9 * self._threads * library.fma_peak_flops(repeats) / max(seconds))


def _compile_fma_peak() -> tuple[ctypes.CDLL | None, str | None]:
    """The compiled probe, or the reason why there is none (then SGEMM is the only yardstick)."""
    candidates = (os.environ.get("CC", "cc"), "gcc", "clang")
    compiler = next(filter(None, map(shutil.which, candidates)), None)
    if compiler is None:
        return None, "no C compiler found to build bench/fma_peak.c"
    source = Path(__file__).with_name("fma_peak.c")
    with tempfile.TemporaryDirectory(prefix="fma_peak_") as folder:
        target = Path(folder) / "fma_peak.so"
        flags = ["-O3", "-march=native", "-ffp-contract=fast", "-shared", "-fPIC"]
        done = subprocess.run(
            [compiler, *flags, str(source), "-o", str(target)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            lines = done.stderr.strip().splitlines() or ["no message"]
            return None, f"{compiler} could not build bench/fma_peak.c: {lines[-1]}"
        library = ctypes.CDLL(str(target))  # stays mapped after the folder is gone
    library.fma_peak.argtypes = [ctypes.c_long, ctypes.c_float, ctypes.c_float]
    library.fma_peak.restype = ctypes.c_float
    library.fma_peak_flops.argtypes = [ctypes.c_long]
    library.fma_peak_flops.restype = ctypes.c_double
    return library, None
