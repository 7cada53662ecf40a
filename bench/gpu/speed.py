"""First timings on a GPU: microseconds per step of the recurrence alone, and torch's layer beside.

``python -m bench.gpu_speed FILE`` writes them as JSON and prints them. The fastrnn numbers leave
the products over time out, torch's have them: a map of where to look, not a comparison to quote.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

# cell, dtype, B, T, I, H
SHAPES = [
    ("gru", "bfloat16", 16, 1024, 768, 768),
    ("gru", "bfloat16", 64, 128, 256, 256),
    ("gru", "bfloat16", 32, 8192, 1, 40),
    ("lstm", "float32", 128, 128, 64, 256),
    ("lstm", "float16", 16, 1024, 768, 768),
    ("lstm", "float32", 20, 1314, 32, 32),
    ("lstm", "bfloat16", 64, 256, 1024, 1024),
]
TIERS = ("resident", "grid", "streamed", "")
REPEATS = 3


def time_scan(cell: str, dtype: str, T: int, B: int, H: int, tier: str) -> dict[str, Any]:
    """Microseconds per step, forward and backward, of one tier; or why it did not run."""
    import cupy

    from fastrnn import _core, _device

    machine = _device.machine(0)
    facts = _core.device_cells()[cell]
    bits = {"float32": cupy.float32, "float64": cupy.float64}.get(dtype, cupy.uint16)
    compute = cupy.float64 if dtype == "float64" else cupy.float32
    G, slots = facts["gates"], facts["slots"]

    def zeros(*shape: int) -> Any:
        return cupy.zeros(shape, bits)

    sizes = (cell, dtype, T, B, H, False, tier, 0)
    shared = {"weight_hh": zeros(G * H, H), "h_history": zeros(T + 1, B, H)}
    shared |= {"keep": zeros(T, B, max(facts["saved"], 1) * H)}
    shared["c_history"] = cupy.zeros((T + 1, B, H), compute)
    ahead = {"x_pre": zeros(T, B, G * H), "y": zeros(T, B, H)}
    ahead |= {"h_n": zeros(B, H), "c_n": zeros(B, H)}
    back = {"d_y": zeros(T, B, H), "d_pre": zeros(T, B, slots * H)}
    back |= {"d_h_0": zeros(B, H), "d_c_0": zeros(B, H)}
    found: dict[str, Any] = {}
    for backward, own, strides in (
        (False, ahead, ((B * G * H, G * H), (B * H, H))),
        (True, back, ((B * H, H),)),
    ):
        name = "backward" if backward else "forward"
        try:
            size = _core.device_workspace(*sizes, backward)
            arrays = shared | own | {"workspace": cupy.empty(size, cupy.uint8)}
            given = {n: machine.address(a) for n, a in arrays.items()}
            call = _core.device_backward if backward else _core.device_forward
            times = []
            for _ in range(REPEATS + 1):
                start, end = cupy.cuda.Event(), cupy.cuda.Event()
                start.record()
                call(*sizes, machine.stream(), size, given, *strides)
                end.record()
                end.synchronize()
                times.append(cupy.cuda.get_elapsed_time(start, end) * 1000 / T)
            found[name] = sorted(times[1:])[REPEATS // 2]
            found[f"{name} plan"] = _core.device_plan(*sizes, backward)
        except (ValueError, RuntimeError) as error:
            found[name] = str(error)
    return found


def time_torch(cell: str, dtype: str, B: int, T: int, I: int, H: int) -> dict[str, Any]:
    """Microseconds per step of torch's layer, its input product included."""
    import torch

    layer = getattr(torch.nn, cell.upper())(I, H).cuda().to(getattr(torch, dtype))
    x = torch.randn(T, B, I, device="cuda", dtype=getattr(torch, dtype), requires_grad=True)
    found: dict[str, Any] = {"cudnn": torch.backends.cudnn.version()}
    for name in ("forward", "forward+backward"):
        times = []
        for _ in range(REPEATS + 1):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            y = layer(x)[0]
            if name != "forward":
                y.sum().backward()
            end.record()
            torch.cuda.synchronize()
            times.append(start.elapsed_time(end) * 1000 / T)
        found[name] = sorted(times[1:])[REPEATS // 2]
    return found


def main(out: Path) -> None:
    """All shapes; the file is written after each, so that a run cut off leaves what it found."""
    results = []
    for cell, dtype, B, T, I, H in SHAPES:
        row: dict[str, Any] = {"cell": cell, "dtype": dtype, "B": B, "T": T, "I": I, "H": H}
        for tier in TIERS:
            row[tier or "chosen"] = time_scan(cell, dtype, T, B, H, tier)
        try:
            row["torch"] = time_torch(cell, dtype, B, T, I, H)
        except (ImportError, RuntimeError) as error:
            row["torch"] = str(error)
        results.append(row)
        out.write_text(json.dumps(results, indent=1) + "\n")
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
