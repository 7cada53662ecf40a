"""LSTM, GRU and RNN of fastrnn.torch against torch.nn's, call by call."""

from __future__ import annotations

import copy
import gc
import io
import itertools
import pickle
import weakref
from typing import Any

import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch_twins import LAYERS, H, I, assert_close, hx, leaves, run, state, tensors, twins

import fastrnn.torch as ft

T, B = 6, 4
every_layer = pytest.mark.parametrize(("name", "options"), LAYERS)
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


@pytest.mark.parametrize("name", ["LSTM", "GRU", "RNN"])
def test_torchs_constructor_errors(name: str) -> None:
    for kwargs in ({"dropout": 2}, {"bias": 0}, {"num_layers": 0}, {"nonlinearity": "abs"}):
        if name != "RNN" and "nonlinearity" in kwargs:
            continue
        with pytest.raises(Exception) as expected:  # noqa: PT011 - whatever torch says
            getattr(torch.nn, name)(I, H, **kwargs)
        with pytest.raises(type(expected.value)) as found:
            getattr(ft, name)(I, H, **kwargs)
        assert str(found.value) == str(expected.value)
    if name != "LSTM":
        with pytest.raises(ValueError, match="only supported for LSTM"):
            getattr(ft, name)(I, H, proj_size=2)


@every_layer
def test_initialisation_repr_and_identity(name: str, options: Any) -> None:
    sizes = {"num_layers": 2, "bidirectional": True, "batch_first": True, "dropout": 0.25}
    torch.manual_seed(3)
    theirs = getattr(torch.nn, name)(I, H, **sizes, **options)
    torch.manual_seed(3)
    ours = getattr(ft, name)(I, H, **sizes, **options)
    assert repr(ours) == repr(theirs)
    assert [*ours.state_dict()] == [*theirs.state_dict()]
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(a, b)
    assert isinstance(ours, getattr(torch.nn, name))
    assert not isinstance(ours, torch.nn.LSTM if name == "GRU" else torch.nn.GRU)
    ours.flatten_parameters()


def test_copies() -> None:
    lstm, x = ft.LSTM(I, H, 2), torch.randn(T, B, I)
    expected = lstm(x)[0]
    file = io.BytesIO()
    torch.save(lstm, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    for other in (copy.deepcopy(lstm), pickle.loads(pickle.dumps(lstm)), loaded, copy.copy(lstm)):
        assert type(other) is ft.LSTM
        assert torch.equal(other(x)[0], expected)
        assert "_held_weights" not in pickle.loads(pickle.dumps(other)).__dict__


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


def test_weight_norm_and_tying() -> None:
    for wrap in (torch.nn.utils.parametrizations.weight_norm,):
        theirs, ours = twins("LSTM", I, H)
        wrap(theirs, "weight_hh_l0")
        wrap(ours, "weight_hh_l0")
        ours.load_state_dict(theirs.state_dict())
        x, weights = torch.randn(T, B, I), [torch.randn(T, B, H), *state("LSTM", 1, B, H)]
        for _ in range(2):
            assert_close(run(ours, x, None, weights), run(theirs, x, None, weights))
            with torch.no_grad():
                for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
                    a.mul_(1.25)
                    b.mul_(1.25)
    theirs, ours = twins("GRU", H, H, 2)
    for module in (theirs, ours):
        module.weight_hh_l1 = module.weight_hh_l0
    x, weights = torch.randn(T, B, H), [torch.randn(T, B, H), *state("GRU", 2, B, H)]
    assert_close(run(ours, x, None, weights), run(theirs, x, None, weights))


def test_large_results_and_reserves() -> None:
    """Larger than what torch's allocator is asked for."""
    theirs, ours = twins("LSTM", 16, 64, batch_first=True)
    x = torch.randn(64, 40, 16)
    weights = [torch.randn(64, 40, 64), *state("LSTM", 1, 64, 64)]
    assert_close(run(ours, x, None, weights), run(theirs, x, None, weights))


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
    for module in (theirs, ours):
        with torch.autograd.forward_ad.dual_level():
            y = module(torch.autograd.forward_ad.make_dual(x, v))[0]
            tangent = torch.autograd.forward_ad.unpack_dual(y).tangent
        assert tangent is not None


@pytest.mark.parametrize("narrow", [torch.float32, torch.bfloat16])
@every_layer
def test_autocast_returns_torchs_dtypes(name: str, options: Any, narrow: torch.dtype) -> None:
    theirs, ours = twins(name, I, H, **options)
    x = torch.randn(T, B, I).to(narrow)
    for given in (None, state(name, 1, B, H)):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found, expected = (tensors(m(x, hx(name, given))) for m in (ours, theirs))
        for a, b in zip(found, expected, strict=True):
            assert a.dtype == b.dtype
            assert (a.float() - b.float()).abs().max() < 0.05
    found[0].float().sum().backward()
    assert ours.weight_hh_l0.grad.dtype == torch.float32
