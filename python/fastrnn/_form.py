"""How the caller's arrays relate to the engine's, which always have every axis.

The engine reads sequences (T, B, features), or (B, T, features) in place if batch-first, and
states (S, B, H) with S = L*D. A caller may leave axes of length 1 out: no B for one sequence, and
for a cell no T and no S.
"""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

Array = npt.NDArray[Any]
Shape = tuple[int, ...]
Index = tuple[slice | int | None, ...]

_LETTERS = {"T": "T", "B": "B", "S": "L*D"}


class Form:
    """The axes before the last one, as the caller has them.

    `outer` are those of x, y and their gradients: "TB", "BT", "T", "B" or "". `state` are those
    of states and their gradients: "SB", "S", "B" or "".
    """

    def __init__(self, outer: str, state: str) -> None:
        self.outer = outer
        self.state = state
        self.batch_first = outer == "BT"  # the engine's sequences are then (B, T, features)
        order = outer if len(outer) == 2 else "TB"
        self._sequence = _indices(outer, order)
        self._state = _indices(state, "SB")

    def sequence_letters(self, last: str) -> str:
        """The shape of a sequence as it is written in messages: "(T, B, I)"."""
        return _written(self.outer, last)

    def state_letters(self) -> str:
        """The shape of a state as it is written in messages: "(L*D, B, H)"."""
        return _written(self.state, "H")

    def sequence_shape(self, steps: int, rows: int, last: int) -> Shape:
        """The caller's shape of a sequence with these sizes."""
        sizes = {"T": steps, "B": rows}
        return (*(sizes[axis] for axis in self.outer), last)

    def state_shape(self, scans: int, rows: int, last: int) -> Shape:
        """The caller's shape of a state with these sizes."""
        sizes = {"S": scans, "B": rows}
        return (*(sizes[axis] for axis in self.state), last)

    def enter_sequence(self, value: Array) -> Array:
        """The caller's sequence with the engine's axes."""
        return value if self._sequence is None else value[self._sequence[0]]

    def leave_sequence(self, value: Array) -> Array:
        """The engine's sequence with the caller's axes."""
        return value if self._sequence is None else value[self._sequence[1]]

    def enter_state(self, value: Array) -> Array:
        """The caller's state with the engine's axes."""
        return value if self._state is None else value[self._state[0]]

    def leave_state(self, value: Array) -> Array:
        """The engine's state with the caller's axes."""
        return value if self._state is None else value[self._state[1]]

    def time_and_rows(self, value: Array) -> tuple[int, int]:
        """T and B of a sequence with the engine's axes."""
        first, second = value.shape[:2]
        return (second, first) if self.batch_first else (first, second)


def _indices(given: str, order: str) -> tuple[Index, Index] | None:
    """Indices that add the axes which `given` lacks, and that take them away; None if none."""
    if given == order:
        return None
    every = slice(None)
    add = tuple(every if axis in given else None for axis in order)
    remove = tuple(every if axis in given else 0 for axis in order)
    return add, remove


def _written(outer: str, last: str) -> str:
    if not outer:
        return f"({last},)"
    return f"({', '.join([*(_LETTERS[axis] for axis in outer), last])})"


def layer_forms(batch_first: bool) -> tuple[Form, Form]:
    """The forms a layer takes: a batch, and one sequence."""
    return _BATCH_FIRST_FORMS if batch_first else _TIME_FIRST_FORMS


_ONE_SEQUENCE = Form("T", "S")
_TIME_FIRST_FORMS = (Form("TB", "SB"), _ONE_SEQUENCE)
_BATCH_FIRST_FORMS = (Form("BT", "SB"), _ONE_SEQUENCE)
CELL_FORMS = (Form("B", "B"), Form("", ""))  # one step of a batch, and of one row
