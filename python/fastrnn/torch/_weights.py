"""Packed weights: what a caller keeps of them from call to call, and when they are looked at again.

Torch counts in-place writes to a tensor, but not all of them: `p.data`, NumPy views, other
processes and FSDP write uncounted. So the engine compares contents (decision 0006), which nothing
escapes and which costs one read of the weights. A call of few rows and steps over wide weights
would pay several times its own work for that; there, and only there, the counters and a sample of
the contents are asked instead (decision 0017).
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

# Above these bytes weights leave the first caches, and reading them takes longer than a short call.
_WIDE_BYTES = 256 << 10
# Steps times rows from which the comparison is a small part of the call.
_SHORT_CALL = 16

# For operators, which have no module to keep anything: a compiled model has few recurrent layers,
# and what outlives its model stays small.
_MOST = 16
_MOST_BYTES = 256 << 20
_lock = threading.Lock()
_kept: OrderedDict[Any, Held] = OrderedDict()


class Held:
    """What a module, or an operator for some addresses, keeps of its last call. Never copied.

    `stack` says what the kernels are told, `packed` has the weights in their order. `params` are
    Parameters that were found fit, and `addresses` where they lay: neither their shape nor their
    dtype can have changed where both are the same.
    """

    __slots__ = ("addresses", "packed", "params", "shapes", "stack", "witness")

    def __init__(self) -> None:
        self.stack: Stack | None = None
        self.packed: Any = None
        self.params: list[Any] | None = None
        self.addresses: Addresses = ()
        self.witness: Any = None
        self.shapes: Any = None  # of a cell's input and state

    def known(self, params: list[Any]) -> Addresses | None:
        """Where the parameters lie, if they are those that were found fit, at the same place."""
        last = self.params
        if last is None:
            return None
        if len(params) == len(last) and all(map(is_, params, last)):
            addresses = tuple([p.data_ptr() for p in params])
            if addresses == self.addresses:
                return addresses
        return None

    def learn(self, params: list[Any]) -> None:
        """Take note of parameters that were found fit, if they are a module's own."""
        self.params = self.shapes = None
        if all(type(p) is torch.nn.Parameter and p.is_cpu and p.is_contiguous() for p in params):
            self.addresses = tuple([p.data_ptr() for p in params])
            if 0 not in self.addresses:
                self.params = params

    def run(self, stack: Stack, addresses: Addresses, params: Any, work: int, call: Any) -> None:
        """forward_at with the right weights: of a call of so many steps times rows."""
        witness = None
        if stack.weight_bytes > _WIDE_BYTES and work < _SHORT_CALL:
            witness = _witness(stack, addresses, params)
        compare = witness is None or witness != self.witness
        packed = self.packed or stack.pack(addresses)
        self.packed = _core.forward_at(packed, addresses, compare, *call)
        if compare:  # after `packed`: who sees this witness, in any thread, sees its weights
            self.witness = witness


def _witness(stack: Stack, addresses: Addresses, params: Any) -> Any:
    """What short calls over wide weights go by; None if torch does not count writes to them."""
    try:
        counts = tuple([p._version for p in params])
    except RuntimeError:  # inference tensors
        return None
    return addresses, counts, _core.sample_at(addresses, stack.param_bytes)


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
    if held.packed is None:
        held.packed = stack.pack(addresses)
    else:
        held.packed = _core.renew_at(held.packed, addresses)
    return held.packed


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
