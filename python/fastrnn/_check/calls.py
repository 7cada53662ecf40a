"""Checks of one call: x, the states, lengths, and the gradients of y and of the states."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._form import Form
from .._problem import Problem
from .arrays import HOST, Array, Door, Shape, shape
from .memory import fits, human
from .numbers import describe


def sequence(
    call: str, problem: Problem, forms: tuple[Form, Form], x: Any, door: Door = HOST
) -> tuple[Array, Form]:
    """Return x with the engine's axes, and the form it came in: with or without batch axis."""
    found = door.adopt(call, "x", x, problem.dtype)
    form = input_form(call, problem, forms, found.shape)
    return form.enter_sequence(found), form


def input_form(call: str, problem: Problem, forms: tuple[Form, Form], given: Shape) -> Form:
    """Return the form that x of this shape has."""
    for form in forms:
        if len(given) == len(form.outer) + 1:
            break
    else:
        batch, single = (form.sequence_letters("I") for form in forms)
        raise ValueError(
            f"{call}: x has {len(given)} axes, shape {given}, expected {batch} or {single} with "
            f"I = input_size = {problem.input_size}; add missing axes with np.newaxis"
        )
    if given[-1] != problem.input_size:
        raise ValueError(
            f"{call}: x has shape {given}, expected {form.sequence_letters('I')} with "
            f"I = input_size = {problem.input_size}; make the last axis that long"
        )
    return form


_SPLIT = "split x along T and carry the state from part to part, or take fewer rows"
_RECOMPUTE = ", or pass recompute=True to keep less"


def room(
    call: str,
    problem: Problem,
    steps: int,
    rows: int,
    training: bool,
    lengths: Array | None = None,
    recompute: int = 0,
) -> None:
    """Raise ValueError if a forward call with these sizes cannot exist."""
    alive = steps * rows if lengths is None else int(lengths.sum())
    needed = problem.forward_bytes(steps, rows, alive, training, recompute)
    advice = _SPLIT + (_RECOMPUTE if training and not recompute else "")
    fits(call, "x", f"T = {steps} and B = {rows}", _results(training), needed, advice)


def backward_room(call: str, problem: Problem, steps: int, rows: int) -> None:
    """Raise ValueError if the gradients of a call with these sizes cannot exist."""
    given = f"T = {steps}, B = {rows} and I = {problem.input_size}"
    needed = problem.backward_bytes(steps, rows)
    fits(call, "tape", given, "the gradients", needed, _SPLIT)


def shortage(call: str, name: str, steps: int, rows: int, needed: int) -> MemoryError:
    """The error of a call whose memory could exist, but was not to be had."""
    return MemoryError(
        f"{call}: {name} has T = {steps} and B = {rows}, so the call takes {human(needed)}, more "
        f"than this process could get now; free memory, or {_SPLIT}"
    )


def _results(training: bool) -> str:
    return "y, the states and the tape" if training else "y and the states"


def state(
    call: str,
    problem: Problem,
    form: Form,
    names: tuple[str, ...],
    value: Any,
    rows: int,
    door: Door = HOST,
) -> tuple[Array | None, Array | None]:
    """Return h and c as (L*D, B, H), None where zero.

    `names` are those of the arrays: ("h_0", "c_0"), ("h_0",), or those of their gradients.
    """
    if value is None:
        return None, None
    if len(names) == 1:
        if isinstance(value, tuple):
            raise TypeError(
                f"{call}: state is {describe(value)}, expected one array {names[0]} "
                f"{form.state_letters()}, because this cell keeps h alone; pass state[0]"
            )
        return _one_state(call, problem, form, names[0], value, rows, door), None
    expected = f"expected a tuple ({', '.join(names)}) of arrays {form.state_letters()}"
    if not isinstance(value, (tuple, list)):
        raise TypeError(f"{call}: state is {describe(value)}, {expected}; None stands for zeros")
    if len(value) != 2:
        raise ValueError(f"{call}: state is {describe(value)}, {expected}; None stands for zeros")
    h, c = (
        None if part is None else _one_state(call, problem, form, name, part, rows, door)
        for name, part in zip(names, value, strict=True)
    )
    return h, c


def _one_state(
    call: str, problem: Problem, form: Form, name: str, value: Any, rows: int, door: Door
) -> Array:
    found = door.adopt(call, name, value, problem.dtype)
    expected = form.state_shape(problem.num_scans, rows, problem.hidden_size)
    advice = "states have the batch size of x, and no batch axis if x has none"
    if form.batch_first and found.shape == (rows, problem.num_scans, problem.hidden_size):
        advice = f"states are never batch-first, pass {name}.swapaxes(0, 1)"
    shape(call, name, found.shape, form.state_letters(), expected, advice)
    return door.contiguous(form.enter_state(found), problem.dtype)


def lengths(call: str, form: Form, value: Any, steps: int, rows: int) -> Array | None:
    """Return lengths as a fresh (B,) int64 array, all in [0, T]; None if there are none.

    Always a copy: the engine reads it without the GIL, and indexes memory with what was checked.
    """
    if value is None:
        return None
    expected = f"expected (B,) = ({rows},) integers in [0, T] = [0, {steps}]"
    if "B" not in form.outer:
        raise ValueError(
            f"{call}: lengths is given but x has no batch axis, so there is nothing to pad; "
            f"pass x[:n] instead"
        )
    if isinstance(value, (np.ma.MaskedArray, str, bytes, dict, set)):
        raise TypeError(f"{call}: lengths is {describe(value)}, {expected}; pass a plain array")
    if type(value).__module__.partition(".")[0] == "torch":
        raise TypeError(f"{call}: lengths is a torch tensor, {expected}; pass lengths.numpy()")
    try:
        found = np.asarray(value)
    except Exception as error:  # ragged nesting, or an object's own __array__ failed
        raise TypeError(
            f"{call}: lengths is {describe(value)}, {expected}; "
            f"it could not be read as an array ({type(error).__name__}: {error})"
        ) from error
    empty = found.size == 0 and isinstance(value, (list, tuple))  # [] says nothing of its dtype
    if found.dtype.kind not in "iu" and not empty:
        raise TypeError(
            f"{call}: lengths has dtype {found.dtype}, {expected}; "
            f"convert it with .astype(np.int64) if every length is a whole number"
        )
    shape(call, "lengths", found.shape, "(B,)", (rows,), "give one length for each row of x")
    found = found.copy()
    wrong = (found < 0) | (found > steps)
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(f"{call}: lengths has {found[row]} at row {row}, {expected}; clip it")
    return found.astype(np.int64, order="C")


def output_gradient(
    call: str, problem: Problem, form: Form, d_y: Any, steps: int, rows: int, door: Door = HOST
) -> Array | None:
    """Return d_y with the engine's axes, or None if it is zero."""
    if d_y is None:
        return None
    found = door.adopt(call, "d_y", d_y, problem.dtype)
    expected = form.sequence_shape(steps, rows, problem.output_size)
    advice = "d_y has the shape of the y that came with this tape"
    shape(call, "d_y", found.shape, form.sequence_letters("D*H"), expected, advice)
    return door.rows_contiguous(form.enter_sequence(found), problem.dtype)
