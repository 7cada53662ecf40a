"""The layers under torch.compile, torch.export, torch.func and checkpointing, against torch.nn."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch_twins import assert_close, every_layer, hx, leaves, state, tensors, twins

import fastrnn.torch as ft

T, B, I, H = 4, 3, 3, 4


@every_layer
def test_compiled_without_a_break(name: str, options: Any) -> None:
    torch._dynamo.reset()  # its cache belongs to forward, which all modules here share
    theirs, ours = twins(name, I, H, 2, bidirectional=True, **options)
    compiled = torch.compile(ours, backend="aot_eager", fullgraph=True)
    x, states = torch.randn(T, B, I), state(name, 4, B, H)
    found = []
    for module in (compiled, theirs):
        given = leaves(x, *states)
        out = module(given[0], hx(name, given[1:]))
        module.zero_grad()
        sum((t * t).sum() for t in tensors(out)).backward()
        found.append([*tensors(out), *(g.grad for g in (*given, *module.parameters()))])
    assert_close(*found)
    with torch.no_grad():
        assert_close(compiled(x), theirs(x))
        assert_close(compiled(x[:3]), theirs(x[:3]))


@pytest.mark.parametrize("name", ["LSTMCell", "GRUCell", "RNNCell"])
def test_cells_compiled_and_transformed(name: str) -> None:
    torch._dynamo.reset()
    theirs, ours = twins(name, I, H)
    x, states = torch.randn(5, I), state(name, 5, H)
    expected = theirs(x, hx(name, states))
    compiled = torch.compile(ours, backend="aot_eager", fullgraph=True)
    for _ in range(2):
        assert_close(compiled(x, hx(name, states)), expected)
        assert_close(ours(x, hx(name, states)), expected)
    found = torch.vmap(lambda x, *s: ours(x, hx(name, s)))(x, *states)
    assert_close(found, expected)
    (grads,) = [torch.func.grad(lambda x: tensors(ours(x))[0].square().sum())(x)]
    (leaf,) = leaves(x)
    tensors(theirs(leaf))[0].square().sum().backward()
    assert_close(grads, leaf.grad)


@every_layer
def test_exported(name: str, options: Any) -> None:
    theirs, ours = twins(name, I, H, **options)
    x = torch.randn(T, B, I)
    steps = torch.export.Dim("steps", min=2, max=64)
    program = torch.export.export(ours.eval(), (x,), dynamic_shapes=({0: steps},))
    assert any("fastrnn.scan" in str(node.target) for node in program.graph.nodes)
    assert_close(program.module()(x), theirs(x))
    longer = torch.randn(9, B, I)
    assert_close(program.module()(longer), theirs(longer))


@every_layer
def test_ensembles(name: str, options: Any) -> None:
    pairs = [twins(name, I, H, 2, **options, dtype=torch.float64) for _ in range(8)]
    x = torch.randn(T, B, I, dtype=torch.float64)
    params, buffers = torch.func.stack_module_state([ours for _, ours in pairs])
    base = pairs[0][1]

    def call(params: Any, buffers: Any, x: Any) -> Any:
        return torch.func.functional_call(base, (params, buffers), (x,))

    found = torch.vmap(call, (0, 0, None))(params, buffers, x)
    expected = [tensors(theirs(x)) for theirs, _ in pairs]
    assert_close(found, [torch.stack(parts) for parts in zip(*expected, strict=True)])


@every_layer
def test_gradients_of_every_example(name: str, options: Any) -> None:
    theirs, ours = twins(name, I, H, 2, **options, dtype=torch.float64)
    xs = torch.randn(5, T, I, dtype=torch.float64)

    def loss(params: Any, x: Any) -> Any:
        y, last = torch.func.functional_call(ours, params, (x[:, None],))
        return (y * y).sum() + sum(t.sin().sum() for t in tensors(last))

    params = {name: p.detach() for name, p in ours.named_parameters()}
    found = torch.vmap(torch.func.grad(loss), (None, 0))(params, xs)
    joint = torch.func.grad(lambda p: torch.vmap(loss, (None, 0))(p, xs).sum())(params)
    for index, x in enumerate(xs):
        y, last = theirs(x[:, None])
        theirs.zero_grad()
        ((y * y).sum() + sum(t.sin().sum() for t in tensors(last))).backward()
        for key, p in theirs.named_parameters():
            assert_close(found[key][index], p.grad, key)
    for key in params:
        assert_close(joint[key], found[key].sum(0), key)


def test_jacobians() -> None:
    theirs, ours = twins("GRU", I, H, dtype=torch.float64)
    x = torch.randn(T, 1, I, dtype=torch.float64)
    found = torch.func.jacrev(lambda x: ours(x)[0])(x)
    expected = torch.autograd.functional.jacobian(lambda x: theirs(x)[0], x)
    assert_close(found, expected)


@pytest.mark.parametrize("name", ["LSTM", "GRU", "RNN", "LSTMCell", "GRUCell"])
def test_many_gradients_at_once(name: str) -> None:
    """is_grads_batched, and jacobian(vectorize=True), which is made of it."""
    cell = name.endswith("Cell")
    sizes = (I, H) if cell else (I, H, 2)
    theirs, ours = twins(name, *sizes, dtype=torch.float64)
    x = torch.randn(*(() if cell else (T,)), B, I, dtype=torch.float64)
    found = []
    for module in (ours, theirs):
        (leaf,) = leaves(x)
        y = tensors(module(leaf))
        many = [torch.randn(3, *t.shape, dtype=x.dtype, generator=_generator()) for t in y]
        wrt = [leaf, *module.parameters()]
        found.append(torch.autograd.grad(y, wrt, many, is_grads_batched=True))
    assert_close(*found)
    given = (lambda x: tensors(ours(x))[-1], x)
    slow = torch.autograd.functional.jacobian(*given)
    assert_close(torch.autograd.functional.jacobian(*given, vectorize=True), slow)


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@every_layer
def test_second_derivatives_by_torch_func(name: str, options: Any) -> None:
    """grad of grad, masks and lengths too: what autograd's double backward gives."""
    ours = getattr(ft, name)(I, H, 2, bidirectional=True, dropout=0.5, **options).double()
    x, v = torch.randn(2, T, B, I, dtype=torch.float64)

    def loss(x: Any) -> Any:
        torch.manual_seed(5)
        return sum(t.square().sum() for t in tensors(ours(x, lengths=[2, 4, 0])))

    found = torch.func.grad(lambda x: (torch.func.grad(loss)(x) * v).sum())(x)
    (leaf,) = leaves(x)
    (slope,) = torch.autograd.grad(loss(leaf), leaf, create_graph=True)
    (expected,) = torch.autograd.grad((slope * v).sum(), leaf)
    assert_close(found, expected)


def test_module_second_gradients_and_penalties() -> None:
    """Eager double backward: a gradient penalty, as WGAN-GP has it."""
    theirs, ours = twins("LSTM", I, H, 2, bidirectional=True, dtype=torch.float64)
    x, found = torch.randn(T, B, I, dtype=torch.float64), []
    for module in (ours, theirs):
        (leaf,) = leaves(x)
        y = module(leaf)[0]
        (slope,) = torch.autograd.grad(y.square().sum(), leaf, create_graph=True)
        module.zero_grad()
        slope.square().sum().backward()
        found.append([slope.detach(), leaf.grad, *(p.grad for p in module.parameters())])
    assert_close(*found)


def test_dropout_under_vmap() -> None:
    rnn, xs = ft.RNN(I, H, 2, dropout=0.5), torch.randn(3, T, B, I)
    xs = xs[:1].expand(3, T, B, I)
    with pytest.raises(RuntimeError, match="randomness"):
        torch.vmap(lambda x: rnn(x)[0])(xs)
    same = torch.vmap(lambda x: rnn(x)[0], randomness="same")(xs)
    assert torch.equal(same[0], same[1])
    different = torch.vmap(lambda x: rnn(x)[0], randomness="different")(xs)
    assert not torch.equal(different[0], different[1])


def test_meta_and_fake_tensors() -> None:
    lstm = ft.LSTM(I, H, 2, bidirectional=True, device="meta")
    y, (h_n, c_n) = lstm(torch.empty(T, B, I, device="meta"))
    assert (y.shape, h_n.shape, c_n.shape) == ((T, B, 2 * H), (4, B, H), (4, B, H))
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        y, _ = ft.GRU(I, H)(torch.empty(T, B, I))
    assert y.shape == (T, B, H)


def test_checkpointing_draws_the_same_masks() -> None:
    from torch.utils.checkpoint import checkpoint

    gru, x, found = ft.GRU(I, H, 3, dropout=0.5), torch.randn(T, B, I), []
    for use in (False, True):
        (leaf,) = leaves(x)
        torch.manual_seed(7)
        y = checkpoint(gru, leaf, use_reentrant=False)[0] if use else gru(leaf)[0]
        y.square().sum().backward()
        found.append([y.detach(), leaf.grad])
    assert_close(*found)
