"""The layers as objects: made, shown, copied, moved, parametrized like torch.nn's."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import pytest
import torch
from torch_twins import H, I, assert_close, every_layer, run, state, tensors, twins

import fastrnn.torch as ft

T, B = 6, 4


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


@pytest.mark.parametrize("name", ["LSTM", "GRU", "RNN"])
def test_torchs_constructor_errors(name: str) -> None:
    for kwargs in ({"dropout": 2}, {"bias": 0}, {"num_layers": 0}, {"nonlinearity": "abs"}):
        if name != "RNN" and "nonlinearity" in kwargs:
            continue
        expected = _refusal(getattr(torch.nn, name), kwargs)
        assert _refusal(getattr(ft, name), kwargs) == expected
        assert expected is not None or "bias" in kwargs  # torch 2.5 takes any bias
    if name != "LSTM":
        with pytest.raises(ValueError, match="only supported for LSTM"):
            getattr(ft, name)(I, H, proj_size=2)


def _refusal(make: Any, kwargs: Any) -> Any:
    try:
        make(I, H, **kwargs)
    except Exception as error:  # whatever torch says
        return type(error), str(error)
    return None


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


@pytest.mark.parametrize("name", ["LSTM", "LSTMCell"])
def test_moves_between_dtypes(name: str) -> None:
    theirs, ours = twins(name, I, H)
    x = torch.randn(T, B, I) if name == "LSTM" else torch.randn(B, I)
    for dtype in (torch.float32, torch.float64, torch.float32, torch.bfloat16, torch.float64):
        theirs, ours, x = theirs.to(dtype), ours.to(dtype), x.to(dtype)
        for _ in range(2):
            with torch.no_grad():
                found, expected = tensors(ours(x)), tensors(theirs(x))
            if dtype is torch.bfloat16:
                assert torch.equal(found[0], expected[0])
            else:
                assert_close(found, expected)
    ours.weight_hh_l0 = torch.nn.Parameter(torch.randn(4 * H, H))  # float32 among float64
    if name == "LSTM":
        assert "differ in dtype" in ft.explain(ours, x)["why"]


def test_weight_norm() -> None:
    theirs, ours = twins("LSTM", I, H)
    for module in (theirs, ours):
        torch.nn.utils.parametrizations.weight_norm(module, "weight_hh_l0")
    ours.load_state_dict(theirs.state_dict())
    x, weights = torch.randn(T, B, I), [torch.randn(T, B, H), *state("LSTM", 1, B, H)]
    for _ in range(2):
        assert_close(run(ours, x, None, weights), run(theirs, x, None, weights))
        with torch.no_grad():
            for parameter in (*ours.parameters(), *theirs.parameters()):
                parameter.mul_(1.25)


def test_tied_weights() -> None:
    theirs, ours = twins("GRU", H, H, 2)
    for module in (theirs, ours):
        module.weight_hh_l1 = module.weight_hh_l0
    x, weights = torch.randn(T, B, H), [torch.randn(T, B, H), *state("GRU", 2, B, H)]
    assert_close(run(ours, x, None, weights), run(theirs, x, None, weights))
