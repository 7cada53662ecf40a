"""What only a real GPU shows: cuDNN beside the kernels, streams, graphs, nothing that waits."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from gpu_torch import forced, real
from tolerances import KINKED_RELATIVE
from torch import Tensor
from torch_twins import LAYERS, tensors

import fastrnn.torch as ft

SIZES = {"input_size": 64, "hidden_size": 200, "num_layers": 2, "bidirectional": True}


@pytest.fixture(autouse=True)
def _gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    real()
    forced(monkeypatch)


def both(layer: Any, x: Tensor, **given: Any) -> list[Tensor]:
    out = tensors(layer(x, **given))
    loss = sum(o.float().sin().sum() for o in out)
    return [*out, *torch.autograd.grad(loss, [x, *layer.parameters()])]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("name", "options"), LAYERS)
def test_cudnn_agrees(name: str, options: Any, dtype: torch.dtype) -> None:
    """In norm, as far as two 16-bit computations do; float32 there may be TF32, with 11 bits."""
    ours = getattr(ft, name)(**SIZES, **options, device="cuda", dtype=dtype)
    theirs = getattr(torch.nn, name)(**SIZES, **options, device="cuda", dtype=dtype)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(40, 24, 64, device="cuda", dtype=dtype, requires_grad=True)
    bound = KINKED_RELATIVE["bfloat16" if dtype is torch.bfloat16 else "float16"]
    for one, other in zip(both(ours, x), both(theirs, x), strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        difference = (one.float() - other.float()).norm()
        assert difference <= bound * max(float(other.float().norm()), 1.0)


def test_autocast_gives_cudnns_dtypes() -> None:
    ours = ft.LSTM(**SIZES, device="cuda")
    x = torch.randn(40, 24, 64, device="cuda")
    for narrow in (torch.float16, torch.bfloat16):
        with torch.autocast("cuda", narrow):
            found, expected = tensors(ours(x)), tensors(torch.nn.LSTM.forward(ours, x))
        assert [t.dtype for t in found] == [t.dtype for t in expected]


def test_nothing_waits_for_the_gpu() -> None:
    layer = ft.GRU(**SIZES, dropout=0.5, batch_first=True, device="cuda")
    x = torch.randn(24, 40, 64, device="cuda", requires_grad=True)
    lengths = torch.randint(0, 41, (24,), device="cuda")
    both(layer, x, lengths=lengths)
    torch.cuda.set_sync_debug_mode("error")
    try:
        both(layer, x, lengths=lengths)
        both(layer, x)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_side_stream_gives_the_same_bits() -> None:
    layer = ft.LSTM(**SIZES, device="cuda")
    x = torch.randn(40, 24, 64, device="cuda", requires_grad=True)
    expected = both(layer, x)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        found = both(layer, x)
    torch.cuda.current_stream().wait_stream(side)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_a_cuda_graph_replays_forward_and_backward() -> None:
    layer = ft.LSTM(**SIZES, device="cuda")
    x = torch.randn(40, 24, 64, device="cuda", requires_grad=True)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        both(layer, x)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kept = both(layer, x)
    with torch.no_grad():
        x.copy_(torch.randn_like(x))
    graph.replay()
    assert all(torch.equal(a, b) for a, b in zip(kept, both(layer, x), strict=True))


def test_masks_differ_from_replay_to_replay() -> None:
    layer = ft.GRU(**SIZES, dropout=0.5, device="cuda")
    x = torch.randn(40, 24, 64, device="cuda")
    with torch.no_grad():
        layer(x)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            y = layer(x)[0]
    graph.replay()
    first = y.clone()
    graph.replay()
    assert not torch.equal(first, y)


def test_inductor_gives_the_same_bits() -> None:
    layer = ft.LSTM(**SIZES, device="cuda")
    x = torch.randn(40, 24, 64, device="cuda", requires_grad=True)
    found = both(torch.compile(layer, fullgraph=True), x)
    assert all(torch.equal(a, b) for a, b in zip(found[:3], both(layer, x)[:3], strict=True))
