"""Corners that a review found: tensors that changed behind the module's back, or have no memory."""

from __future__ import annotations

import copy
import gc
import weakref
from typing import Any

import pytest

torch = pytest.importorskip("torch")
import fastrnn  # noqa: E402
import fastrnn.torch as ft  # noqa: E402

NAMES = ["LSTM", "GRU", "RNN", "LSTMCell", "GRUCell", "RNNCell"]


def pair(name: str) -> tuple[Any, Any, Any]:
    """Ours and torch.nn's, called once, and an input."""
    torch.manual_seed(0)
    theirs, ours = getattr(torch.nn, name)(4, 4), getattr(ft, name)(4, 4)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn((3, 4) if name.endswith("Cell") else (5, 3, 4))
    ours(x)
    return theirs, ours, x


def first(found: Any) -> Any:
    return found[0] if isinstance(found, tuple) else found


def weight(module: Any) -> Any:
    return next(p for name, p in module.named_parameters() if name.startswith("weight_hh"))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("recorded", [False, True])
def test_other_strides_at_the_same_address(name: str, recorded: bool) -> None:
    theirs, ours, x = pair(name)
    for module in (theirs, ours):
        p = weight(module)
        p.data = torch.as_strided(p.data, p.shape, (1, p.shape[0]))
    with torch.set_grad_enabled(recorded):
        for _ in range(2):
            torch.testing.assert_close(first(ours(x)), first(theirs(x)))


@pytest.mark.parametrize("name", [name for name in NAMES if name != "LSTM"])
def test_fewer_rows_at_the_same_address(name: str) -> None:
    theirs, ours, x = pair(name)
    for module in (theirs, ours):
        weight(module).data = weight(module).data[:3]
    for recorded in (False, True):
        with torch.set_grad_enabled(recorded):
            for module in (theirs, ours):
                with pytest.raises(RuntimeError):
                    module(x)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "RNNCell"])  # torch.nn's runs
def test_tensors_without_memory_are_refused(name: str) -> None:
    _, ours, x = pair(name)
    emptied = x.clone()
    emptied.untyped_storage().resize_(0)
    state = torch.randn((3, 4) if name.endswith("Cell") else (1, 3, 4))
    gone = state.clone()
    gone.untyped_storage().resize_(0)
    for recorded in (False, True):
        with torch.set_grad_enabled(recorded):
            for given, h in (
                (x.to("meta"), state),
                (emptied, state),
                (x, state.to("meta")),
                (x, gone),
            ):
                hx = (h, h) if name.startswith("LSTM") else h
                ours(x)
                with pytest.raises(RuntimeError):
                    ours(given, hx)
    with pytest.raises(RuntimeError, match="no memory"):
        ft.explain(getattr(ft, name)(4, 4, device="meta"), x)


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (lambda: ft.RNN(4, 4), (1, 3, 4)),
        (lambda: ft.GRU(512, 512).requires_grad_(False), (3, 3, 512)),
        (lambda: ft.LSTM(4, 4, proj_size=2), (5, 3, 4)),
        (lambda: ft.GRU(4, 4, batch_first=True).bfloat16(), (3, 5, 4)),
    ],
)
def test_rows_of_no_steps_where_torch_runs(module: Any, shape: tuple[int, ...]) -> None:
    module = module()
    dtype = next(module.parameters()).dtype
    x = torch.randn(shape, dtype=dtype)
    y, hx = module(x, lengths=[1, 0, 1])
    assert ft.explain(module, x)["path"] == "torch.nn"
    one = (y if module.batch_first else y.transpose(0, 1))[1]
    assert not one.any()
    for state in hx if isinstance(hx, tuple) else (hx,):
        assert not state[:, 1].any()
        assert state[:, 0].any()


def test_a_graph_does_not_keep_the_packed_weights() -> None:
    lstm = ft.LSTM(4, 4)
    y, _ = lstm(torch.randn(5, 3, 4))
    packed = weakref.ref(lstm.__dict__["_held_weights"].packed)
    (y.sum() * 0).backward()
    with torch.no_grad():
        lstm.weight_hh_l0.add_(1)
        lstm(torch.randn(5, 3, 4))
    gc.collect()
    assert packed() is None
    assert y.grad_fn is not None


def test_lengths_may_be_written_to_before_backward() -> None:
    np = pytest.importorskip("numpy")
    gradients = []
    for late in (False, True):
        torch.manual_seed(0)
        gru, lengths = ft.GRU(4, 4), np.array([5, 2, 3])
        y, _ = gru(torch.randn(5, 3, 4), lengths=lengths)
        if late:
            lengths[:] = 1
        y.sum().backward()
        gradients.append(gru.weight_hh_l0.grad)
    assert torch.equal(*gradients)


@pytest.mark.parametrize("wrong", [10**8, 2**62, -(2**40), -1, 6])
def test_wrong_lengths_take_no_memory(wrong: int) -> None:
    with pytest.raises(ValueError, match="lengths"):
        ft.GRU(4, 4)(torch.randn(5, 3, 4), lengths=[wrong, 1, 1])


def test_copies_of_parametrized_modules() -> None:
    cell = ft.GRUCell(4, 4)
    torch.nn.utils.parametrizations.weight_norm(cell, "weight_hh")
    x = torch.randn(3, 4)
    expected = cell(x)
    assert torch.equal(copy.deepcopy(cell)(x), expected)


def test_another_nonlinearity_or_mode_is_another_layer() -> None:
    x, h = torch.randn(3, 4), torch.randn(3, 4)
    cell, rnn = ft.RNNCell(4, 4), ft.RNN(4, 4)
    for _ in range(3):
        cell(x, h)
        rnn(x[None])
    cell.nonlinearity, rnn.mode = "relu", "RNN_RELU"
    for _ in range(3):
        with torch.no_grad():
            expected = torch.nn.RNNCell.forward(cell, x, h)
            assert torch.allclose(cell(x, h), expected, atol=1e-6)
            assert torch.allclose(
                rnn(x[None])[0], (x @ rnn.weight_ih_l0.T + _biases(rnn)).relu(), atol=1e-6
            )
    assert "relu" in repr(cell)
    assert ft.convert(torch.nn.RNNCell(4, 4, nonlinearity="relu")).nonlinearity == "relu"


def _biases(rnn: Any) -> torch.Tensor:
    return rnn.bias_ih_l0 + rnn.bias_hh_l0


@pytest.mark.parametrize("name", ["LSTM", "GRU", "GRUCell"])
def test_vmap_over_autograd_of_an_eager_graph(name: str) -> None:
    module = getattr(ft, name)(4, 4)
    x = torch.randn(*(() if name == "GRUCell" else (5,)), 3, 4, requires_grad=True)
    y = module(x)
    y = y if name == "GRUCell" else y[0]
    many = torch.randn(6, *y.shape)

    def one(v: torch.Tensor) -> torch.Tensor:
        return torch.autograd.grad(y, x, v, retain_graph=True)[0]

    found = torch.func.vmap(one)(many)
    assert torch.allclose(found, torch.stack([one(v) for v in many]), atol=1e-6)


def test_wrong_lengths_where_torch_runs() -> None:
    lstm = ft.LSTM(4, 4).bfloat16()
    x = torch.randn(5, 2, 4, dtype=torch.bfloat16)
    for wrong in (-1, 6):
        with pytest.raises(
            ValueError, match=rf"lengths\[1\] has value {wrong}, expected 0 to T = 5"
        ):
            lstm(x, lengths=[3, wrong])


def test_explain_refuses_what_is_no_tensor() -> None:
    for wrong in ((5, 3, 4), torch.nn.utils.rnn.pack_sequence([torch.zeros(5, 4)])):
        with pytest.raises(TypeError, match="explain: input is a"):
            fastrnn.explain(ft.LSTM(4, 4), wrong)
