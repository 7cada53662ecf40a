"""What a call through torch adds to the bare kernel, and a step of a cell against torch's."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from bench.probes.base import Probing, Rows, say
from bench.sections import Grid, Section
from bench.tables import thread_text

T, B, I, H = 8, 1, 64, 64  # small enough that what surrounds the kernel shows
CELLS = {"lstm": "LSTM", "gru": "GRU", "rnn": "RNN"}
KINDS = {"lstm": "lstm", "gru": "gru", "rnn": "rnn_tanh"}  # the engine's names


def run(probing: Probing) -> Rows:
    """Layers and cells, without gradients and with a backward, by three ways in turn."""
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
        for cell in probing.cells or list(CELLS):
            for is_cell in (False, True):
                for training in (False, True):
                    ways = three_ways(cell, is_cell, training)
                    row = {
                        "call": CELLS[cell] + ("Cell" if is_cell else ""),
                        "shape": f"({B},{I},{H})" if is_cell else f"({B},{T},{I},{H})",
                        "training": training,
                        "threads": threads,
                        "us": in_turn(ways, rounds, seconds),
                    }
                    say(_sentence(row))
                    rows.append(row)
    finally:
        torch.set_num_threads(before)
    return rows


def three_ways(cell: str, is_cell: bool, training: bool) -> dict[str, Callable[[], Any]]:
    """The engine's own door on NumPy arrays, fastrnn.torch, and torch.nn: one call each.

    With gradients a call is forward and backward, from gradients that are given, to every input,
    state and parameter; without, it is forward alone.
    """
    import torch

    import fastrnn.torch

    torch.manual_seed(0)
    name = CELLS[cell] + ("Cell" if is_cell else "")
    theirs = getattr(torch.nn, name)(I, H)
    ours = getattr(fastrnn.torch, name)(I, H)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn((B, I) if is_cell else (T, B, I)).requires_grad_(training)
    states = [torch.randn((B, H) if is_cell else (1, B, H)) for _ in range(1 + (cell == "lstm"))]
    states = [state.requires_grad_(training) for state in states]
    hx = tuple(states) if cell == "lstm" else states[0]
    arriving = torch.randn((B, H) if is_cell else (T, B, H))

    def through(module: Any) -> Callable[[], Any]:
        leaves = [x, *states, *module.parameters()]

        def first() -> Any:
            found = module(x, hx)
            return found[0] if isinstance(found, tuple) else found

        def both() -> Any:
            return torch.autograd.grad(first(), leaves, arriving)

        def alone() -> Any:
            with torch.no_grad():
                return first()

        return both if training else alone

    ways = {"bare": _bare(cell, theirs, x, states, arriving, training)}
    return ways | {"fastrnn": through(ours), "torch": through(theirs)}


def _bare(
    cell: str, module: Any, x: Any, states: list[Any], arriving: Any, training: bool
) -> Callable[[], Any]:
    """The compiled engine with packed weights, as fastrnn's own layers call it."""
    from fastrnn import _core

    params = [p.detach().numpy() for p in module.parameters()]
    packed = _core.pack(KINDS[cell], params, I, H, 1, 1, True, None)
    steps = x.detach().reshape(-1, B, I).numpy()
    h_0, c_0 = [*(s.detach().reshape(1, B, H).numpy() for s in states), None][:2]
    d_y = np.ascontiguousarray(arriving.reshape(-1, B, H).numpy())

    def call() -> Any:
        y, h_n, c_n, tape = _core.forward(packed, steps, h_0, c_0, None, False, training, 0.0, 0, 0)
        return _core.backward(tape, d_y, None, None) if training else (y, h_n, c_n)

    return call


def in_turn(ways: dict[str, Callable[[], Any]], rounds: int, seconds: float) -> dict[str, float]:
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


def _overhead(row: dict[str, Any]) -> float:
    return float(row["us"]["fastrnn"] - row["us"]["bare"])


def _sentence(row: dict[str, Any]) -> str:
    mode = "forward and backward" if row["training"] else "forward"
    ratio = row["us"]["torch"] / row["us"]["fastrnn"]
    return f"{row['call']} {mode}: {_overhead(row):.1f} us added, {ratio:.2f}x of torch.nn"


def section(rows: Rows) -> Section:
    """A line for each call."""
    lines = [
        [
            f"{row['call']} {row['shape']}, "
            + ("forward and backward" if row["training"] else "forward"),
            *(f"{row['us'][way]:.1f}" for way in ("bare", "fastrnn", "torch")),
            f"{_overhead(row):.1f}",
            f"{row['us']['torch'] / row['us']['fastrnn']:.2f}x",
        ]
        for row in rows
    ]
    header = ["call", "bare kernel, us", "fastrnn.torch, us", "torch.nn, us", "added, us", "ratio"]
    text = (
        f"{thread_text(rows[0]['threads']) if rows else 'No peer was timed'}, float32, medians. "
        "The bare kernel is the compiled engine called on NumPy arrays with packed weights; what "
        "fastrnn.torch adds to it are its checks, autograd, and noticing that weights were written "
        "to. The last column is torch.nn's time over fastrnn.torch's."
    )
    return Section("Calls through torch", [text, Grid(header, lines)])
