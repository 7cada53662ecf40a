"""Whole layers on a GPU, the input's product included: fastrnn, torch's cuDNN, loops in torch.

Every contender is a pair of calls: forward for inference, and forward with backward to x and all
weights. Inputs lie on the device, random, the same sizes for all; they are made before the clock
starts, and so is torch's PackedSequence.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bench.gpu.shapes import Shape

Calls = dict[str, Callable[[], Any]]
TORCH_NAMES = {"lstm": "LSTM", "gru": "GRU", "rnn_tanh": "RNN", "rnn_relu": "RNN"}
LOOP_STEPS = 64  # of a loop in torch: its time per step does not depend on their number


def public(shape: Shape) -> Calls:
    """fastrnn.LSTM, GRU or RNN called with CuPy arrays: float32 and float64."""
    import cupy

    import fastrnn

    options = {"nonlinearity": shape.cell[4:]} if shape.cell.startswith("rnn") else {}
    layer = getattr(fastrnn, TORCH_NAMES[shape.cell])(
        shape.I, shape.H, dtype=np.dtype(shape.dtype), rng=0, **options
    )
    layer.freeze()  # the calls do not look whether the weights have changed
    x = cupy.asarray(_normal(shape, shape.I))
    d_y = cupy.asarray(_normal(shape, shape.H))
    lengths = shape.lengths() if shape.ragged else None

    def both() -> Any:
        return layer.backward(layer.forward(x, lengths=lengths)[2], d_y)

    return {"forward": lambda: layer(x, lengths=lengths), "forward+backward": both}


def stack(shape: Shape, engine: Any, device: str = "cuda", plan: str = "") -> Calls:
    """fastrnn's stack with torch as its array library: every dtype."""
    import torch

    from bench.gpu import torch_arrays
    from fastrnn import _gpu

    machine = torch_arrays.machine(engine, device)
    problem = torch_arrays.problem(shape.cell, shape.dtype, shape.I, shape.H)
    dtype = getattr(torch, shape.dtype)

    def on_device(values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(values).to(device, dtype)

    weights = [on_device(w) for w in weights_of(shape)]
    x, d_y = on_device(_normal(shape, shape.I)), on_device(_normal(shape, shape.H))
    lengths = torch.tensor(shape.lengths(), device=device) if shape.ragged else None

    def forward(training: bool) -> Any:
        given = (weights, x, None, None, lengths, [None])
        return _gpu.forward(machine, problem, *given, training, plan)

    def both() -> Any:
        with torch.no_grad():
            return _gpu.backward(forward(True)[3], d_y, None, None)

    def alone() -> Any:
        with torch.no_grad():
            return forward(False)

    return {"forward": alone, "forward+backward": both}


def cudnn(shape: Shape, device: str = "cuda") -> Calls:
    """torch.nn's layer; rows of different lengths come as a PackedSequence."""
    import torch
    from torch.nn.utils.rnn import pack_padded_sequence

    options = {"nonlinearity": shape.cell[4:]} if shape.cell.startswith("rnn") else {}
    dtype = getattr(torch, shape.dtype)
    layer = getattr(torch.nn, TORCH_NAMES[shape.cell])(shape.I, shape.H, **options)
    with torch.no_grad():
        for parameter, values in zip(layer.parameters(), weights_of(shape), strict=True):
            parameter.copy_(torch.from_numpy(values))
    layer = layer.to(device, dtype)
    d_y = torch.from_numpy(_normal(shape, shape.H)).to(device, dtype)
    x = torch.from_numpy(_normal(shape, shape.I)).to(device, dtype).requires_grad_()
    given: Any = x
    if shape.ragged:
        given = pack_padded_sequence(x.detach(), shape.lengths(), enforce_sorted=False)
        given = given._replace(data=given.data.requires_grad_())
        d_y = pack_padded_sequence(d_y, shape.lengths(), enforce_sorted=False).data
    leaves = [given.data if shape.ragged else x, *layer.parameters()]

    def alone() -> Any:
        with torch.no_grad():
            return layer(given)

    def both() -> Any:
        y = layer(given)[0]
        return torch.autograd.grad(y.data if shape.ragged else y, leaves, d_y)

    return {"forward": alone, "forward+backward": both}


def loop(shape: Shape, device: str = "cuda", compiled: bool = False) -> Calls:
    """A loop over time in torch: the input's product first, then a product and a cell per step."""
    import torch

    dtype = getattr(torch, shape.dtype)
    inputs = [_normal(shape, shape.I), *weights_of(shape)]
    leaves = [torch.from_numpy(a).to(device, dtype).requires_grad_() for a in inputs]

    def run(x: Any, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any) -> Any:
        x_pre = torch.nn.functional.linear(x, w_ih, b_ih)
        h = x.new_zeros(x.shape[1], shape.H)
        state, steps = (h, h), []
        for x_t in x_pre.unbind(0):
            h_pre = torch.nn.functional.linear(state[0], w_hh, b_hh)
            state = _torch_cell(shape.cell, x_t, h_pre, *state)
            steps.append(state[0])
        return torch.stack(steps)

    call = torch.compile(run, dynamic=False) if compiled else run
    d_y = torch.from_numpy(_normal(shape, shape.H)).to(device, dtype)

    def alone() -> Any:
        with torch.no_grad():
            return call(*leaves)

    return {
        "forward": alone,
        "forward+backward": lambda: torch.autograd.grad(call(*leaves), leaves, d_y),
    }


def _torch_cell(cell: str, x_pre: Any, h_pre: Any, h: Any, c: Any) -> tuple[Any, Any]:
    import torch

    if cell == "lstm":
        i, f, g, o = (x_pre + h_pre).chunk(4, 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c
    if cell == "gru":
        (x_r, x_z, x_n), (h_r, h_z, h_n) = x_pre.chunk(3, 1), h_pre.chunk(3, 1)
        z = torch.sigmoid(x_z + h_z)
        n = torch.tanh(x_n + torch.sigmoid(x_r + h_r) * h_n)
        return n + z * (h - n), c
    pre = x_pre + h_pre
    return (torch.tanh(pre) if cell == "rnn_tanh" else torch.relu(pre)), c


def weights_of(shape: Shape) -> list[np.ndarray]:
    """weight_ih, weight_hh, bias_ih, bias_hh in float32, as torch draws them."""
    from bench.gpu.floors import GATES

    rng, rows = np.random.default_rng(1), GATES[shape.cell] * shape.H
    sizes = [(rows, shape.I), (rows, shape.H), (rows,), (rows,)]
    return [(rng.uniform(-1, 1, s) / np.sqrt(shape.H)).astype(np.float32) for s in sizes]


def _normal(shape: Shape, width: int) -> np.ndarray:
    """(T, B, width), zeros past the rows' ends. float64 layers get float64."""
    rng = np.random.default_rng(2)
    drawn = rng.standard_normal((shape.T, shape.B, width), np.float32)
    if shape.ragged:
        drawn[np.arange(shape.T)[:, None] >= np.array(shape.lengths())] = 0
    return drawn.astype(np.float64) if shape.dtype == "float64" else drawn
