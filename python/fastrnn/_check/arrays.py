"""What may stand for an array, and bringing an accepted one into the form the engine reads.

Accepted: NumPy arrays of the right dtype with any strides (negative, zero, Fortran order), byte
order and alignment, writable or not, their subclasses, and objects that hold such an array
(buffers, `__array__`, DLPack on the CPU). Not accepted: lists and numbers, which have no dtype of
their own, and masked arrays, whose mask would be lost.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .numbers import DTYPES, describe

Array = npt.NDArray[Any]
Shape = tuple[int, ...]


def on_gpu(value: Any) -> bool:
    """Whether `value` is an array in GPU memory (CuPy, Numba, torch on cuda)."""
    if isinstance(value, np.ndarray):
        return False
    if _is_torch(value):  # its interface raises on tensors that need gradients
        return bool(getattr(value, "is_cuda", False))
    return hasattr(value, "__cuda_array_interface__")


def same_numbers(found: np.dtype[Any], dtype: np.dtype[Any]) -> bool:
    """Whether both hold the same floating-point numbers, in any byte order."""
    return found == dtype or (found.kind == dtype.kind and found.itemsize == dtype.itemsize)


def _is_torch(value: Any) -> bool:
    return type(value).__module__.partition(".")[0] == "torch"


def array(call: str, name: str, value: Any, dtype: np.dtype[Any]) -> Array:
    """Return `value` as an ndarray of `dtype` in any byte order and layout, without copying."""
    found = value if type(value) is np.ndarray else _adopt(call, name, value, dtype)
    if not same_numbers(found.dtype, dtype):
        raise TypeError(
            f"{call}: {name} has dtype {found.dtype}, expected {dtype}, "
            f"the dtype of the parameters; {dtype_advice(name, found.dtype, dtype)}"
        )
    return found


def dtype_advice(name: str, found: np.dtype[Any], dtype: np.dtype[Any]) -> str:
    """What to do about an array of another dtype than the parameters."""
    ways = f"write {name}.astype(np.{dtype})"
    for other in DTYPES:
        if same_numbers(found, other):
            ways += f", or create the parameters with dtype=np.{other}"
    return ways


def _adopt(call: str, name: str, value: Any, dtype: np.dtype[Any]) -> Array:
    """The ndarray inside an object that is not one itself."""
    expected = f"expected a NumPy array of {dtype}"
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(
            f"{call}: {name} is a masked array, {expected} because the mask would be ignored; "
            f"use {name}.filled(0) and say with lengths where each row ends"
        )
    if isinstance(value, np.ndarray):
        return np.asarray(value)
    if _is_torch(value):
        raise TypeError(
            f"{call}: {name} is a torch tensor, {expected}; "
            f"pass {name}.detach().cpu().numpy(), which shares the memory of a CPU tensor"
        )
    if on_gpu(value):
        raise TypeError(
            f"{call}: {name} is {describe(value)} in GPU memory, {expected}; "
            f"copy it to the CPU, or pass every array of the call on the GPU"
        )
    if value is None or isinstance(value, (list, tuple, str, bytes, int, float, complex)):
        raise TypeError(
            f"{call}: {name} is {describe(value)}, {expected}; "
            f"numbers and sequences have no dtype, write np.asarray({name}, dtype=np.{dtype})"
        )
    try:
        if hasattr(value, "__array__") or hasattr(value, "__array_interface__"):
            return np.asarray(value)
        if hasattr(value, "__dlpack__"):
            return np.from_dlpack(value)
        return np.asarray(memoryview(value))
    except Exception as error:  # the object's own code ran: whatever it raised, name the argument
        raise TypeError(
            f"{call}: {name} is {describe(value)}, {expected}; "
            f"it could not be read as an array ({type(error).__name__}: {error})"
        ) from error


def shape(call: str, name: str, found: Shape, letters: str, expected: Shape, advice: str) -> None:
    """Raise ValueError unless the shape is the expected one; `letters` is its formula."""
    if found != expected:
        raise ValueError(
            f"{call}: {name} has shape {found}, expected {letters} = {expected}; {advice}"
        )


def rows_contiguous(value: Array, dtype: np.dtype[Any]) -> Array:
    """A sequence as the engine reads it: native, aligned, last axis contiguous; else a copy."""
    flags = value.flags
    if value.dtype == dtype and flags.aligned and (flags.c_contiguous or _dense_rows(value)):
        return value
    return value.astype(dtype, order="C", copy=True)


def _dense_rows(value: Array) -> bool:
    """Whether each row is contiguous and the others are whole elements apart.

    NumPy lets axes of length 1 have any stride, so those are not looked at in the last place;
    in the others they must be whole too, because the engine divides by the element size.
    """
    strides, element = value.strides, value.itemsize
    return (value.shape[-1] <= 1 or strides[-1] == element) and not any(
        stride % element for stride in strides[:-1]
    )


def contiguous(value: Array, dtype: np.dtype[Any]) -> Array:
    """A state or parameter as the engine reads it: native, aligned, C order; else a copy."""
    flags = value.flags
    if value.dtype == dtype and flags.c_contiguous and flags.aligned:
        return value
    return value.astype(dtype, order="C", copy=True)


def copy_reasons(name: str, value: Array, dtype: np.dtype[Any]) -> list[str]:
    """Why `rows_contiguous` would copy, as sentences for `explain`."""
    reasons = []
    if value.dtype != dtype:
        reasons.append(f"{name} is copied because it is byte-swapped ({value.dtype.str})")
    if not value.flags.aligned:
        reasons.append(f"{name} is copied because its elements are not aligned in memory")
    if value.size and not _dense_rows(value):
        reasons.append(
            f"{name} is copied because its last axis is not contiguous "
            f"(strides {value.strides} bytes, expected {value.itemsize} for the last)"
        )
    return reasons


@dataclass(frozen=True)
class Door:
    """How the arrays of a call come in: by which functions, for one kind of memory."""

    adopt: Callable[[str, str, Any, np.dtype[Any]], Array]  # as `array`
    rows_contiguous: Callable[[Any, np.dtype[Any]], Array]
    contiguous: Callable[[Any, np.dtype[Any]], Array]


HOST = Door(array, rows_contiguous, contiguous)
