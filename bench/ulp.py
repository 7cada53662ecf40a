"""The error table of the kernels' tanh and sigmoid: ``python -m bench.ulp``.

Walks all 2^32 float32 bit patterns through the running kernels (``FASTRNN_ISA`` chooses others) and
compares with NumPy's float64 functions, whose own error, 1e-15, is 1e-8 of what is measured. For
float64 it takes 2^27 inputs, evenly spaced bit patterns within each range of the table, and NumPy's
long double. Prints a Markdown table and a verdict; exits with 1 when an error exceeds its bound.

Errors count in units in the last place (ULP): the spacing of the dtype's numbers in the binade of
the true result. Where the true result is below 1.01 times the smallest normal number, the kernels
may give 0 (they flush subnormal numbers); there the absolute error must not exceed that limit.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.machine import usable_cpus
from bench.progress import Progress
from fastrnn import _core

Array = NDArray[Any]

FUNCTIONS = {"tanh": _core._tanh, "sigmoid": _core._sigmoid}
BOUND = {"float32": 1.5, "float64": 2.0}
MAGNITUDES = {  # borders of the table's ranges of |x|, powers of two
    "float32": [0.0, 2**-126, 2**-13, 2**-3, 0.25, 0.5, 1, 2, 4, 8, 16, 64, 128, np.inf],
    "float64": [0.0, 2**-1022, 2**-28, 2**-3, 0.25, 0.5, 1, 2, 4, 8, 16, 64, 1024, np.inf],
}
RANGE = {"tanh": ((0.0, 1.0), (-1.0, 0.0)), "sigmoid": ((0.5, 1.0), (0.0, 0.5))}  # x >= 0, x <= 0
_BITS = {"float32": np.uint32, "float64": np.uint64}
_WIDER: dict[str, Any] = {"float32": np.float64, "float64": np.longdouble}
_FLUSHED = 1.01  # of the smallest normal number
_FLOAT64_INPUTS = 2**27
_BLOCK = 2**13  # inputs at a time: their dozen arrays stay in L2 and below what malloc maps afresh
_TASK = 2**25  # inputs between two signs of progress


@dataclass
class Errors:
    """What was found among some inputs, or among several such sets together."""

    inputs: int = 0
    counted: int = 0  # those whose error counts in ULP
    total: float = 0.0
    worst: float = 0.0
    worst_at: float = 0.0
    flushed: float = 0.0  # largest absolute error of the others
    faults: dict[str, float] = field(default_factory=dict)  # broken promise -> an input

    def add(self, other: Errors) -> None:
        """Count another set's inputs too."""
        self.inputs += other.inputs
        self.counted += other.counted
        self.total += other.total
        if other.worst > self.worst:
            self.worst, self.worst_at = other.worst, other.worst_at
        self.flushed = max(self.flushed, other.flushed)
        self.faults = other.faults | self.faults


@dataclass(frozen=True)
class Task:
    """Every `step`-th bit pattern in [first, last) and the same with the sign bit set."""

    function: str
    dtype: str
    row: int  # of the table
    first: int
    last: int
    step: int

    def run(self) -> tuple[Errors, Errors]:
        """Errors at the positive inputs and at the negative ones."""
        positive, negative = Errors(), Errors()
        for start in range(self.first, self.last, self.step * _BLOCK):
            stop = min(start + self.step * _BLOCK, self.last)
            bits = np.arange(start, stop, self.step, dtype=_BITS[self.dtype])
            x = bits.view(self.dtype)
            for errors, one in zip((positive, negative), measure(self.function, x), strict=True):
                errors.add(one)
        return positive, negative


def exact(function: str, x: Array) -> tuple[Array, Array]:
    """The function at x >= 0 and at -x, in a wider dtype."""
    x = x.astype(_WIDER[x.dtype.name])
    if function == "tanh":
        y = np.tanh(x)
        return y, -y
    e = np.exp(-x)
    return 1 / (1 + e), e / (1 + e)  # neither subtracts


def measure(function: str, x: Array) -> tuple[Errors, Errors]:
    """Errors at x >= 0 and at -x, for contiguous x of one dtype."""
    kernel = FUNCTIONS[function]
    got = kernel(x), kernel(-x)
    if function == "tanh":
        odd = (got[1].view(_BITS[x.dtype.name]) ^ got[0].view(_BITS[x.dtype.name])) << 1 == 0
        faults = _first(x, ~odd, "tanh(-x) is not -tanh(x)")
    else:
        faults = {}
    results = []
    parts = zip((x, -x), got, exact(function, x), RANGE[function], strict=True)
    for argument, y, true, (low, high) in parts:
        errors = _compare(argument, y, true)
        outside = ~((low <= y) & (y <= high))
        errors.faults |= _first(argument, outside, f"{function} leaves its range") | faults
        results.append(errors)
    return results[0], results[1]


def _compare(x: Array, y: Array, true: Array) -> Errors:
    limits = np.finfo(y.dtype)
    difference = np.abs(y - true)
    size = np.abs(true)
    normal = size >= _FLUSHED * limits.tiny
    ulp = np.ldexp(true.dtype.type(1), np.frexp(size)[1] - (limits.nmant + 1))
    error = np.where(normal, difference / np.where(normal, ulp, 1), 0)
    at = int(np.argmax(error))  # NaN wins, and fails every bound
    return Errors(
        inputs=x.size,
        counted=int(np.count_nonzero(normal)),
        total=float(error.sum(dtype=np.float64)),
        worst=_or_infinite(error[at]),
        worst_at=float(x[at]),
        flushed=_or_infinite(np.where(normal, 0, difference).max()),
    )


def _or_infinite(error: Any) -> float:
    return float("inf") if np.isnan(error) else float(error)


def _first(x: Array, wrong: Array, promise: str) -> dict[str, float]:
    return {promise: float(x[np.argmax(wrong)])} if wrong.any() else {}


def special_faults(function: str, dtype: str, stride: int) -> dict[str, float]:
    """Broken promises at NaN (every bit pattern in float32), the infinities and the zeros."""
    kernel, bits = FUNCTIONS[function], _BITS[dtype]
    infinity = int(np.array(np.inf, dtype).view(bits))
    end = 2 ** (8 * np.dtype(dtype).itemsize - 1)
    step = stride if dtype == "float32" else (end - infinity) // 2**22 | 1
    faults: dict[str, float] = {}
    for start in range(infinity + 1, end, step * _BLOCK):
        nan = np.arange(start, min(start + step * _BLOCK, end), step, dtype=bits)
        for x in (nan.view(dtype), (nan | bits(end)).view(dtype)):
            faults |= _first(x, ~np.isnan(kernel(x)), f"{function}(NaN) is not NaN")
    x = np.array([np.inf, -np.inf, 0.0, -0.0], dtype)
    right = {"tanh": [1.0, -1.0, 0.0, -0.0], "sigmoid": [1.0, 0.0, 0.5, 0.5]}[function]
    wrong = kernel(x).view(bits) != np.array(right, dtype).view(bits)
    return faults | _first(x, wrong, f"{function} of an infinity or a zero is not exact")


def tasks(function: str, dtype: str, stride: int) -> Iterator[Task]:
    """The whole walk over x >= 0 without NaN, in pieces that lie in one row of the table."""
    borders = [int(b) for b in np.array(MAGNITUDES[dtype], dtype).view(_BITS[dtype])]
    borders[-1] += 1  # infinity belongs to the last row
    for row, (low, high) in enumerate(pairwise(borders)):
        step = stride
        if dtype == "float64":
            samples = max(1, _FLOAT64_INPUTS // 2 // stride // (len(borders) - 1))
            step = ((high - low) // samples) | 1  # odd: all low bits take part
        for first in range(low, high, step * _TASK):
            yield Task(function, dtype, row, first, min(first + step * _TASK, high), step)


def table(dtype: str, rows: Sequence[tuple[Errors, Errors]]) -> str:
    """One function's table in Markdown: ranges of x from the most negative to the largest."""
    lines = [
        "| x | inputs | max ULP | at x | mean ULP |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    names = [f"{value:.4g}" for value in MAGNITUDES[dtype]]
    ends = list(pairwise(names))
    signed = [(f"-{b} .. -{a}", rows[i][1]) for i, (a, b) in enumerate(ends)][::-1]
    signed += [(f"{a} .. {b}", rows[i][0]) for i, (a, b) in enumerate(ends)]
    for name, errors in signed:
        found = ["absolute", "", ""]  # all next to 0
        if errors.counted:
            at = repr(errors.worst_at) if errors.worst else ""
            found = [f"{errors.worst:.4f}", at, f"{errors.total / errors.counted:.4f}"]
        lines.append(f"| {name} | {errors.inputs:,} | {' | '.join(found)} |")
    return "\n".join(lines)


def verdict(function: str, dtype: str, all_errors: Errors) -> tuple[str, bool]:
    """One line, and whether every promise held."""
    bound, smallest = BOUND[dtype], float(np.finfo(dtype).tiny)
    broken = [f"{promise} (x = {x!r})" for promise, x in all_errors.faults.items()]
    if all_errors.worst > bound:
        broken.append(f"above the bound of {bound} ULP")
    if all_errors.flushed > _FLUSHED * smallest:
        allowed = f"{_FLUSHED} * {smallest:.3g}"
        broken.append(f"error {all_errors.flushed:.3g} next to 0, allowed {allowed}")
    mean = all_errors.total / max(all_errors.counted, 1)
    others = all_errors.inputs - all_errors.counted
    line = (
        f"{function} {dtype} on {_core.isa()}: max {all_errors.worst:.4f} ULP at "
        f"{all_errors.worst_at!r}, mean {mean:.4f} over {all_errors.counted:,} inputs, bound "
        f"{bound}; the other {others:,} are next to 0, absolute error at most "
        f"{all_errors.flushed:.3g}; NaN, infinities, zeros, range and symmetry checked: "
    )
    return line + ("; ".join(broken) if broken else "holds"), not broken


def run(function: str, dtype: str, stride: int, threads: int) -> bool:
    """Measure one function, print its table and verdict."""
    work = list(tasks(function, dtype, stride))
    rows = [(Errors(), Errors()) for _ in MAGNITUDES[dtype][1:]]
    progress = Progress(len(work))
    with ThreadPoolExecutor(threads) as pool:
        running = {pool.submit(task.run): task for task in work}
        try:
            for done in as_completed(running):
                task = running[done]
                positive, negative = done.result()
                rows[task.row][0].add(positive)
                rows[task.row][1].add(negative)
                borders = np.array([task.first, task.last - 1], _BITS[dtype]).view(dtype)
                worst = max(positive.worst, negative.worst)
                progress(
                    f"{function} {dtype} {borders[0]:.6g} <= |x| <= {borders[1]:.6g}: "
                    f"max {worst:.4f} ULP",
                    1,
                )
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
        finally:
            progress.close()
    everything = Errors(faults=special_faults(function, dtype, stride))
    for positive, negative in rows:
        everything.add(positive)
        everything.add(negative)
    line, holds = verdict(function, dtype, everything)
    print(f"\n{table(dtype, rows)}\n\n{line}\n", flush=True)
    return holds


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; 0 if every bound holds, 1 if not, 2 if it cannot be measured here."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.ulp",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--function", choices=[*FUNCTIONS, "both"], default="both")
    parser.add_argument("--dtype", choices=list(BOUND), default="float32")
    parser.add_argument("--stride", type=int, default=1, help="take every N-th input; default: 1")
    parser.add_argument("--threads", type=int, default=len(usable_cpus()))
    options = parser.parse_args(arguments)
    for name in ("stride", "threads"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} is {getattr(options, name)}, expected at least 1")
    if np.finfo(_WIDER[options.dtype]).nmant < np.finfo(options.dtype).nmant + 10:
        print(
            "bench.ulp: float64 needs a long double wider than float64, which this machine's NumPy "
            "does not have; run it on x86-64 Linux",
            file=sys.stderr,
        )
        return 2
    chosen = list(FUNCTIONS) if options.function == "both" else [options.function]
    held = [run(f, options.dtype, options.stride, options.threads) for f in chosen]
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
