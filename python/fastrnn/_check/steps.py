"""Checks of a stepper: the module, the arrays of its steps, its states."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._problem import Problem
from .arrays import Array, array, contiguous, on_gpu, rows_contiguous, shape
from .memory import fits
from .numbers import describe

MAX_STREAMS = 2**31 - 1


def unidirectional(call: str, problem: Problem) -> None:
    """Raise ValueError if the module needs the end of a sequence before its beginning."""
    if problem.bidirectional:
        raise ValueError(
            f"{call}: module has bidirectional=True, expected one direction, because the reverse "
            f"one starts at the end of the sequence; call the module itself on whole sequences"
        )


def room(call: str, problem: Problem, streams: int) -> None:
    """Raise ValueError if the states of so many streams cannot exist."""
    each = problem.num_layers * problem.states * problem.hidden_size * problem.dtype.itemsize
    advice = "use several steppers of fewer streams"
    fits(call, "streams", str(streams), "the states", streams * each, advice)


def block(
    call: str, problem: Problem, streams: int, is_block: bool, x: Any, out: Any
) -> tuple[Array, Array | None]:
    """Return x and out as the engine takes them: x copied where needed, out itself or None."""
    if on_gpu(x):
        raise TypeError(
            f"{call}: x is {describe(x)} in GPU memory, expected a NumPy array of {problem.dtype}; "
            f"steppers run on the CPU, copy it there"
        )
    found = array(call, "x", x, problem.dtype)
    outer = _outer(call, problem, streams, is_block, found)
    found = rows_contiguous(found, problem.dtype)
    if out is None:
        return found, None
    if type(out) is not np.ndarray:
        raise TypeError(
            f"{call}: out is {describe(out)}, expected a NumPy array of {problem.dtype} to write to"
        )
    if out.dtype != problem.dtype:
        raise TypeError(
            f"{call}: out has dtype {out.dtype}, expected {problem.dtype}, the dtype of the "
            f"module; write np.empty({(*outer, problem.hidden_size)}, np.{problem.dtype})"
        )
    letters = _letters(is_block, len(outer) > int(is_block), "H")
    advice = "out has the axes of x"
    shape(call, "out", out.shape, letters, (*outer, problem.hidden_size), advice)
    if not out.flags.writeable:
        raise ValueError(f"{call}: out is read-only, expected an array to write to; pass a copy")
    if rows_contiguous(out, problem.dtype) is not out:
        raise ValueError(
            f"{call}: out is misaligned or its last axis has gaps (strides {out.strides} bytes), "
            f"expected contiguous rows; write into np.empty({out.shape}, np.{problem.dtype})"
        )
    if np.may_share_memory(found, out):
        found = found.copy()  # outputs would overwrite inputs that are still to be read
    return found, out


def _outer(call: str, problem: Problem, streams: int, is_block: bool, x: Array) -> tuple[int, ...]:
    """The axes of x before the last, or the sentence that says why it does not fit."""
    axes = int(is_block) + 2
    forms = _letters(is_block, True, "I")
    if streams == 1:
        forms += f" or {_letters(is_block, False, 'I')}"
    sizes = f"S = streams = {streams} and I = input_size = {problem.input_size}"
    if x.ndim != axes and not (streams == 1 and x.ndim == axes - 1):
        advice = "`process` takes blocks" if not is_block else "`step` takes one step"
        raise ValueError(
            f"{call}: x has {x.ndim} axes, shape {x.shape}, expected {forms} with {sizes}; {advice}"
        )
    if x.shape[-1] != problem.input_size or (x.ndim == axes and x.shape[-2] != streams):
        raise ValueError(
            f"{call}: x has shape {x.shape}, expected {forms} with {sizes}; "
            f"time comes first, then streams, whatever batch_first is"
        )
    return x.shape[:-1]


def _letters(is_block: bool, has_streams: bool, last: str) -> str:
    axes = ["T"] * is_block + ["S"] * has_streams + [last]
    return f"({', '.join(axes)}{',' * (len(axes) == 1)})"


def states(call: str, problem: Problem, streams: int, value: Any) -> list[Array]:
    """Return the state arrays, h or h and c, as the engine reads them."""
    names = ("h", "c")[: problem.states]
    expected = (problem.num_layers, streams, problem.hidden_size)
    if problem.states == 1:
        if isinstance(value, (tuple, list)):
            raise TypeError(
                f"{call}: state is {describe(value)}, expected one array h (L, S, H), "
                f"because this cell keeps h alone; pass state[0]"
            )
        parts: tuple[Any, ...] = (value,)
    elif not isinstance(value, (tuple, list)) or len(value) != 2:
        kind = ValueError if isinstance(value, (tuple, list)) else TypeError
        raise kind(
            f"{call}: state is {describe(value)}, expected a tuple (h, c) of arrays (L, S, H); "
            f"reset() sets zeros"
        )
    else:
        parts = tuple(value)
    found = []
    for name, part in zip(names, parts, strict=True):
        one = array(call, name, part, problem.dtype)
        advice = "one state for every layer and stream; the state of a call of the module fits"
        shape(call, name, one.shape, "(L, S, H)", expected, advice)
        found.append(contiguous(one, problem.dtype))
    return found


def mask(call: str, streams: int, value: Any) -> Array | None:
    """Return a mask of streams as a bool array, None for all."""
    if value is None:
        return None
    try:
        found = np.asarray(value)
    except Exception as error:  # ragged nesting, or an object's own __array__ failed
        raise TypeError(
            f"{call}: mask is {describe(value)}, expected (S,) = ({streams},) bools; "
            f"it could not be read as an array ({type(error).__name__}: {error})"
        ) from error
    if found.dtype != np.bool_:
        raise TypeError(
            f"{call}: mask is {describe(value)} of dtype {found.dtype}, expected (S,) = "
            f"({streams},) bools; for numbers of streams write "
            f"np.isin(np.arange({streams}), numbers)"
        )
    shape(call, "mask", found.shape, "(S,)", (streams,), "one bool for every stream")
    return np.ascontiguousarray(found)
