"""Registers, spills and shared memory of every CUDA kernel, as the compiler reports them.

No GPU is needed: each file of csrc/cuda/kernels is compiled for one architecture, and what
``ptxas -v`` says of its kernels is read. Shared memory is a choice of the plan at run time
(csrc/cuda/plan.h); what is reported here is the static part.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

KERNELS = Path(__file__).parents[2] / "csrc" / "cuda" / "kernels"
# csrc/cuda/kernels.cuh promises blocks of 512 threads: 65,536 registers / 512
MOST_REGISTERS = 128
TIERS = ("resident", "grid", "streamed")
_STORAGES = {
    "f": "float32",
    "d": "float64",
    "8Bfloat16": "bfloat16",
    "7Float16": "float16",
    "13TensorFloat32": "tf32",
}


@dataclass(frozen=True)
class Resources:
    """One kernel."""

    direction: str
    cell: str
    storage: str
    tier: str
    registers: int
    stack: int  # bytes of local memory that are no spills
    spilled: int  # bytes stored and loaded again
    shared: int  # static bytes


def nvcc() -> str | None:
    """The CUDA compiler, if there is one."""
    return shutil.which("nvcc")


def measure(architecture: int, files: list[Path] | None = None) -> list[Resources]:
    """Compile the kernels and read what became of them.

    Raises
    ------
    RuntimeError
        There is no nvcc, or it failed.
    """
    compiler = nvcc()
    if compiler is None:
        raise RuntimeError("bench: nvcc is not on the PATH; gpu-resources compiles the kernels")
    found = []
    for source in sorted(KERNELS.glob("*.cu")) if files is None else files:
        with tempfile.TemporaryDirectory() as folder:
            flags = ["-std=c++17", "-O3", "-fmad=false", f"-arch=sm_{architecture}", "-Xptxas=-v"]
            command = [compiler, *flags, "-cubin", "-o", f"{folder}/kernels.cubin", str(source)]
            done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"bench: nvcc could not compile {source.name}: {done.stderr}")
        found += parse(done.stderr + done.stdout)
    return found


def parse(text: str) -> list[Resources]:
    """The scans in what ``ptxas -v`` wrote."""
    found = []
    for block in text.split("Compiling entry function '")[1:]:
        name = block.partition("'")[0]
        spills = re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+)", block)
        used = re.search(r"Used (\d+) registers", block)
        shared = re.search(r"(\d+) bytes smem", block)
        # scan_<direction><cells::Cell, storage, Tier>, mangled
        kernel = re.search(
            r"scan_(forward|backward)I.*?cells\d*(\w+?)E+(f|d|NS0_8Bfloat16E|NS0_7Float16E|NS0_13TensorFloat32E)"
            r"LNS0_4TierE(\d)E",
            name,
        )
        if kernel is None or spills is None or used is None:
            continue
        direction, cell, storage, tier = kernel.groups()
        stack, stored, loaded = (int(number) for number in spills.groups())
        storage = _STORAGES[storage.removeprefix("NS0_").removesuffix("E")]
        found.append(
            Resources(
                direction,
                _cell(cell),
                storage,
                TIERS[int(tier)],
                int(used.group(1)),
                stack,
                stored + loaded,
                int(shared.group(1)) if shared else 0,
            )
        )
    return found


def _cell(mangled: str) -> str:
    for part, name in (
        ("Lstm", "lstm"),
        ("Gru", "gru"),
        ("Tanh", "rnn_tanh"),
        ("Relu", "rnn_relu"),
        ("Linear", "linear"),
    ):
        if part in mangled:
            return name
    return mangled


def table(found: list[Resources]) -> str:
    """All kernels, a line each, those with the most registers first."""
    lines = ["direction  cell      storage   tier      registers  stack  spilled  shared"]
    lines += [
        f"{r.direction:<10} {r.cell:<9} {r.storage:<9} {r.tier:<9} "
        f"{r.registers:>9} {r.stack:>6} {r.spilled:>8} {r.shared:>7}"
        for r in sorted(found, key=lambda r: -r.registers)
    ]
    spilling = sum(r.spilled > 0 for r in found)
    most = max((r.registers for r in found), default=0)
    return "\n".join([*lines, f"{len(found)} kernels, {spilling} spill, {most} registers at most"])
