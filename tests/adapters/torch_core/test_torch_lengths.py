"""Rows of different lengths: PackedSequence as torch.nn takes it, and `lengths=`."""

from __future__ import annotations

from typing import Any

import pytest
import torch
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
