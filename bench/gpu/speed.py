"""Times on a GPU beside torch's, and beside a floor.

``python -m bench.gpu.speed FILE [--compiled] [--costs FILE]`` prints a table and writes everything
as JSON, after every row. `--compiled` times a loop through torch.compile at one small shape
instead; `--costs` is what the micro-benchmarks found, for a second floor.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from bench.gpu import cudnn, floors, layers, scans
from bench.gpu.shapes import GRID, NAMED, SMALL, Shape
from bench.gpu.timing import on_cupy, on_torch

HEADER = (
    f"{'layer, milliseconds':<38} {'pass':<17} {'floor':>8} {'fastrnn':>9} {'%floor':>6} "
    f"{'public':>9} {'cuDNN':>9} {'tf32':>9} {'loop':>9}  tier; algorithm of cuDNN (inferred)"
)
PASSES = ("forward", "forward+backward")


def attempt(make: Callable[[], layers.Calls], timer: Callable[[Any], Any]) -> dict[str, Any]:
    """Both passes of a contender, or why there is no time."""
    found: dict[str, Any] = {}
    try:
        calls = make()
    except Exception as error:  # another library's: what it raises is not ours to know
        return {name: {"error": f"{type(error).__name__}: {error}"} for name in PASSES}
    for name in PASSES:
        try:
            begin = time.monotonic()
            calls[name]()
            first = time.monotonic() - begin
            found[name] = timer(calls[name]) | {"first_call_s": round(first, 3)}
        except Exception as error:
            found[name] = {"error": f"{type(error).__name__}: {error}"}
    return found


def chosen_algorithms(shape: Shape) -> dict[str, str]:
    """What torch asks cuDNN for, forward and backward."""
    sizes = (shape.cell, shape.dtype, shape.B, shape.I, shape.H)
    return {
        name: cudnn.algorithm(*sizes, packed=shape.ragged, backward=name == "backward")
        for name in ("forward", "backward")
    }


def floors_of(shape: Shape, chips: dict[str, floors.Chip]) -> dict[str, Any]:
    """Milliseconds of both passes and microseconds per step, for each chip."""
    sizes = (shape.cell, shape.dtype, shape.lengths())
    found: dict[str, Any] = {}
    for name, chip in chips.items():
        whole = [
            floors.layer_floor(chip, *sizes, shape.T, shape.I, shape.H, train)
            for train in (False, True)
        ]
        found[name] = {
            p: {"ms": f.us / 1e3, "how": f.how} for p, f in zip(PASSES, whole, strict=True)
        }
        for p, backward, train in (
            ("inference", False, False), ("forward", False, True), ("backward", True, True),
        ):  # fmt: skip
            scan = floors.scan_floor(chip, *sizes, shape.H, backward, train)
            found[name][f"scan {p}"] = {"us_per_step": scan.us / shape.T, "how": scan.how}
    return found


def contenders(shape: Shape) -> dict[str, Any]:
    """All times of one layer."""
    import torch

    from fastrnn import _core

    found = {"scan": scans.time_tiers(shape)}
    found["fastrnn"] = attempt(lambda: layers.stack(shape, _core), on_torch)
    if shape.dtype in ("float32", "float64"):
        found["public"] = attempt(lambda: layers.public(shape), on_cupy)
    # torch lets cuDNN round float32 to TF32 unless told otherwise; fastrnn does not
    torch.backends.cudnn.allow_tf32 = False
    found["cudnn"] = attempt(lambda: layers.cudnn(shape), on_torch)
    if shape.dtype == "float32":
        torch.backends.cudnn.allow_tf32 = True
        found["cudnn_tf32"] = attempt(lambda: layers.cudnn(shape), on_torch)
    steps = min(shape.T, layers.LOOP_STEPS)
    short = replace(shape, T=steps, ragged=False)
    found["loop"] = attempt(lambda: layers.loop(short), on_torch)
    for timed in found["loop"].values():  # of all steps, from a few
        if "ms" in timed:
            timed["ms"] *= shape.T / steps
            timed["least_ms"] *= shape.T / steps
            timed["timed_steps"] = steps
    return found


def compiled(shape: Shape) -> dict[str, Any]:
    """A loop through torch.compile, beside the others at the same shape."""
    from fastrnn import _core

    return {
        "loop": attempt(lambda: layers.loop(shape), on_torch),
        "fastrnn": attempt(lambda: layers.stack(shape, _core), on_torch),
        "cudnn": attempt(lambda: layers.cudnn(shape), on_torch),
        "compiled": attempt(lambda: layers.loop(shape, compiled=True), on_torch),
    }


def lines_of(row: dict[str, Any]) -> list[str]:
    """The table's lines of one layer."""
    floor = row["floors"].get("measured", row["floors"]["published"])
    lines = []
    for name in PASSES:

        def ms(who: str, name: str = name) -> float | None:
            return row["times"].get(who, {}).get(name, {}).get("ms")

        ours, least = ms("fastrnn"), floor[name]["ms"]
        share = "-" if ours is None else f"{100 * least / ours:.0f}"
        shown = [
            f"{'-' if value is None else format(value, '.3f'):>9}"
            for value in (ms("public"), ms("cudnn"), ms("cudnn_tf32"), ms("loop"))
        ]
        scan = row["times"].get("scan", {}).get("chosen", {})
        plan = scan.get("forward" if name == "forward" else "backward", {}).get("plan", {})
        algorithm = row["algorithms"]["forward" if name == "forward" else "backward"]
        ours_shown = "-" if ours is None else f"{ours:.3f}"
        lines.append(
            f"{row['name']:<38} {name:<17} {least:>8.3f} {ours_shown:>9} {share:>6} "
            f"{' '.join(shown)}  {plan.get('tier', '-')}; {algorithm}"
        )
        if ms("compiled") is not None:
            first = row["times"]["compiled"][name]["first_call_s"]
            lines.append(f"    torch.compile {ms('compiled'):.3f} ms, first call {first:.1f} s")
    for who, times in row["times"].items():
        for name, timed in times.items():
            if who != "scan" and "error" in timed:
                lines.append(f"    {who}, {name}: {timed['error'][:300]}")
    return lines


def main(arguments: list[str]) -> int:
    """All rows; exit status 1 if fastrnn itself has no time somewhere."""
    options = argparse.ArgumentParser(prog="python -m bench.gpu.speed")
    options.add_argument("file", type=Path)
    options.add_argument("--compiled", action="store_true")
    options.add_argument("--costs", type=Path)
    given = options.parse_args(arguments)
    chips = {"published": floors.Chip()}
    if given.costs is not None and given.costs.is_file():
        costs = json.loads(given.costs.read_text())
        chips["measured"] = floors.measured(chips["published"], costs)
    rows: list[dict[str, Any]] = []
    print(HEADER, flush=True)
    for shape in [SMALL] if given.compiled else NAMED + GRID:
        row: dict[str, Any] = {"name": shape.name, "shape": asdict(shape)}
        row["algorithms"] = chosen_algorithms(shape)
        row["floors"] = floors_of(shape, chips)
        row["times"] = compiled(shape) if given.compiled else contenders(shape)
        rows.append(row)
        document = {"chips": {name: asdict(chip) for name, chip in chips.items()}, "rows": rows}
        unfinished = given.file.with_name(given.file.name + ".new")
        unfinished.write_text(json.dumps(document, indent=1) + "\n")
        unfinished.replace(given.file)
        print("\n".join(lines_of(row)), flush=True)
    ours = [row["times"]["fastrnn"][name] for row in rows for name in PASSES]
    return 1 if any("error" in timed for timed in ours) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
