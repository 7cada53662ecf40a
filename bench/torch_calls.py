"""What a call of `fastrnn.torch` costs beside its kernels: ``python -m bench.torch_calls``.

Two Markdown tables, of one thread, in microseconds, each the least of several rounds (a call of a
few microseconds has no distribution of interest above what the machine adds to it):

- overhead: layers so small that their kernels take little, against the bare call of the engine over
  the same memory, fingerprint of the weights included in both;
- cells: one step of ours and of torch.nn's, in turn, with and without gradients.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

import fastrnn
import fastrnn.torch
from fastrnn import _core

LAYERS = (("LSTM", 1, 1, 32), ("LSTM", 8, 4, 32), ("GRU", 8, 4, 32), ("RNN", 8, 4, 32))  # T, B, H
CELLS = (("LSTMCell", 64), ("LSTMCell", 256), ("GRUCell", 64), ("RNNCell", 64))


def least(*calls: Callable[[], Any], rounds: int, repeats: int = 500) -> list[float]:
    """The least mean of `repeats` calls of each, in turn, in microseconds."""
    best = [float("inf")] * len(calls)
    for number in range(rounds + 1):
        for index, call in enumerate(calls):
            start = time.perf_counter()
            for _ in range(repeats):
                call()
            taken = (time.perf_counter() - start) / repeats * 1e6
            best[index] = min(best[index], taken) if number else best[index]
    return best


class Bare:
    """The engine's calls over the memory of a layer, nothing else."""

    def __init__(self, layer: Any, x: torch.Tensor) -> None:
        T, B, H = x.shape
        stack, self.params = layer.stack(torch.float32), list(layer.parameters())
        self.addresses = tuple(p.data_ptr() for p in self.params)
        self.packed = stack.pack(self.addresses)
        self.arrays = [torch.empty(T, B, H) for _ in range(2)] + [
            torch.empty(1, B, H) for _ in range(2)
        ]
        self.d_params = [torch.empty_like(p) for p in self.params]
        self.kept = torch.empty(stack.reserve_bytes(T, B, T * B), dtype=torch.uint8)
        x_, self.y, self.d_x = ((t.data_ptr(), B * H, H) for t in (x, *self.arrays[:2]))
        self.x = (T, B, *x_)
        self.h, c = (t.data_ptr() for t in self.arrays[2:])
        self.c = c if stack.has_c else 0
        self.reserve = (self.kept.data_ptr(), self.kept.numel())

    def forward(self, training: bool) -> None:
        room = self.reserve if training else (0, 0)
        given = (self.packed, self.addresses, *self.x, 0, 0, 0, *self.y, self.h, self.c)
        _core.forward_at(*given, training, *room, 0.0, 0)

    def step(self) -> None:
        self.forward(True)
        d_params = tuple(d.data_ptr() for d in self.d_params)
        given = (self.packed, *self.x, 0, *self.reserve, 0.0, 0, *self.y, 0, 0, *self.d_x)
        _core.backward_at(*given, self.h, self.c, d_params)


def overheads(rounds: int) -> None:
    print("| (T, B, I, H) | call | bare | fastrnn.torch | overhead |\n|---|---|---|---|---|")
    for name, T, B, H in LAYERS:
        layer, x, d_y = (
            getattr(fastrnn.torch, name)(H, H),
            torch.randn(T, B, H),
            torch.ones(T, B, H),
        )
        bare = Bare(layer, x)

        def step(layer: Any = layer, x: Any = x, d_y: Any = d_y) -> None:
            layer(x)[0].backward(d_y)
            for p in layer.parameters():
                p.grad = None

        rows = {
            "inference": (lambda b=bare: b.forward(False), lambda m=layer, x=x: m(x)),
            "training forward": (lambda b=bare: b.forward(True), lambda m=layer, x=x: m(x)),
            "forward, backward": (bare.step, step),
        }
        for call, pair in rows.items():
            with torch.set_grad_enabled(call != "inference"):
                plain, ours = least(*pair, rounds=rounds)
            sizes = f"{name} ({T}, {B}, {H}, {H})"
            print(f"| {sizes} | {call} | {plain:.1f} | {ours:.1f} | {ours - plain:.1f} |")


def cells(rounds: int) -> None:
    print("\n| cell, (B, I, H) | call | torch.nn | fastrnn.torch | ratio |\n|---|---|---|---|---|")
    for name, H in CELLS:
        pair = [getattr(home, name)(H, H) for home in (torch.nn, fastrnn.torch)]
        x, state = torch.randn(1, H), torch.randn(2, 1, H)
        hx: Any = tuple(state) if name == "LSTMCell" else state[0]
        for grad in (False, True):
            with torch.set_grad_enabled(grad):
                theirs, ours = least(*(partial(m, x, hx) for m in pair), rounds=rounds)
            call = "step, recorded" if grad else "step"
            times = f"{theirs:.1f} | {ours:.1f} | {theirs / ours:.2f}x"
            print(f"| {name} (1, {H}, {H}) | {call} | {times} |")
        theirs, ours = least(*(partial(_there_and_back, m, x, hx) for m in pair), rounds=rounds)
        times = f"{theirs:.1f} | {ours:.1f} | {theirs / ours:.2f}x"
        print(f"| {name} (1, {H}, {H}) | step and backward | {times} |")


def _there_and_back(cell: Any, x: torch.Tensor, hx: Any) -> None:
    after = cell(x, hx)
    h = after[0] if isinstance(after, tuple) else after
    h.backward(h)
    for p in cell.parameters():
        p.grad = None


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.torch_calls", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    fastrnn.set_num_threads(1)
    print(f"torch {torch.__version__}, isa {fastrnn.info()['isa']}, one thread, microseconds\n")
    overheads(rounds)
    cells(rounds)


if __name__ == "__main__":
    main()
