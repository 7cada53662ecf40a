"""Python's own sentences about arguments, with the name of the class that was called."""

from __future__ import annotations

from functools import update_wrapper
from inspect import getattr_static
from types import FunctionType
from typing import TypeVar

C = TypeVar("C", bound=type)


def own_methods(cls: C) -> C:
    """Decorator: gives a class copies of the public methods it inherits, named after itself.

    Python refuses missing and unknown arguments in the name that a function was written under:
    "Recurrent.__call__() missing 1 required positional argument" for a call of an LSTM.
    """
    for name in dir(cls):
        method = getattr_static(cls, name)
        is_public = name == "__call__" or not name.startswith("_")
        if is_public and isinstance(method, FunctionType) and name not in vars(cls):
            own = FunctionType(
                method.__code__, method.__globals__, name, method.__defaults__, method.__closure__
            )
            update_wrapper(own, method)
            del vars(own)["__wrapped__"]  # it is the same code, not a layer around it
            own.__kwdefaults__ = method.__kwdefaults__
            own.__module__ = cls.__module__
            own.__qualname__ = f"{cls.__qualname__}.{name}"
            setattr(cls, name, own)
    return cls
