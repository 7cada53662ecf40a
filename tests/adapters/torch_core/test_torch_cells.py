"""LSTMCell, GRUCell and RNNCell of fastrnn.torch against torch.nn's."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from tolerances import GRADCHECK
from torch_twins import CELLS, H, I, assert_close, hx, leaves, run, state, tensors, twins

import fastrnn.torch as ft

every_cell = pytest.mark.parametrize(("name", "options"), CELLS)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@every_cell
def test_steps_and_gradients(name: str, options: Any, dtype: torch.dtype, bias: bool) -> None:
    theirs, ours = twins(name, I, H, bias=bias, dtype=dtype, **options)
    for outer in ((4,), ()):
        x = torch.randn(*outer, I, dtype=dtype)
        states, weights = (state(name, *outer, H, dtype=dtype) for _ in range(2))
        for given in (states, None):
            assert_close(run(ours, x, given, weights), run(theirs, x, given, weights))
            with torch.no_grad():
                assert_close(ours(x, hx(name, given)), theirs(x, hx(name, given)))
    if name == "LSTMCell":
        for some in ([None, weights[1]], [weights[0], None]):
            assert_close(run(ours, x, states, some), run(theirs, x, states, some))


@every_cell
def test_unrolled_in_a_loop(name: str, options: Any) -> None:
    theirs, ours = twins(name, I, H, **options, dtype=torch.float64)
    x, found = torch.randn(9, 3, I, dtype=torch.float64), []
    for module in (ours, theirs):
        (leaf,), now = leaves(x), None
        for x_t in leaf:
            now = module(x_t, now)
        sum((t * t).sum() for t in tensors(now)).backward()
        found.append([*tensors(now), leaf.grad, *(p.grad for p in module.parameters())])
    assert_close(*found)


@every_cell
def test_second_derivatives(name: str, options: Any) -> None:
    cell = getattr(ft, name)(3, 4, **options, dtype=torch.float64)
    x, *states = leaves(
        *(t * 2 for t in [torch.randn(2, 3).double(), *state(name, 2, 4, dtype=torch.float64)])
    )
    arguments = (x, *states, *cell.parameters())

    def call(x: Any, *rest: Any) -> Any:
        names = dict(zip((n for n, _ in cell.named_parameters()), rest[len(states) :], strict=True))
        return tensors(torch.func.functional_call(cell, names, (x, hx(name, rest[: len(states)]))))

    assert torch.autograd.gradcheck(call, arguments, **GRADCHECK)
    assert torch.autograd.gradgradcheck(call, arguments, **GRADCHECK)


@every_cell
def test_torchs_errors_in_torchs_words(name: str, options: Any) -> None:
    theirs, ours = twins(name, I, H, **options)
    x, bad = torch.randn(4, I), torch.randn(4, H + 1)
    three = torch.randn(1, 4, H)
    calls: list[Any] = [(torch.randn(2, 4, I),), (torch.randn(4, I + 1),), (x.double(),)]
    calls += [(x, (s, s) if name == "LSTMCell" else s) for s in (bad, three, torch.randn(3, H))]
    for call in calls:
        with pytest.raises(Exception) as expected:  # noqa: PT011 - whatever torch says
            theirs(*call)
        with pytest.raises(type(expected.value)) as found:
            ours(*call)
        assert str(found.value) == str(expected.value)


def test_recorded_steps_go_where_they_are_quicker() -> None:
    x = torch.randn(2, 150)
    for name, size, path in (
        ("RNNCell", 150, "torch.nn"),
        ("LSTMCell", 150, "torch.nn"),
        ("GRUCell", 8, "kernels, called directly"),
    ):
        theirs, ours = twins(name, size, size)
        report = ft.explain(ours, x[:, :size])
        assert report["path"] == path
        assert path != "torch.nn" or "recorded" in report["why"]
        with torch.no_grad():
            assert ft.explain(ours, x[:, :size])["path"] == "kernels, called directly"
        states = state(name, 2, size)
        for _ in range(3):
            weights = state(name, 2, size)
            given = (x[:, :size], states, weights)
            assert_close(run(ours, *given), run(theirs, *given))
            with torch.no_grad():
                assert_close(ours(x[:, :size]), theirs(x[:, :size]))
    rnn = ft.GRU(150, 150)
    assert "recorded" in ft.explain(rnn, x[None])["why"]
    assert ft.explain(rnn, x[None].expand(2, 2, 150))["path"] == "kernels, called directly"


def test_copies_and_identity() -> None:
    cell, x = ft.LSTMCell(I, H), torch.randn(4, I)
    expected = cell(x)
    assert isinstance(cell, torch.nn.LSTMCell)
    assert repr(cell) == repr(torch.nn.LSTMCell(I, H))
    for other in (copy.deepcopy(cell), pickle.loads(pickle.dumps(cell))):
        assert type(other) is ft.LSTMCell
        assert all(torch.equal(a, b) for a, b in zip(other(x), expected, strict=True))


def test_what_the_kernels_do_not_take_is_torchs() -> None:
    theirs, ours = twins("GRUCell", I, H, dtype=torch.bfloat16)
    x = torch.randn(4, I).bfloat16()
    assert torch.equal(ours(x), theirs(x))
    assert ft.explain(ours, x)["path"] == "torch.nn"
    cell = ft.GRUCell(I, H)
    assert ft.explain(cell, x.float())["path"] == "kernels, called directly"
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert "autocast" in ft.explain(cell, x.float())["why"]
        assert cell(x.float()).dtype == torch.float32
