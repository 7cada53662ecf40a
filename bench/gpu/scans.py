"""The recurrence alone on a GPU: one layer, one direction, every tier; no products over time."""

from __future__ import annotations

from typing import Any

from bench.gpu.shapes import Shape
from bench.gpu.timing import on_cupy

TIERS = ("resident", "grid", "streamed", "")


def time_tiers(shape: Shape) -> dict[str, Any]:
    """Microseconds per step of every tier, or why it did not run; "" is the chosen one."""
    return {tier or "chosen": _time_tier(shape, tier) for tier in TIERS}


def _time_tier(shape: Shape, tier: str) -> dict[str, Any]:
    import cupy

    from fastrnn import _core, _device

    machine = _device.machine(0)
    facts = _core.device_cells()[shape.cell]
    T, B, H = shape.T, shape.B, shape.H
    G, slots = facts["gates"], facts["slots"]
    storage = {"float32": cupy.float32, "float64": cupy.float64}.get(shape.dtype, cupy.uint16)
    compute = cupy.float64 if shape.dtype == "float64" else cupy.float32

    def zeros(*sizes: int) -> Any:
        return cupy.zeros(sizes, storage)

    sizes = (shape.cell, shape.dtype, T, B, H, False, tier, 0)
    given = {"weight_hh": zeros(G * H, H)}
    if shape.ragged:
        given["lengths"] = cupy.asarray(shape.lengths(), dtype=cupy.int64)
    kept = {"h_history": zeros(T + 1, B, H), "keep": zeros(T, B, max(facts["saved"], 1) * H)}
    kept["c_history"] = cupy.zeros((T + 1, B, H), compute)
    ahead = {"x_pre": zeros(T, B, G * H), "y": zeros(T, B, H)}
    ahead |= {"h_n": zeros(B, H), "c_n": zeros(B, H)}
    back = {"d_y": zeros(T, B, H), "d_pre": zeros(T, B, slots * H)}
    back |= {"d_h_0": zeros(B, H), "d_c_0": zeros(B, H)}
    ahead_strides, back_strides = ((B * G * H, G * H), (B * H, H)), ((B * H, H),)
    found: dict[str, Any] = {}
    for name, backward, arrays, strides in (
        ("inference", False, given | ahead, ahead_strides),
        ("forward", False, given | ahead | kept, ahead_strides),
        ("backward", True, given | back | kept, back_strides),
    ):
        try:
            size = _core.device_workspace(*sizes, backward)
            arrays = arrays | {"workspace": cupy.empty(size, cupy.uint8)}
            addresses = {n: machine.address(a) for n, a in arrays.items()}
            run = _core.device_backward if backward else _core.device_forward
            call = (*sizes, machine.stream(), size, addresses, *strides)
            timed = on_cupy(lambda run=run, call=call: run(*call))
            plan = _core.device_plan(*sizes, backward)
        except (ValueError, RuntimeError) as error:
            found[name] = {"error": str(error)}
            continue
        found[name] = timed | {"us_per_step": timed["ms"] * 1e3 / T, "plan": plan}
    return found
