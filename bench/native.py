"""The compiled probes of ``roofline.c``, run by several threads at once."""

from __future__ import annotations

import ctypes
import functools
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

_SOURCE = Path(__file__).with_name("roofline.c")


@functools.cache
def compile_probes() -> tuple[ctypes.CDLL | None, str | None]:
    """The compiled probes, or the reason why there are none."""
    candidates = (os.environ.get("CC", "cc"), "gcc", "clang")
    compiler = next(filter(None, map(shutil.which, candidates)), None)
    if compiler is None:
        return None, f"no C compiler found to build bench/{_SOURCE.name}"
    with tempfile.TemporaryDirectory(prefix="roofline_") as folder:
        target = Path(folder) / "roofline.so"
        flags = ["-O3", "-march=native", "-ffp-contract=fast", "-shared", "-fPIC"]
        done = subprocess.run(
            [compiler, *flags, str(_SOURCE), "-o", str(target)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            lines = done.stderr.strip().splitlines() or ["no message"]
            return None, f"{compiler} could not build bench/{_SOURCE.name}: {lines[-1]}"
        library = ctypes.CDLL(str(target))  # stays mapped after the folder is gone
    library.fma_peak.argtypes = [ctypes.c_long, ctypes.c_float, ctypes.c_float]
    library.fma_peak.restype = ctypes.c_float
    library.fma_peak_flops.argtypes = [ctypes.c_long]
    library.fma_peak_flops.restype = ctypes.c_double
    library.read_stream.argtypes = [ctypes.c_void_p, ctypes.c_long, ctypes.c_long]
    library.read_stream.restype = ctypes.c_float
    library.read_stream_block.restype = ctypes.c_long
    return library, None


def seconds_together(threads: int, work: Callable[[int], None]) -> float:
    """Run ``work(index)`` in so many threads that start together; the slowest one's seconds.

    ctypes releases the GIL, so Python threads do.
    """
    seconds = [0.0] * threads
    gate = threading.Barrier(threads)

    def timed(index: int) -> None:
        gate.wait()
        begin = time.perf_counter()
        work(index)
        seconds[index] = time.perf_counter() - begin

    running = [threading.Thread(target=timed, args=(i,)) for i in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return max(seconds)


def fma_gflops(library: ctypes.CDLL, threads: int, seconds: float) -> float:
    """Rate of independent multiply-adds in all threads over about so many seconds."""
    repeats = 100_000
    first = seconds_together(1, lambda _: library.fma_peak(repeats, 1.0, 0.0))
    repeats = int(repeats * seconds / first) + 1
    taken = seconds_together(threads, lambda _: library.fma_peak(repeats, 1.0, 0.0))
    return float(1e-9 * threads * library.fma_peak_flops(repeats) / taken)
