"""LSTM, GRU and RNN of fastrnn.torch against torch.nn's, call by call."""

from __future__ import annotations

import gc
import itertools
import weakref
from typing import Any

import pytest
import torch
from torch_twins import H, I, assert_close, every_layer, hx, run, state, twins

import fastrnn.torch as ft

T, B = 6, 4
every_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
STACKS = [
    {},
    {"num_layers": 3},
    {"bidirectional": True},
    {"num_layers": 2, "bidirectional": True, "batch_first": True},
    {"bias": False, "batch_first": True},
]


@every_dtype
@pytest.mark.parametrize("stack", STACKS)
@every_layer
def test_results_and_gradients(name: str, options: Any, stack: Any, dtype: torch.dtype) -> None:
    theirs, ours = twins(name, I, H, **options, **stack, dtype=dtype)
    scans = stack.get("num_layers", 1) * (1 + stack.get("bidirectional", False))
    first, second = (B, T) if stack.get("batch_first") else (T, B)
    x = torch.randn(first, second, I, dtype=dtype)
    y = torch.randn(first, second, H * (1 + stack.get("bidirectional", False)), dtype=dtype)
    states, d_states = (state(name, scans, B, H, dtype=dtype) for _ in range(2))
    wanted = [[y, *d_states], [y] + [None] * len(d_states), [None, *d_states]]
    for given, weights in itertools.product([states, None], wanted):
        assert_close(run(ours, x, given, weights), run(theirs, x, given, weights))
    with torch.no_grad():
        assert_close(ours(x, hx(name, states)), theirs(x, hx(name, states)))


@every_layer
def test_one_sequence(name: str, options: Any) -> None:
    for batch_first in (False, True):
        theirs, ours = twins(name, I, H, 2, batch_first=batch_first, **options)
        x, states = torch.randn(T, I), state(name, 2, H)
        weights = [torch.randn(T, H), *state(name, 2, H)]
        for given in (states, None):
            assert_close(run(ours, x, given, weights), run(theirs, x, given, weights))


def test_strange_memory_is_read_right() -> None:
    theirs, ours = twins("LSTM", I, H, dtype=torch.float64)
    wide = torch.randn(T, I, 2 * B, dtype=torch.float64)
    negated = torch.randn(T, B, I, dtype=torch.complex128).conj().imag
    assert negated.is_neg()
    one_row = torch.randn(1, 1, I, dtype=torch.float64).expand(T, B, I)
    for x in (wide.transpose(1, 2)[:, ::2], negated, one_row, wide.movedim(2, 0)[:T, :B]):
        assert_close(ours(x), theirs(x))
    ours.weight_hh_l0 = theirs.weight_hh_l0 = torch.nn.Parameter(
        theirs.weight_hh_l0.detach().t().contiguous().t()
    )
    x = wide.transpose(1, 2)[:, :B]
    assert_close(run(ours, x, None, None), run(theirs, x, None, None))


def test_large_results_and_reserves() -> None:
    """Larger than what torch's allocator is asked for."""
    theirs, ours = twins("LSTM", 16, 64, batch_first=True)
    x = torch.randn(64, 40, 16)
    weights = [torch.randn(64, 40, 64), *state("LSTM", 1, 64, 64)]
    assert_close(run(ours, x, None, weights), run(theirs, x, None, weights))


@every_layer
def test_torchs_errors_in_torchs_words(name: str, options: Any) -> None:
    theirs, ours = twins(name, I, H, **options)
    x, h = torch.randn(T, B, I), torch.randn(1, B, H)
    bad_states = [torch.randn(1, B, H + 1), torch.randn(2, B, H), torch.randn(B, H), h.double()]
    calls: list[Any] = [(torch.randn(T, B, I + 1),), (x.double(),), (torch.randn(2, T, B, I),)]
    calls += [(torch.randn(0, B, I),), (x[:, 0], h)]
    calls += [(x, (s, s) if name == "LSTM" else s) for s in bad_states]
    for call in calls:
        with pytest.raises(Exception) as expected:  # noqa: PT011 - whatever torch says
            theirs(*call)
        with pytest.raises(type(expected.value)) as found:
            ours(*call)
        assert str(found.value) == str(expected.value)


def test_dropout_follows_torchs_generator() -> None:
    gru, x = ft.GRU(I, H, 3, dropout=0.5), torch.randn(T, B, I)
    torch.manual_seed(5)
    first = gru(x)[0]
    second = gru(x)[0]
    torch.manual_seed(5)
    assert torch.equal(gru(x)[0], first)
    assert not torch.equal(first, second)
    with torch.no_grad():
        torch.manual_seed(5)
        assert torch.equal(gru(x)[0], first)
    plain = gru.eval()(x)[0]
    assert torch.equal(plain, gru(x)[0])
    theirs, ours = twins("LSTM", I, H, 3, dropout=1.0, bidirectional=True)
    weights = [torch.randn(T, B, 2 * H), *state("LSTM", 6, B, H)]
    assert_close(run(ours, x, None, weights), run(theirs, x, None, weights))


def test_a_second_backward_and_what_is_kept() -> None:
    lstm, x = ft.LSTM(I, H), torch.randn(T, B, I)
    loss = lstm(x)[0].sum()
    loss.backward(retain_graph=True)
    loss.backward()
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        loss.backward()

    kept: list[Any] = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.dtype == torch.uint8:
            tensor = tensor.clone()
            kept.append(weakref.ref(tensor))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = lstm(x)[0].sum()
    assert kept[0]() is not None
    loss.backward()
    gc.collect()
    assert kept[0]() is None  # freed although the loss lives


def test_parameters_changed_in_between_are_noticed() -> None:
    lstm, x = ft.LSTM(I, H), torch.randn(T, B, I)
    loss = lstm(x)[0].sum()
    with torch.no_grad():
        lstm.weight_hh_l0.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
