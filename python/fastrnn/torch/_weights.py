"""Packed weights for operators, which have no module to keep them: a few, most recent last.

A hit is only a hint. The engine compares the contents of the parameters with those that were packed
(decision 0006), so a write that nobody announced, or another tensor at an old address, is noticed.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from .. import _core
from ._call import Stack, addresses_of, readable

# A compiled model has few recurrent layers; what outlives its model stays small.
_MOST = 16
_MOST_BYTES = 256 << 20

_lock = threading.Lock()
_kept: OrderedDict[Any, Any] = OrderedDict()


class _Held:
    """The packed weights of one call: those of the last one with these addresses, if any."""

    __slots__ = ("packed",)

    def __init__(self, packed: _core.Packed | None) -> None:
        self.packed = packed

    def refresh(self, stack: Stack, params: Sequence[Tensor]) -> None:
        """Make `packed` hold the parameters as they are."""
        params = readable(params)
        addresses = addresses_of(params)
        if self.packed is None:
            self.packed = stack.pack(addresses)
        else:
            self.packed = _core.renew_at(self.packed, addresses)


@contextmanager
def weights_of(stack: Stack, params: Sequence[Tensor]) -> Iterator[_Held]:
    """The packed weights to start from; what the body leaves in `packed` is kept for later."""
    key = (stack, *[p.data_ptr() for p in params])
    with _lock:
        held = _Held(_kept.pop(key, None))
    yield held
    if held.packed is None:
        return
    with _lock:
        _kept[key] = held.packed
        total = sum(packed.nbytes for packed in _kept.values())
        while len(_kept) > 1 and (len(_kept) > _MOST or total > _MOST_BYTES):
            total -= _kept.popitem(last=False)[1].nbytes
