"""The machine's own roofline: multiply-add peak, and how fast each memory level is read.

``python -m bench roofline`` prints it; every run stores it, and the report compares with it.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from bench.client import Worker
from bench.machine import cpus_for, machine_facts, machine_name
from bench.native import compile_probes, fma_gflops, seconds_together
from bench.record import Level, Roofline
from bench.sections import Grid, Section, to_markdown

_SECONDS = 0.02  # of one reading pass; the best of a few is taken
_REPEATS = 7
_FMA_SECONDS = 0.1
_SMALLEST_DRAM = 2**28


def cache_bytes(caches: dict[str, str]) -> dict[str, int]:
    """Sizes of the data caches from ``machine_facts()["caches"]``.

    Examples
    --------
    >>> cache_bytes({"L1 Data": "48K", "L1 Instruction": "32K", "L2 Unified": "2M"})
    {'L1': 49152, 'L2': 2097152}
    """
    sizes = {}
    for name, text in caches.items():
        found = re.fullmatch(r"(\d+)([KMG]?)", text)
        if found and not name.endswith("Instruction"):
            sizes[name.split()[0]] = int(found[1]) << {"": 0, "K": 10, "M": 20, "G": 30}[found[2]]
    return sizes


def read_sizes(caches: dict[str, int], threads: int, memory: int) -> dict[str, int]:
    """Bytes that each thread reads over and over to measure a level.

    L1 and L2 belong to a core: 2/3 and 1/2 of them. L3 is shared: 4 times L2 if twice of that fits
    for every thread. Memory: twice L3, at most a quarter of all there is.
    """
    sizes = {}
    if "L1" in caches:
        sizes["L1"] = caches["L1"] * 2 // 3
    if "L2" in caches:
        sizes["L2"] = caches["L2"] // 2
    if "L3" in caches:
        per_thread = min(4 * caches.get("L2", 2**20), caches["L3"] // (2 * threads))
        if per_thread > caches.get("L2", 0):
            sizes["L3"] = per_thread
    wanted = max(_SMALLEST_DRAM, 2 * max(caches.values(), default=0))
    sizes["DRAM"] = min(wanted, memory // 4 // threads)
    return sizes


def measure(threads: int, caches: dict[str, str]) -> dict[str, Any] | None:
    """Peak and bandwidths with so many threads, or None where the probes cannot be compiled.

    Returns
    -------
    dict
        As :class:`bench.record.Roofline`; ``capacity_bytes`` is what the cores of that many
        threads hold together at a level.
    """
    library, _ = compile_probes()
    if library is None:
        return None
    sizes = cache_bytes(caches)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    levels = []
    for name, size in read_sizes(sizes, threads, memory).items():
        capacity = sizes.get(name, memory) * (threads if name in ("L1", "L2") else 1)
        levels.append(
            {
                "name": name,
                "bytes_per_thread": size,
                "capacity_bytes": capacity,
                "gbytes_per_s": _read_rate(library, threads, size),
            }
        )
    peak = max(fma_gflops(library, threads, _FMA_SECONDS) for _ in range(3))
    return {"threads": threads, "fma_gflops": peak, "levels": levels}


def _read_rate(library: Any, threads: int, size: int) -> float:
    """GB/s of all threads together, each reading a buffer of its own again and again."""
    block = library.read_stream_block()
    count = max(1, size // 4 // block) * block
    buffers = [np.empty(0, np.float32)] * threads

    def fill(index: int) -> None:  # by the thread that reads: pages lie near who touches them first
        whole = np.zeros(count + 16, np.float32)
        skip = -whole.ctypes.data % 64 // 4
        buffers[index] = whole[skip : skip + count]
        buffers[index].fill(1.0)

    seconds_together(threads, fill)
    start = time.perf_counter()
    library.read_stream(buffers[0].ctypes.data, count, 1)
    once = max(time.perf_counter() - start, 1e-7)
    repeats = max(1, int(_SECONDS / once))
    best = min(
        seconds_together(
            threads, lambda i: library.read_stream(buffers[i].ctypes.data, count, repeats)
        )
        for _ in range(_REPEATS)
    )
    return 1e-9 * 4 * count * repeats * threads / best


def ask(worker: Worker, caches: dict[str, str]) -> Roofline | None:
    """The roofline that a canary's worker measures, or None where it cannot."""
    measured = worker.call("roofline", caches)
    if measured is None:
        return None
    levels = [Level(**level) for level in measured.pop("levels")]
    return Roofline(**measured, levels=levels)


def grid(rooflines: list[Roofline]) -> Grid:
    """A table with a row for each thread count."""
    names = list(dict.fromkeys(level.name for r in rooflines for level in r.levels))
    rows = []
    for roofline in rooflines:
        rates = {level.name: f"{level.gbytes_per_s:.1f}" for level in roofline.levels}
        row = [str(roofline.threads), f"{roofline.fma_gflops:.0f}"]
        rows.append([*row, *(rates.get(name, "-") for name in names)])
    return Grid(["threads", "FMA peak, GFLOP/s", *(f"{name}, GB/s" for name in names)], rows)


def print_roofline(threads: list[int], out: Path | None) -> None:
    """Measure in a process of its own for each thread count, print a table, write a file.

    Raises
    ------
    RuntimeError
        When the probes cannot be compiled here.
    """
    facts = machine_facts()
    found = []
    for count in threads:
        print(f"bench: roofline with {count} thread(s), a few seconds", file=sys.stderr)
        worker = Worker(None, count, cpus_for(count))
        try:
            roofline = ask(worker, facts["caches"])
            if roofline is None:
                raise RuntimeError(f"bench: no roofline: {worker.call('fma_unavailable')}")
        finally:
            worker.close()
        found.append(roofline)
    print(to_markdown([Section(machine_name(facts), [grid(found)], level=1)]), end="")
    if out is not None:
        document = {"machine": facts, "rooflines": [asdict(roofline) for roofline in found]}
        out.write_text(json.dumps(document, indent=1) + "\n")
        print(f"bench: wrote {out}", file=sys.stderr)
