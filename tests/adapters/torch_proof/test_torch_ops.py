"""torch.library.opcheck of every op that the layers and cells register, as they really call it."""

from __future__ import annotations

from typing import Any

import pytest
from proof_subject import beyond_torch, cls

torch = pytest.importorskip("torch", reason="the proof needs torch", exc_type=ImportError)
pytest.importorskip("expecttest", reason="torch's test utilities need expecttest")
from torch.testing._internal.optests import OpCheckError  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

NAMESPACE = "fastrnn"


class Recorder(TorchDispatchMode):
    """Keeps every call of an op of the namespace."""

    def __init__(self, namespace: str) -> None:
        super().__init__()
        self.namespace = namespace
        self.gradients = True  # whether the caller records: one below autograd cannot ask
        self.calls: dict[str, list[tuple[Any, Any, Any]]] = {}

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if op.namespace == self.namespace:
            kept = torch.utils._pytree.tree_map_only(
                torch.Tensor,
                lambda t: t.detach().clone().requires_grad_(t.requires_grad and self.gradients),
                (args, kwargs),
            )
            self.calls.setdefault(op.name().split(".")[0], []).append((op, *kept))
        return op(*args, **kwargs)


def registered() -> set[str]:
    names = torch._C._dispatch_get_all_op_names()
    return {name.split(".")[0] for name in names if name.startswith(f"{NAMESPACE}::")}


def recorded() -> dict[str, list[tuple[Any, Any, Any]]]:
    """What small calls of every class make: training, inference, ragged, double backward."""
    calls: dict[str, list[tuple[Any, Any, Any]]] = {}
    for name in ("LSTM", "GRU", "RNN"):
        for options in ({}, {"num_layers": 2, "bidirectional": True, "dropout": 0.5}):
            layer = cls(name)(3, 4, dtype=torch.float64, **options)
            for extra in ({}, {"lengths": torch.tensor([2, 5])}):
                x = torch.randn(5, 2, 3, dtype=torch.float64, requires_grad=True)
                _record(calls, layer, (x,), extra)
    for name in ("LSTMCell", "GRUCell", "RNNCell"):
        x = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
        _record(calls, cls(name)(3, 4, dtype=torch.float64), (x,), {})
    return calls


def _record(calls: dict[str, Any], layer: Any, args: Any, kwargs: Any) -> None:
    with Recorder(NAMESPACE) as recorder:
        found = layer(*args, **kwargs)
        first = found[0] if isinstance(found, tuple) else found
        leaves = [args[0], *layer.parameters()]
        grads = torch.autograd.grad(first.square().sum(), leaves, create_graph=True)
        sum(g.square().sum() for g in grads).backward()
        recorder.gradients = False
        with torch.no_grad():
            layer(*args, **kwargs)
    for key, found in recorder.calls.items():
        calls.setdefault(key, []).extend(found)


@beyond_torch("op in the namespace fastrnn")
def test_every_registered_op_is_called() -> None:
    called = set(recorded())
    assert called == registered()
    assert called


@beyond_torch("op in the namespace fastrnn")
def test_opcheck() -> None:
    """Schema, autograd registration, fake tensors, AOT dispatch with dynamic shapes."""
    checked = 0
    for name, calls in recorded().items():
        for op, args, kwargs in calls:
            torch.library.opcheck(op, args, kwargs)
            checked += 1
        assert calls, name
    assert checked >= len(registered())


@beyond_torch("op in the namespace fastrnn")
def test_the_ops_are_called_with_and_without_gradients() -> None:
    """So that opcheck has looked at their derivatives too."""
    for name, calls in recorded().items():
        asked = {any(t.requires_grad for t in _tensors(args)) for _, args, _ in calls}
        assert True in asked, name
    assert any(
        not any(t.requires_grad for t in _tensors(args))
        for calls in recorded().values()
        for _, args, _ in calls
    )


def _tensors(tree: Any) -> list[Any]:
    flat, _ = torch.utils._pytree.tree_flatten(tree)
    return [leaf for leaf in flat if isinstance(leaf, torch.Tensor)]


def test_the_recorder_and_opcheck_notice_an_op_without_a_fake() -> None:
    @torch.library.custom_op("fastrnn_proof::twice", mutates_args=())
    def twice(x: torch.Tensor) -> torch.Tensor:
        return 2 * x

    with Recorder("fastrnn_proof") as recorder:
        twice(torch.ones(3))
    ((op, args, kwargs),) = recorder.calls["fastrnn_proof::twice"]
    with pytest.raises(OpCheckError):
        torch.library.opcheck(op, args, kwargs)
    twice.register_fake(torch.empty_like)
    torch.library.opcheck(op, args, kwargs)
