"""Random wrong values for each kind of argument; every one of them must be refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Random = np.random.Generator
WRONG_DTYPES = [
    "f2",
    "g",
    "i1",
    "u1",
    "i4",
    "i8",
    "u8",
    "?",
    "F",
    "D",
    "O",
    "U3",
    "S3",
    "M8[s]",
    "m8[s]",
    "V7",
    "i4,f4",
]


class Tensor:
    """What identifies a torch tensor, without torch."""

    __module__ = "torch"


class Unreadable:
    """Looks like an array until it is read."""

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        raise OSError("the disk is gone")


class Liar:
    """An `__array__` that returns no array."""

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        return "not an array"


def choose(rng: Random, options: Any) -> Any:
    """One of the options, without NumPy converting it."""
    options = list(options)
    return options[int(rng.integers(len(options)))]


def not_an_array(rng: Random) -> Any:
    """Objects of types that are no arrays and hold none."""
    makers: list[Callable[[], Any]] = [
        lambda: "abc",
        lambda: b"abc",
        lambda: "",
        lambda: 3,
        lambda: 2.5,
        lambda: float("nan"),
        lambda: 10**400,
        lambda: 1j,
        lambda: True,
        dict,
        lambda: {"x": np.zeros(3)},
        lambda: {1, 2},
        object,
        lambda: lambda x: x,
        lambda: ...,
        lambda: NotImplemented,
        lambda: np.float32,
        lambda: range(3),
        lambda: (n for n in range(3)),
        lambda: [[1.0, 2.0], [3.0]],
        lambda: [[[0.5]]],
        list,
        Tensor,
        Unreadable,
        Liar,
        lambda: bytearray(b"12345678"),
        lambda: memoryview(b"12345678"),
    ]
    return choose(rng, makers)()


def wrong_dtype(rng: Random, good: np.ndarray) -> np.ndarray:
    """The same shape in a dtype that is not taken, or in the other float."""
    other = "f8" if good.dtype.itemsize == 4 else "f4"
    dtype = np.dtype(choose(rng, [*WRONG_DTYPES, other, other]))
    if rng.random() < 0.2:
        dtype = dtype.newbyteorder()
    return np.zeros(good.shape, dtype)


def wrong_shape(rng: Random, good: np.ndarray, axes: tuple[int, ...] | None = None) -> np.ndarray:
    """Another length of one of these axes: one more, one less, none, or more than can exist."""
    axis = int(choose(rng, axes if axes is not None else range(good.ndim)))
    length = good.shape[axis]
    new = choose(rng, [length + 1, max(length - 1, 0), 0, length + 7, 2**31, 2**40, 2**50])
    if new == length:  # of length 0 there is none less
        new = length + 1
    shape = list(good.shape)
    shape[axis] = new
    return np.broadcast_to(np.zeros((), good.dtype), shape)


def wrong_rank(rng: Random, good: np.ndarray, ranks: tuple[int, ...]) -> np.ndarray:
    """As many axes as none of the accepted ranks has."""
    rank = int(choose(rng, [r for r in range(8) if r not in ranks]))
    shape = (*good.shape, *([1] * 8))[:rank]
    return np.zeros(shape, good.dtype)


def masked(good: np.ndarray) -> np.ndarray:
    """A masked array of the right shape and dtype."""
    return np.ma.masked_array(good, mask=np.zeros(good.shape, bool))


def wrong_array(
    rng: Random,
    good: np.ndarray,
    axes: tuple[int, ...] | None = None,
    ranks: tuple[int, ...] | None = None,
) -> Any:
    """Anything that is not an array of the dtype and shape of `good`."""
    kind = int(rng.integers(8))
    if kind == 0:
        return masked(good)
    if kind <= 2:
        return not_an_array(rng)
    if kind <= 4:
        return wrong_dtype(rng, good)
    if kind == 5:
        return wrong_rank(rng, good, (good.ndim,) if ranks is None else ranks)
    return wrong_shape(rng, good, axes)


def wrong_integer(rng: Random, low: int, high: int | None = None) -> Any:
    """What is no integer, or one below `low` (and above `high`, if there is one)."""
    numbers = [low - 1, low - 7, -(2**31), -(2**63), -(2**70), -(10**5000)]
    if high is not None:
        numbers += [high + 1, high + 2, 2 * high + 1, 2**130, 10**5000]
    others = [None, "4", b"4", 4.0, float("nan"), 1e300, True, np.True_, 4j, [4], (4,), {}, "x"]
    others += [np.float32(4), np.array([4, 5]), np.array(4.0), object(), int]
    return choose(rng, numbers if rng.random() < 0.5 else others)


def wrong_segments(rng: Random) -> Any:
    """Neither a flag nor an integer of [1, 2**63)."""
    numbers = [0, -1, -7, -(2**63), 2**63, 2**130, 10**5000, np.int64(-1)]
    others = [None, "4", b"4", 4.0, float("nan"), 4j, [4], (4,), {}, np.float32(4), object(), int]
    return choose(rng, numbers if rng.random() < 0.5 else others)


def wrong_flag(rng: Random) -> Any:
    """What is neither True nor False."""
    options = [None, 0, 1, 2, -1, 0.0, 1.0, "True", "", [], [True], {}, np.array([True]), object()]
    return choose(rng, options)


def wrong_probability(rng: Random) -> Any:
    """No number of [0, 1]."""
    numbers = [-0.1, 1.1, -1e-12, 1 + 1e-9, 2, -1, 10**400, float("nan"), float("inf")]
    numbers += [-float("inf"), np.float32(-0.5), np.int64(3)]
    others = [None, "0.5", True, False, np.False_, [0.5], (), {}, np.array([0.5]), 0.5j, object()]
    return choose(rng, numbers if rng.random() < 0.5 else others)


def wrong_lengths(rng: Random, steps: int, rows: int) -> Any:
    """No (rows,) integers in [0, steps]; rows is at least 1."""
    good = rng.integers(0, steps + 1, rows)
    at = int(rng.integers(rows))
    kind = int(rng.integers(6))
    if kind == 0:
        bad = [-1, steps + 1, -(2**63), 2**63 - 1, -steps - 1, 2**31]
        good[at] = choose(rng, bad)
        return choose(rng, [good, good.tolist(), tuple(good.tolist()), good[::-1]])
    if kind == 1:
        wide = good.astype("u8")
        wide[at] = choose(rng, [2**63, 2**64 - 1, 2**32])
        return wide
    if kind == 2:
        values: list[Any] = good.tolist()
        values[at] = choose(rng, [float("nan"), 1.5, None, "2", 2**70, -(2**70), [1], True + 0.0])
        return values
    if kind == 3:
        return good.astype(choose(rng, ["f4", "f8", "f2", "?", "O", "U3", "M8[s]", "m8[s]", "F"]))
    if kind == 4:
        shapes = [(), (0,), (rows + 1,), (rows, 1), (1, rows), (rows, rows, 2), (2**40,)]
        return np.broadcast_to(np.int64(0), choose(rng, shapes))
    options = ["abc", b"abc", 5, 2.5, {}, {1}, object(), Tensor(), Unreadable(), Liar()]
    options += [np.ma.masked_array(good), float("nan"), lambda: 1, ..., range(rows + 1)]
    return choose(rng, options)


def not_a_pair(rng: Random) -> Any:
    """No array, and no sequence of two."""
    while True:
        found = not_an_array(rng)
        if not (isinstance(found, (list, tuple)) and len(found) == 2):
            return found


def wrong_state(rng: Random, state: Any, prefix: str, suffix: str) -> tuple[Any, tuple[str, ...]]:
    """A wrong state or gradient of one, and the words to name it by."""
    names = [f"{prefix}{letter}{suffix}" for letter in ("hc" if isinstance(state, tuple) else "h")]
    if len(names) == 1:
        if rng.random() < 0.3:
            return choose(rng, [(state,), (), (state, state), (None,)]), ("state", names[0])
        return wrong_array(rng, state), (names[0],)
    if rng.random() < 0.4:
        h, c = state
        wrong = [h, (h,), (), (h, c, c), [h], np.stack(state), not_a_pair(rng)]
        return choose(rng, wrong), ("state", *names)
    at = int(rng.integers(2))
    parts = list(state)
    parts[at] = wrong_array(rng, parts[at])
    return choose(rng, [tuple(parts), parts]), (names[at],)
