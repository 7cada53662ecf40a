"""Rows of different lengths: PackedSequence as torch.nn takes it, and `lengths=`."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tolerances import GRADCHECK
from torch.autograd import gradcheck, gradgradcheck
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch_twins import H, I, assert_close, every_layer, hx, leaves, state, tensors, twins

import fastrnn.torch as ft

T, B = 6, 4
every_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("enforce_sorted", [False, True])
@every_layer
def test_packed_sequences(name: str, options: Any, enforce_sorted: bool, batch_first: bool) -> None:
    stack = {"num_layers": 2, "bidirectional": True, "batch_first": batch_first}
    theirs, ours = twins(name, I, H, **stack, **options)
    lengths = torch.tensor([6, 4, 4, 1] if enforce_sorted else [4, 1, 6, 4])
    x, states = torch.randn(T, B, I), state(name, 4, B, H)
    for given in (states, None):
        found = []
        for module in (ours, theirs):
            (leaf, *initial) = leaves(x, *(given or []))
            packed = pack_padded_sequence(leaf, lengths, enforce_sorted=enforce_sorted)
            out, last = module(packed, hx(name, initial))
            module.zero_grad()
            sum((t * t).sum() for t in (out.data, *tensors(last))).backward()
            grads = [t.grad for t in (leaf, *initial, *module.parameters())]
            found.append([out.data, *tensors(last), *grads])
            assert type(out) is type(packed)
            assert torch.equal(pad_packed_sequence(out)[1], lengths)
        assert_close(*found)


@every_layer
def test_derivatives_of_a_packed_sequence(name: str, options: Any) -> None:
    """Numerically, the second too: padding and its inverse are each other's derivative."""
    layer = getattr(ft, name)(2, 3, bidirectional=True, **options).double()
    lengths = torch.tensor([2, 1, 3])

    def call(x: Any) -> Any:
        out, last = layer(pack_padded_sequence(x, lengths, enforce_sorted=False))
        return out.data, *tensors(last)

    x = torch.randn(3, 3, 2, dtype=torch.float64, requires_grad=True)
    assert gradcheck(call, x, **GRADCHECK)
    assert gradgradcheck(call, x, **GRADCHECK)


@every_layer
def test_packed_sequences_under_transforms(name: str, options: Any) -> None:
    """Which torch.nn has no rules for; autograd has gone through the same parameters."""
    layers = [getattr(ft, name)(I, H, 2, **options).double() for _ in range(3)]
    x = torch.randn(T, B, I, dtype=torch.float64)
    packed = pack_padded_sequence(x, torch.tensor([4, 1, 6, 4]), enforce_sorted=False)
    weights, _ = torch.func.stack_module_state(layers)

    def loss(weights: Any, data: Any) -> Any:
        out, last = torch.func.functional_call(layers[0], weights, (packed._replace(data=data),))
        return sum((t * t).sum() for t in (out.data, *tensors(last)))

    values = torch.vmap(loss, (0, None))(weights, packed.data)
    slopes, at_data = torch.vmap(torch.func.grad(loss, (0, 1)), (0, None))(weights, packed.data)
    for i, layer in enumerate(layers):
        (data,) = leaves(packed.data)
        value = loss(dict(layer.named_parameters()), data)
        value.backward()
        expected = [value, data.grad, *(p.grad for p in layer.parameters())]
        assert_close([values[i], at_data[i], *(slope[i] for slope in slopes.values())], expected)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")
def test_forward_mode_of_a_packed_sequence_is_torchs() -> None:
    theirs, ours = twins("RNN", I, H, dtype=torch.float64)
    packed = pack_padded_sequence(torch.randn(T, B, I).double(), torch.tensor([6, 4, 4, 1]))
    direction, tangents = torch.randn_like(packed.data), []
    for module in (theirs, ours):
        with torch.autograd.forward_ad.dual_level():
            dual = torch.autograd.forward_ad.make_dual(packed.data, direction)
            out = module(packed._replace(data=dual))[0].data
            tangents.append(torch.autograd.forward_ad.unpack_dual(out).tangent)
    assert_close(*tangents)


@every_dtype
@every_layer
def test_lengths_of_any_order(name: str, options: Any, dtype: torch.dtype) -> None:
    stack = {"num_layers": 2, "bidirectional": True, "dtype": dtype}
    theirs, ours = twins(name, I, H, **stack, **options)
    x, lengths = torch.randn(T, B, I, dtype=dtype), [4, 1, 6, 4]
    y, last = ours(x, lengths=lengths)
    packed = pack_padded_sequence(x, torch.tensor(lengths), enforce_sorted=False)
    expected, expected_last = theirs(packed)
    assert_close((y, last), (pad_packed_sequence(expected)[0], expected_last))
    again = ours(x, lengths=torch.tensor(lengths, dtype=torch.int32))
    assert all(torch.equal(a, b) for a, b in zip(tensors(again), tensors((y, last)), strict=True))
    h_n = tensors(ours(x, lengths=[0, 0, 1, 6])[1])[0]
    assert (h_n[:, :2] == 0).all()


def test_wrong_lengths_are_refused() -> None:
    lstm, x = ft.LSTM(I, H), torch.zeros(T, B, I)
    with pytest.raises(
        ValueError, match=r"LSTM: lengths has shape \(3,\), expected \(B,\) = \(4,\)"
    ):
        lstm(x, lengths=[1, 2, 3])
    with pytest.raises(ValueError, match=r"lengths\[1\] has value 7, expected 0 to T = 6"):
        lstm(x, lengths=[1, 7, 1, 1])
    with pytest.raises(TypeError, match=r"lengths has dtype torch.float32, expected integers"):
        lstm(x, lengths=[1.0, 1, 1, 1])
    with pytest.raises(ValueError, match="one sequence has nothing to pad"):
        lstm(x[:, 0], lengths=[1])
