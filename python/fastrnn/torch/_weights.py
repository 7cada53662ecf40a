"""Packed weights: what a caller keeps of them from call to call, and when they are looked at again.

Torch counts in-place writes to a tensor, but not all of them: `p.data`, NumPy views, other
processes and FSDP write uncounted. So every call of the engine compares contents (decision 0006),
which nothing escapes and which costs one read of the weights. A call of few rows and steps over
wide weights would pay its own work again for that; there torch.nn runs (`_why`, decision 0017).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from operator import is_
from typing import Any

import torch
from torch import Tensor

from .. import _core
from ._stack import Stack

Addresses = tuple[int, ...]

# For operators, which have no module to keep anything: a compiled model has few recurrent layers,
# and what outlives its model stays small.
_MOST = 16
_MOST_BYTES = 256 << 20
_lock = threading.Lock()
_kept: OrderedDict[Any, Held] = OrderedDict()


def _looks(params: list[Any]) -> list[tuple[int, torch.Size, torch.dtype, bool]]:
    """What can change of Parameters that stay the same objects, as `p.data = ...` does it.

    `p.data.t()` and `p.data[:n]` have the address of p, and so may what is made after its memory
    is freed, of any dtype.
    """
    return [(p.data_ptr(), p.shape, p.dtype, p.is_contiguous()) for p in params]


class Held:
    """What a module, or an operator for some addresses, keeps of its last call. Never copied.

    `stack` says what the kernels are told, `packed` has the weights in their order. `found` are
    Parameters that were found fit, with what has to be the same of each at the next call and
    their addresses; one attribute, so that threads see all three or none. `last` is what `_quick`
    wants of the last call.
    """

    __slots__ = ("found", "last", "packed", "stack")

    def __init__(self) -> None:
        self.stack: Stack | None = None
        self.packed: Any = None
        self.found: tuple[list[Any], list[Any], Addresses] | None = None
        self.last: Any = None

    def __deepcopy__(self, _: Any) -> Held:
        return Held()  # the copy of a module begins anew

    def __reduce__(self) -> Any:
        return Held, ()

    def take(self, stack: Stack) -> Stack:
        """Begin with a stack: nothing of another one holds for it."""
        self.packed = self.found = self.last = None
        self.stack = stack
        return stack

    def known(self, params: list[Any]) -> Addresses | None:
        """Where the parameters lie, if they are those that were found fit, as they were."""
        if self.found is None:
            return None
        kept, looks, addresses = self.found
        same = all(map(is_, params, kept)) and _looks(params) == looks  # which counts them too
        return addresses if same else None

    def learn(self, params: list[Any]) -> None:
        """Take note of parameters that were found fit, if they are a module's own."""
        self.found = None
        if all(type(p) is torch.nn.Parameter and p.is_cpu and not p.is_neg() for p in params):
            looks = _looks(params)
            addresses = tuple([look[0] for look in looks])
            if 0 not in addresses and all(look[-1] for look in looks):
                self.found = params, looks, addresses

    def run(self, engine: Any, stack: Stack, addresses: Addresses, call: Any) -> Any:
        """A call of the engine with the parameters as they are; returns what they were packed to.

        Other threads may call the module meanwhile, so `self.packed` is not asked again.
        """
        used = self.packed = engine(self.packed or stack.pack(addresses), addresses, *call)
        return used


def held_by(module: torch.nn.Module) -> Held:
    """The module's own, made when first asked for."""
    own = module.__dict__
    held: Held | None = own.get("_held_weights")
    if held is None:
        held = own["_held_weights"] = Held()
    return held


def plain(tensor: Tensor) -> Tensor:
    """The tensor with its elements in C order, as they are in memory."""
    if tensor.is_neg():  # a view that says "negated" and leaves its memory alone
        tensor = tensor.resolve_neg()
    return tensor if tensor.is_contiguous() else tensor.contiguous()


def readable(params: Sequence[Tensor]) -> Sequence[Tensor]:
    """The parameters with their elements in C order; the same ones if they are."""
    for param in params:
        if not param.is_contiguous() or param.is_neg():
            return [plain(p) for p in params]
    return params


def addresses_of(params: Sequence[Tensor]) -> Addresses:
    """Where readable parameters lie. Whoever asks holds them for as long."""
    found = tuple([p.data_ptr() for p in params])
    if 0 in found:
        raise RuntimeError(
            "fastrnn.torch: a parameter has no memory, expected its numbers; materialise it first"
        )
    return found


def refresh(held: Held, stack: Stack, params: Sequence[Tensor]) -> Any:
    """The packed weights of the parameters as they are."""
    params = readable(params)
    addresses = addresses_of(params)
    packed = held.packed
    packed = stack.pack(addresses) if packed is None else _core.renew_at(packed, addresses)
    held.packed = packed
    return packed


@contextmanager
def weights_of(stack: Stack, params: Sequence[Tensor]) -> Iterator[Held]:
    """What operators kept for these addresses; what the body leaves there is kept for later.

    A hit is only a hint: another tensor may lie at an old address, and contents decide.
    """
    key = (stack, *[p.data_ptr() for p in params])
    with _lock:
        held = _kept.pop(key, None) or Held()
    yield held
    if held.packed is None:
        return
    with _lock:
        _kept[key] = held
        total = sum(kept.packed.nbytes for kept in _kept.values())
        while len(_kept) > 1 and (len(_kept) > _MOST or total > _MOST_BYTES):
            total -= _kept.popitem(last=False)[1].packed.nbytes
