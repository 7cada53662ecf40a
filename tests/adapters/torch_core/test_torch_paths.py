"""Calls that the kernels do not take as they are: torch.nn's code, forward mode, autocast."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence
from torch_twins import H, I, assert_close, every_layer, hx, state, tensors, twins

import fastrnn
import fastrnn.torch as ft

T, B = 6, 4


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
def test_what_the_kernels_do_not_take_is_torchs() -> None:
    x = torch.randn(T, B, I)
    theirs, ours = twins("LSTM", I, H, proj_size=3)
    assert ft.explain(ours, x)["path"] == "torch.nn"
    assert "proj_size is 3" in ft.explain(ours, x)["why"]
    assert_close(ours(x), theirs(x))
    y, (h_n, _) = ours(x, lengths=[6, 2, 4, 1])
    assert y.shape == (T, B, 3)
    assert (y[2:, 1] == 0).all()
    assert torch.equal(h_n[0, 1], y[1, 1])
    theirs, ours = twins("GRU", I, H, dtype=torch.bfloat16)
    found = ours(x.bfloat16())[0]
    assert torch.equal(found, theirs(x.bfloat16())[0])
    assert "dtype torch.bfloat16" in ft.explain(ours, x.bfloat16())["why"]
    ours = ft.GRU(I, H)
    report = ft.explain(ours, x)
    assert report["path"] == "kernels, called directly"
    assert report["gradients"] == "kernels"
    assert "forward" in report
    with pytest.raises(TypeError, match=r"explain: module is a GRU, expected one of fastrnn.torch"):
        ft.explain(torch.nn.GRU(I, H), x)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")
def test_forward_mode_is_torchs() -> None:
    theirs, ours = twins("RNN", I, H, dtype=torch.float64)
    x, v = torch.randn(2, T, B, I, dtype=torch.float64)
    tangents = []
    for module in (theirs, ours):
        with torch.autograd.forward_ad.dual_level():
            y = module(torch.autograd.forward_ad.make_dual(x, v))[0]
            tangents.append(torch.autograd.forward_ad.unpack_dual(y).tangent)
    assert_close(*tangents)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("narrow", [torch.float32, torch.bfloat16])
@every_layer
def test_autocast_returns_torchs_dtypes(
    name: str, options: Any, narrow: torch.dtype, packed: bool
) -> None:
    theirs, ours = twins(name, I, H, **options)
    x: Any = torch.randn(T, B, I).to(narrow)
    if packed:
        x = pack_padded_sequence(x, torch.tensor([6, 4, 4, 1]))
    for given in (None, state(name, 1, B, H)):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found, expected = (m(x, hx(name, given)) for m in (ours, theirs))
        parts = [tensors(((y.data if packed else y), last)) for y, last in (found, expected)]
        for a, b in zip(*parts, strict=True):
            assert a.dtype == b.dtype
            assert (a.float() - b.float()).abs().max() < 0.05
    parts[0][0].float().sum().backward()
    assert ours.weight_hh_l0.grad.dtype == torch.float32


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_default_device_changes_nothing(device: str) -> None:
    """It is a mode that sees every call for as long as it is set, and where new tensors lie."""
    ours, cell = ft.LSTM(I, H, 2, dropout=0.5), ft.GRUCell(I, H)
    x, h = torch.randn(T, B, I, requires_grad=True), torch.randn(B, H)
    packed = pack_padded_sequence(x.detach(), torch.tensor([6, 4, 4, 1]))
    found = []
    for mode in (nullcontext(), torch.device(device)):
        with mode:
            torch.manual_seed(3)
            assert ft.explain(ours, x)["path"] == "kernels, called directly"
            y = [ours(x), ours(x, lengths=[6, 0, 2, 1]), ours(packed)[0].data, cell(x[0])]
            y += [cell(x[1].detach(), h), cell(x[1].detach(), h)]
            grads = torch.autograd.grad([t.sum() for t in tensors(y)], [x, *ours.parameters()])
            found.append([*tensors(y), *grads])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_fastrnn_explains_modules_too() -> None:
    ours, x = ft.LSTM(I, H), torch.randn(T, B, I)
    assert dict(fastrnn.explain(ours, x)) == dict(ft.explain(ours, x))
    with pytest.raises(TypeError, match=r"fastrnn.torch.convert makes it one"):
        fastrnn.explain(torch.nn.LSTM(I, H), x)
