"""torch.library.opcheck of every op that the layers and cells register, as they really call it."""

from __future__ import annotations

from typing import Any

import pytest
from proof_subject import CELLS, LAYERS, beyond_torch, cls

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


STACK = {"num_layers": 2, "bidirectional": True}
# how a class is made -> name, options
MADE: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in (*LAYERS, *CELLS)},
    **{f"{name} stack": (name, STACK) for name in LAYERS},
    **{f"{name} dropout": (name, STACK | {"dropout": 0.5}) for name in LAYERS},
}

# tracing a double backward of two layers takes 10 seconds and more: one of them always
QUICK = {*LAYERS, *CELLS, "LSTM dropout"}


def recorded(made: str) -> dict[str, list[tuple[Any, Any, Any]]]:
    """What small calls make: training with a double backward, and inference; dense and ragged."""
    name, options = MADE[made]
    layer = cls(name)(3, 4, dtype=torch.float64, **options)
    calls: dict[str, list[tuple[Any, Any, Any]]] = {}
    for extra in ({}, {"lengths": torch.tensor([1, 2])}) if name in LAYERS else ({},):
        shape = (2, 2, 3) if name in LAYERS else (2, 3)
        x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
        with Recorder(NAMESPACE) as recorder:
            found = layer(x, **extra)
            first = found[0] if isinstance(found, tuple) else found
            leaves = [x, *layer.parameters()]
            grads = torch.autograd.grad(first.square().sum(), leaves, create_graph=True)
            sum(g.square().sum() for g in grads).backward()
            recorder.gradients = False
            with torch.no_grad():
                layer(x, **extra)
        for key, made_calls in recorder.calls.items():
            calls.setdefault(key, []).extend(made_calls)
    return calls


@beyond_torch("op in the namespace fastrnn")
def test_every_registered_op_is_called() -> None:
    """By the quick ones alone, so that none is left to the slow."""
    called = {op for made in QUICK for op in recorded(made)}
    assert called == registered()
    assert called


@beyond_torch("op in the namespace fastrnn")
@pytest.mark.parametrize(
    "made", [m if m in QUICK else pytest.param(m, marks=pytest.mark.slow) for m in MADE]
)
def test_opcheck(made: str) -> None:
    """Schema, autograd registration, fake tensors, AOT dispatch with dynamic shapes."""
    calls = recorded(made)
    asked = {
        any(t.requires_grad for t in _tensors(args)) for op in calls for _, args, _ in calls[op]
    }
    assert asked == {True, False}, "derivatives are looked at, and calls without them"
    failures = []
    for op, args, kwargs in (call for found in calls.values() for call in found):
        try:
            torch.library.opcheck(op, args, kwargs)
        except OpCheckError as error:
            failures.append(f"{op}: {error}")
    assert not failures, "\n".join(failures)


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
