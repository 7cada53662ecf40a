"""Checks of the arguments that are not arrays: sizes, flags, dtypes, seeds."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

DTYPES = (np.dtype(np.float32), np.dtype(np.float64))
MAX_THREADS = 1024  # as the engine has it; the command line checks before it loads the engine
MAX_LAYERS = 65536  # four arrays each; more are mistakes, and would take minutes to list
_MAX_SIZE = 2**63 - 1


def integer(call: str, name: str, value: Any, low: int, high: int = _MAX_SIZE) -> int:
    """Return `value` as an int in [low, high]; bools and floats are not integers."""
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{call}: {name} is the bool {value}, expected an integer >= {low}")
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(
            f"{call}: {name} is {describe(value)}, expected an integer >= {low}; "
            f"use int(...) if the value is integral"
        ) from None
    if not low <= number <= high:
        expected = f">= {low}" if high == _MAX_SIZE and number < low else f"in [{low}, {high}]"
        raise ValueError(f"{call}: {name} is {_shown(number)}, expected an integer {expected}")
    return number


def flag(call: str, name: str, value: Any) -> bool:
    """Return `value` as a bool; nothing else is one, so that swapped arguments are noticed."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(
            f"{call}: {name} is {describe(value)}, expected True or False; "
            f"pass the later arguments by keyword"
        )
    return bool(value)


def recompute(call: str, value: Any) -> int:
    """Return what the engine takes: 0 for False, -1 for True, else the steps of a segment."""
    if isinstance(value, (bool, np.bool_)):
        return -1 if value else 0
    ways = (
        "expected False (keep everything), True (the engine picks the segments) "
        "or the steps of a segment, an integer >= 1"
    )
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{call}: recompute is {describe(value)}, {ways}") from None
    if not 1 <= number <= _MAX_SIZE:
        raise ValueError(f"{call}: recompute is {_shown(number)}, {ways}")
    return number


def dropout(call: str, value: Any) -> float:
    """Return the probability of zeroing an element, in [0, 1]."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(
        value, (int, float, np.integer, np.floating)
    ):
        raise TypeError(
            f"{call}: dropout is {describe(value)}, expected a number in [0, 1], "
            f"the probability of an element being zeroed"
        )
    if not 0 <= value <= 1:
        raise ValueError(
            f"{call}: dropout is {value}, expected a number in [0, 1], "
            f"the probability of an element being zeroed"
        )
    return float(value)


def dtype(call: str, value: Any) -> np.dtype[Any]:
    """Return float32 or float64 as a NumPy dtype in the machine's byte order."""
    ways = "expected np.float32 or np.float64; inputs and states then have the same dtype"
    if value is None:
        raise TypeError(f"{call}: dtype is None, {ways}")
    try:
        found: np.dtype[Any] = np.dtype(value)
    except Exception:  # np.dtype(...) asks the object itself, which may raise anything
        raise TypeError(f"{call}: dtype is {describe(value)}, {ways}") from None
    if found not in DTYPES:
        raise TypeError(f"{call}: dtype is {found}, {ways}")
    return found


def unsupported(call: str, **arguments: tuple[Any, tuple[Any, ...], str]) -> None:
    """Refuse torch's arguments whose other values do not exist here: name=(value, allowed, why)."""
    for name, (value, allowed, why) in arguments.items():
        if not any(type(value) is type(other) and value == other for other in allowed):
            shown = " or ".join(map(repr, allowed))
            raise ValueError(f"{call}: {name} is {describe(value)}, expected {shown}; {why}")


def nonlinearity(call: str, value: Any) -> str:
    """Return the name of the RNN cell with this activation."""
    if not isinstance(value, str) or value not in ("tanh", "relu"):
        kind = ValueError if isinstance(value, str) else TypeError
        raise kind(f"{call}: nonlinearity is {describe(value)}, expected 'tanh' or 'relu'")
    return f"rnn_{value}"


def rng(call: str, value: Any) -> np.random.Generator:
    """Return `np.random.default_rng(value)` (SPEC 7)."""
    ways = "expected None, an int >= 0 or a np.random.Generator (what np.random.default_rng takes)"
    if isinstance(value, (bool, np.bool_, str, bytes)):
        raise TypeError(f"{call}: rng is {describe(value)}, {ways}")
    try:
        return np.random.default_rng(value)
    except (TypeError, ValueError) as error:
        kind = ValueError if isinstance(error, ValueError) else TypeError
        raise kind(f"{call}: rng is {describe(value)}, {ways}") from None


def _shown(number: int) -> str:
    """Decimal digits, unless there are so many that Python refuses to write them."""
    return str(number) if number.bit_length() <= 128 else f"of {number.bit_length()} bits"


def describe(value: Any) -> str:
    """Say what a wrong argument is, in a few words that never raise or fill the screen."""
    kind = type(value)
    if value is None:
        return "None"
    if kind in (int, float, complex, str, bytes):
        text = _shown(value) if kind is int else repr(value)
        text = text if len(text) <= 40 else text[:37] + "..."
        return f"the {kind.__name__} {text}"
    name = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
    if isinstance(value, (tuple, list, dict, set)):
        return f"a {name} of {len(value)}"
    article = "an" if name[:1] in "aeiou" else "a"
    return f"{article} {name}"
