"""What ``recompute=True`` saves and costs: ``python -m bench.recompute``.

One training step (forward, then backward from a given d_y to x and every weight) of one layer,
float32, with everything kept and with recomputation, for each cell:

- memory, in a process of its own each: the most that was resident during three steps (VmHWM) less
  what was resident before the first one (VmRSS), when x and d_y were there; and ``tape.nbytes``;
- time, both in one process, in turn (A B B A ...): medians, and the median of the ratios of
  neighbours.

Before the clock runs, all results of the two are compared byte by byte. Prints a Markdown table and
writes a JSON file; ``--show FILE`` prints the table of an old one.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from bench.machine import git_facts, machine_facts, machine_name, usable_cpus

CELLS = ("LSTM", "GRU", "RNN")
SCHEMA = "fastrnn-bench-recompute/1"
_STEPS = 3  # of the process whose memory is measured: the second recycles the first one's blocks


class Step:
    """A layer and its arrays."""

    def __init__(self, cell: str, shape: str, threads: int) -> None:
        import fastrnn

        B, T, I, H = map(int, shape.split("x"))
        fastrnn.set_num_threads(threads)
        rng = np.random.default_rng(0)
        self.layer = getattr(fastrnn, cell)(I, H, rng=0)
        self.x = rng.standard_normal((T, B, I), dtype=np.float32)
        self.d_y = rng.standard_normal((T, B, H), dtype=np.float32)

    def __call__(self, recompute: bool) -> list[Any]:
        """The tape's size, and every result."""
        y, state, tape = self.layer.forward(self.x, recompute=recompute)
        d_x, d_state, grads = self.layer.backward(tape, self.d_y)
        return [tape.nbytes, y, *_flat(state), d_x, *_flat(d_state), *grads.values()]


def _flat(state: Any) -> tuple[Any, ...]:
    return state if isinstance(state, tuple) else (state,)


def _status_bytes(name: str) -> int:
    """A field of /proc/self/status that counts kB, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) * 1024


def memory(step: Step, recompute: bool) -> dict[str, int]:
    """For a process that has called nothing yet."""
    before = _status_bytes("VmRSS")
    tape = 0
    for _ in range(_STEPS):
        tape = step(recompute)[0]
    return {"added_bytes": _status_bytes("VmHWM") - before, "tape_bytes": tape}


def times(step: Step, rounds: int) -> dict[str, list[float]]:
    """Seconds of the steps of each kind, in turn; the first round is not counted."""
    plain, less = step(False), step(True)
    for a, b in zip(plain[1:], less[1:], strict=True):
        if a.tobytes() != b.tobytes():
            raise RuntimeError("bench: a result differs with recompute=True")
    del plain, less
    found: dict[str, list[float]] = {"kept": [], "recomputed": []}
    for turn in range(rounds + 1):
        for name in ("kept", "recomputed") if turn % 2 else ("recomputed", "kept"):
            start = time.perf_counter()
            step(name == "recomputed")
            took = time.perf_counter() - start
            if turn:
                found[name].append(took)
    return found


def _in_new_process(cell: str, options: argparse.Namespace, what: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.recompute", "--only", f"{cell}:{what}"]
    command += ["--shape", options.shape, "--threads", str(options.threads)]
    command += ["--rounds", str(options.rounds)]
    print(f"bench: {cell}, {what}", file=sys.stderr, flush=True)
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"bench: {cell}, {what}: the process ended with {done.returncode}")
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure everything."""
    cells = {
        cell: {
            what: _in_new_process(cell, options, what) for what in ("kept", "recomputed", "times")
        }
        for cell in CELLS
    }
    machine = machine_facts()
    return {
        "schema": SCHEMA,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "git": git_facts(),
        "machine_name": machine_name(machine),
        "machine": machine,
        "shape": options.shape,
        "threads": options.threads,
        "cells": cells,
    }


def table(document: dict[str, Any]) -> str:
    """Markdown."""
    lines = [
        f"Training step, (B,T,I,H) = ({document['shape'].replace('x', ',')}), float32, "
        f"{document['threads']} threads, commit {document['git']['commit']}:",
        "",
        "| cell | tape, MB | memory added, MB | less | time, ms | slower |",
        "|---|---|---|---|---|---|",
    ]
    for cell, found in document["cells"].items():
        kept, less = found["kept"], found["recomputed"]
        a, b = found["times"]["kept"], found["times"]["recomputed"]
        slower = statistics.median(y / x for x, y in zip(a, b, strict=True))
        lines.append(
            f"| {cell} | {kept['tape_bytes'] / 1e6:.0f} -> {less['tape_bytes'] / 1e6:.0f} "
            f"| {kept['added_bytes'] / 1e6:.0f} -> {less['added_bytes'] / 1e6:.0f} "
            f"| {kept['added_bytes'] / less['added_bytes']:.2f}x "
            f"| {1e3 * statistics.median(a):.0f} -> {1e3 * statistics.median(b):.0f} "
            f"| {slower:.2f}x |"
        )
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """2 for what the user can mend."""
    parser = argparse.ArgumentParser(prog="python -m bench.recompute", description=__doc__)
    parser.add_argument("--shape", default="256x365x32x256", help="BxTxIxH")
    parser.add_argument("--threads", type=int, default=len(usable_cpus()))
    parser.add_argument("--rounds", type=int, default=11, help="timed steps of each kind")
    parser.add_argument("--out", type=Path, help="default: bench/results/MACHINE/...")
    parser.add_argument("--show", type=Path, metavar="FILE", help="print an old file's table")
    parser.add_argument("--only", help=argparse.SUPPRESS)  # one measurement, in this process
    options = parser.parse_args(arguments)
    sizes = options.shape.split("x")
    if len(sizes) != 4 or not all(size.isdecimal() and int(size) > 0 for size in sizes):
        print(f"bench: shape is {options.shape!r}, expected BxTxIxH, such as 32x64x64x128")
        return 2
    if options.show is not None:
        print(table(json.loads(options.show.read_text())))
        return 0
    if options.only is not None:
        cell, what = options.only.split(":")
        step = Step(cell, options.shape, options.threads)
        found = times(step, options.rounds) if what == "times" else memory(step, what != "kept")
        print(json.dumps(found))
        return 0
    document = run(options)
    path = options.out
    if path is None:
        folder = Path(__file__).resolve().parent / "results" / document["machine_name"]
        path = folder / f"recompute-{document['date'][:10]}-{document['git']['commit']}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    new.write_text(json.dumps(document, indent=1) + "\n")
    os.replace(new, path)
    print(f"bench: wrote {path}", file=sys.stderr)
    print(table(document))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
