"""What a call through torch adds to the bare kernel, and a step of a cell against torch's."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from bench.probes.base import Probing, Rows, say
from bench.sections import Grid, Section
from bench.tables import thread_text

T, B = 8, 1
# kernels small enough that what surrounds them shows, and a cell whose weights leave L1
CALLS = {
    "lstm": [("LSTM", 64), ("LSTMCell", 64), ("LSTMCell", 256)],
    "gru": [("GRU", 64), ("GRUCell", 64)],
    "rnn": [("RNN", 64), ("RNNCell", 64)],
}
MODES = ("forward", "recorded forward", "forward and backward")

Way = Callable[[], Any]


def run(probing: Probing) -> Rows:
    """Layers and cells, without gradients, recorded, and with a backward, by every way in turn."""
    try:
        import torch

        import fastrnn
        import fastrnn.torch
    except ImportError as error:
        raise RuntimeError(f"bench: torch-overhead needs fastrnn.torch ({error})") from error
    threads = probing.thread_count(1)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    fastrnn.set_num_threads(threads)
    rounds, seconds = (5, 0.01) if probing.quick else (31, 0.05)
    rows: Rows = []
    try:
        for cell in probing.cells or list(CALLS):
            for name, size in CALLS[cell]:
                for mode in MODES:
                    shape = f"({B},{size},{size})" if "Cell" in name else f"({B},{T},{size},{size})"
                    us = in_turn(ways_of(name, size, mode), rounds, seconds)
                    row = {
                        "call": name, "shape": shape, "mode": mode, "threads": threads, "us": us,
                    }  # fmt: skip
                    say(f"{name} {shape} {mode}: {_added(row)} us added, {_ratio(row)} of torch.nn")
                    rows.append(row)
    finally:
        torch.set_num_threads(before)
    return rows


def ways_of(name: str, size: int, mode: str) -> dict[str, Way]:
    """The engine alone, an autograd function alone, fastrnn.torch, and torch.nn: one call each.

    With a backward, a call returns the gradients of input, states and parameters, from a gradient
    that arrives at the output; else the output.
    """
    import torch

    import fastrnn.torch

    torch.manual_seed(0)
    theirs = getattr(torch.nn, name)(size, size)
    ours = getattr(fastrnn.torch, name)(size, size)
    ours.load_state_dict(theirs.state_dict())
    is_cell, training = name.endswith("Cell"), mode != "forward"
    x = torch.randn((B, size) if is_cell else (T, B, size)).requires_grad_(training)
    shape = (B, size) if is_cell else (1, B, size)
    states = [torch.randn(shape).requires_grad_(training) for _ in range(1 + ("LSTM" in name))]
    arriving = torch.randn((B, size) if is_cell else (T, B, size))

    def way(call: Way, leaves: list[Any]) -> Way:
        def both() -> Any:
            return torch.autograd.grad(call(), leaves, arriving)

        def alone() -> Any:
            with torch.no_grad():
                return call()

        return {"forward": alone, "recorded forward": call, "forward and backward": both}[mode]

    def through(module: Any) -> Way:
        hx = tuple(states) if len(states) == 2 else states[0]

        def call() -> Any:
            found = module(x, hx)
            return found[0] if isinstance(found, tuple) else found

        return way(call, [x, *states, *module.parameters()])

    found = {"bare": _bare(ours, x, states, arriving, mode)}
    if training:
        leaves = [x, *states, *theirs.parameters()]
        found["autograd"] = way(partial(_empty_function(), leaves, 1 + len(states)), leaves)
    return found | {"fastrnn": through(ours), "torch": through(theirs)}


def _empty_function() -> Any:
    """An autograd.Function of as many tensors, that computes nothing."""
    import torch

    class Empty(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, outputs: int, *leaves: Any) -> Any:
            kept = torch.empty(64, dtype=torch.uint8)
            ctx.set_materialize_grads(False)
            ctx.save_for_backward(kept, *leaves)
            return tuple([torch.empty_like(leaves[0]) for _ in range(outputs)])

        @staticmethod
        def backward(ctx: Any, *arriving: Any) -> Any:
            _, *leaves = ctx.saved_tensors
            return None, *[torch.empty_like(leaf) for leaf in leaves]

    return lambda leaves, outputs: Empty.apply(outputs, *leaves)[0]


def _bare(module: Any, x: Any, states: list[Any], arriving: Any, mode: str) -> Way:
    """The compiled engine over memory that is there, weights compared as in every call."""
    import torch

    from fastrnn import _core

    stack, params = module.stack(torch.float32), list(module.parameters())
    steps, size = x.numel() // (B * x.shape[-1]), x.shape[-1]
    addresses = tuple(p.data_ptr() for p in params)
    packed = stack.pack(addresses)
    y, d_x = torch.empty_like(arriving), torch.empty_like(arriving)
    last, d_states = ([torch.empty_like(s) for s in states] for _ in range(2))
    d_params = [torch.empty_like(p) for p in params]
    reserve = torch.empty(stack.reserve_bytes(steps, B, steps * B), dtype=torch.uint8)
    room = (reserve.data_ptr(), reserve.numel())
    training = mode != "forward"
    held = (x, *states, *params, arriving, *last, reserve)  # the engine has their addresses alone

    def pair(tensors: list[Any]) -> tuple[int, int]:
        found = [*(t.data_ptr() for t in tensors), 0]
        return found[0], found[1]

    given = (steps, B, x.data_ptr(), B * size, size)
    ahead = (*pair(states), 0, y.data_ptr(), B * size, size, *pair(last))
    kept = (training, *(room if training else (0, 0)), 0.0, 0)
    back = (0, *room, 0.0, 0, arriving.data_ptr(), B * size, size, 0, 0)
    out = (d_x.data_ptr(), B * size, size, *pair(d_states), tuple(d.data_ptr() for d in d_params))

    def call(_: Any = held) -> Any:
        _core.forward_at(packed, addresses, *given, *ahead, *kept)
        if mode != "forward and backward":
            return y
        _core.backward_at(packed, *given, *back, *out)
        return [d_x, *d_states, *d_params]

    return call


def in_turn(ways: dict[str, Way], rounds: int, seconds: float) -> dict[str, float]:
    """Median over the rounds of the mean time of a call, in us; every way once a round."""
    counts = {}
    for name, call in ways.items():
        for _ in range(20):
            call()
        start = time.perf_counter()
        for _ in range(20):
            call()
        counts[name] = max(1, round(20 * seconds / (time.perf_counter() - start)))
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, call in ways.items():
            start = time.perf_counter()
            for _ in range(counts[name]):
                call()
            found[name].append((time.perf_counter() - start) / counts[name] * 1e6)
    return {name: statistics.median(times) for name, times in found.items()}


def _added(row: dict[str, Any]) -> str:
    return f"{row['us']['fastrnn'] - row['us']['bare']:.1f}"


def _ratio(row: dict[str, Any]) -> str:
    return f"{row['us']['torch'] / row['us']['fastrnn']:.2f}x"


def section(rows: Rows) -> Section:
    """A line for each call."""
    lines = [
        [
            f"{row['call']} {row['shape']}, {row['mode']}",
            *(f"{row['us'][way]:.1f}" for way in ("bare", "fastrnn", "torch")),
            _added(row),
            f"{row['us']['autograd']:.1f}" if "autograd" in row["us"] else "",
            _ratio(row),
        ]
        for row in rows
    ]
    header = ["call", "bare kernel, us", "fastrnn.torch, us", "torch.nn, us", "added, us"]
    text = (
        f"{thread_text(rows[0]['threads']) if rows else 'No peer was timed'}, float32, medians. "
        "The bare kernel is the engine over memory that is there, the comparison of the weights "
        "included; what fastrnn.torch adds to it are its checks, memory for results, and autograd. "
        "Of that, the next column is what an autograd.Function of as many tensors takes that "
        "computes nothing. The last is torch.nn's time over fastrnn.torch's; steps that torch.nn "
        "records in less time run its code."
    )
    grid = Grid([*header, "autograd alone, us", "ratio"], lines)
    return Section("Calls through torch", [text, grid])
