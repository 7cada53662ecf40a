"""Being an instance of torch.nn's class without deriving from it.

torch.compile refuses to trace every instance of torch.nn.LSTM, GRU and RNN, and asks with
`isinstance`; training code asks with `isinstance` too, to initialise or to wrap recurrent layers.
So the classes here derive from torch.nn.RNNBase, and their instances name a class that derives from
both as their `__class__`, except to torch.compile (decision 0018).
"""

from __future__ import annotations

from typing import Any

import torch
from torch._guards import TracingContext

_set_class = object.__dict__["__class__"].__set__


def _named_class(self: Any) -> type:
    own: type = type(self)
    theirs: type = own._torch_class  # type: ignore[attr-defined]
    if issubclass(own, theirs) or TracingContext.try_get() is not None:
        return own
    both = own.__dict__.get("_both_classes")
    if both is None:
        names = {"__module__": own.__module__, "__qualname__": own.__qualname__}
        both = type(own.__name__, (own, theirs), names)
        own._both_classes = both  # type: ignore[attr-defined]
    return both


def _rebuild(cls: type) -> Any:
    return cls.__new__(cls)


class TorchIdentity:
    """Mixin: instances pass `isinstance(module, cls._torch_class)`."""

    _torch_class: type[torch.nn.Module]
    __class__ = property(_named_class, _set_class)  # type: ignore[assignment]

    def __reduce_ex__(self, protocol: Any) -> Any:
        # pickle compares the class it is told to make with `__class__`, so it is told a function.
        cls = type(self)
        real = cls.__mro__[1] if cls is cls.__mro__[1].__dict__.get("_both_classes") else cls
        return _rebuild, (real,), self.__getstate__()  # type: ignore[attr-defined]
