"""Checks of parameters: one array, a dict or list of them, a state dict."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from .._problem import Problem
from . import numbers
from .arrays import HOST, Array, Door, Shape, array, contiguous, on_gpu, same_numbers
from .memory import fits
from .numbers import DTYPES, describe

_FIRST = ("weight_ih_l0", "weight_hh_l0")  # the two that tell every size
_RENAME = "set num_layers and bidirectional to match, or rename to torch's names"
LAYOUT = "G*H rows for G gates, as in torch.nn"


def room(call: str, problem: Problem, name: str = "hidden_size") -> None:
    """Raise ValueError if the parameters of this problem cannot exist."""
    hidden = "" if name == "hidden_size" else "hidden_size "
    fits(
        call,
        name,
        f"{hidden}{problem.hidden_size} with input_size {problem.input_size} and num_layers "
        f"{problem.num_layers}",
        "the parameters",
        problem.num_parameters * problem.dtype.itemsize,
        "use smaller sizes",
    )


def parameter(call: str, name: str, value: Any, expected: Shape, dtype: np.dtype[Any]) -> Array:
    """Return a parameter array: `value` itself if it can be used and changed in place."""
    found = array(call, name, value, dtype)
    if found.shape != expected:
        raise ValueError(
            f"{call}: {name} has shape {found.shape}, expected {expected} ({LAYOUT}); "
            f"create the layer with the sizes of these weights"
        )
    found = contiguous(found, dtype)
    return found if found.flags.writeable else found.copy()


def writable(call: str, live: Mapping[str, Array]) -> None:
    """Raise RuntimeError if a module's arrays have been frozen."""
    for name, value in live.items():
        if not value.flags.writeable:
            raise RuntimeError(
                f"{call}: {name} is read-only, expected a parameter that can be changed; "
                f"call unfreeze() first"
            )


def live(call: str, name: str, value: Array, expected: Shape, dtype: np.dtype[Any]) -> Array:
    """Return a stored parameter for the engine; it may have been reshaped in place since."""
    if value.shape != expected or value.dtype != dtype or not value.flags.c_contiguous:
        return contiguous(parameter(call, name, value, expected, dtype), dtype)
    return value


def names(
    call: str,
    argument: str,
    given: Iterable[Any],
    expected: Iterable[str],
    advice: str,
) -> tuple[list[str], list[str]]:
    """Return the missing and the unexpected names; raise ValueError on any if `advice` is set."""
    # dicts, not sets: the order of the names is kept for the message
    expected, given = dict.fromkeys(expected), dict.fromkeys(str(name) for name in given)
    span = f"from {next(iter(expected))} to {next(reversed(expected))}" if expected else ""
    missing = [name for name in expected if name not in given]
    unexpected = [name for name in given if name not in expected]
    if advice and (missing or unexpected):
        raise ValueError(
            f"{call}: {argument} has "
            + " and ".join(
                f"{word} {', '.join(found[:6])}{', ...' if len(found) > 6 else ''}"
                for word, found in (("no", missing), ("unexpected", unexpected))
                if found
            )
            + f", expected {len(expected)} names {span}; {advice}"
        )
    return missing, unexpected


def saved_array(call: str, name: str, value: Any, expected: Shape, layout: str) -> Array:
    """Return the ndarray in one entry of a state dict: NumPy, or a torch tensor on any device."""
    if hasattr(value, "detach"):  # torch: gradients and devices are not part of the value
        value = value.detach().cpu()
        if str(value.dtype) == "torch.bfloat16":  # NumPy has no such dtype; float32 holds it
            value = value.float()
        value = value.numpy()
    if isinstance(value, np.ma.MaskedArray) or on_gpu(value) or not hasattr(value, "__array__"):
        raise TypeError(
            f"{call}: {name} is {describe(value)}, expected a NumPy array or a torch tensor "
            f"of shape {expected}; convert it with np.asarray"
        )
    found = np.asarray(value)
    if found.dtype.kind != "f":
        raise TypeError(
            f"{call}: {name} has dtype {found.dtype}, expected floating-point weights "
            f"of shape {expected}; convert them with .astype(np.float32)"
        )
    if found.shape != expected:
        raise ValueError(
            f"{call}: {name} has shape {found.shape}, expected {expected}{layout}; "
            f"create the layer with the sizes of the saved one"
        )
    return found


def mapping(
    call: str, name: str, value: Any, what: str = "array; state_dict() returns one"
) -> Mapping[Any, Any]:
    """Raise TypeError unless `value` is a dict or another mapping."""
    if not isinstance(value, Mapping):
        raise TypeError(f"{call}: {name} is {describe(value)}, expected a dict of name -> {what}")
    return value


def infer(
    call: str,
    cell: str,
    params: Any,
    num_layers: Any,
    bidirectional: Any,
    batch_first: Any,
    dropout: Any,
    *,
    door: Door = HOST,
) -> tuple[Problem, list[Array], tuple[str, ...] | None]:
    """Read the sizes off the parameters of a functional call.

    Returns the problem, the arrays in torch's order, and their names if `params` is a dict.
    """
    num_layers = numbers.integer(call, "num_layers", num_layers, 1, numbers.MAX_LAYERS)
    bidirectional = numbers.flag(call, "bidirectional", bidirectional)
    batch_first = numbers.flag(call, "batch_first", batch_first)
    dropout = numbers.dropout(call, dropout)
    by_name = isinstance(params, Mapping)
    if not by_name and not isinstance(params, (list, tuple)):
        raise TypeError(
            f"{call}: params is {describe(params)}, expected a dict of name -> array or a list "
            f"of arrays in torch's order (weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0)"
        )
    scans = num_layers * (2 if bidirectional else 1)
    fewest = 2 * scans
    if len(params) not in (fewest, 2 * fewest) and not (by_name and len(params) > fewest):
        raise ValueError(
            f"{call}: params has {len(params)} arrays, expected 4*L*D = {2 * fewest}, or 2*L*D = "
            f"{fewest} without biases; set num_layers and bidirectional to match"
        )
    given = dict(params) if by_name else dict(zip(_FIRST, params, strict=False))
    names(call, "params", [name for name in _FIRST if name in given], _FIRST, _RENAME)
    dtype = _float_dtype(call, _FIRST[0], given[_FIRST[0]])
    w_ih, w_hh = (door.adopt(call, name, given[name], dtype) for name in _FIRST)
    for name, found in zip(_FIRST, (w_ih, w_hh), strict=True):
        if found.ndim != 2 or 0 in found.shape:
            raise ValueError(
                f"{call}: {name} has shape {found.shape}, expected two axes, (G*H, I) for "
                f"weight_ih and (G*H, H) for weight_hh, of at least 1; pass torch's shapes"
            )
    bias = len(params) == 2 * fewest
    if by_name:
        bias = any(str(name).startswith("bias_") for name in given)
    problem = Problem(
        cell,
        w_ih.shape[1],
        w_hh.shape[1],
        num_layers,
        bidirectional,
        bias,
        batch_first,
        dropout,
        dtype,
    )
    room(
        call, problem, "params"
    )  # arrays with strides of 0 take less memory than their copies would
    shapes = problem.parameter_shapes()
    if by_name:
        names(call, "params", given, shapes, _RENAME)
        params = [given[name] for name in shapes]
    arrays = []
    for (name, expected), value in zip(shapes.items(), params, strict=True):
        found = door.adopt(call, name, value, dtype)
        if found.shape != expected:
            raise ValueError(
                f"{call}: {name} has shape {found.shape}, expected {expected} because "
                f"weight_ih_l0 is {w_ih.shape} and weight_hh_l0 {w_hh.shape} "
                f"(G*H = {problem.gates}*{problem.hidden_size} rows); pass torch's shapes"
            )
        arrays.append(door.contiguous(found, dtype))
    return problem, arrays, tuple(shapes) if by_name else None


def _float_dtype(call: str, name: str, value: Any) -> np.dtype[Any]:
    """The dtype of the first parameter, which all others and x then must have."""
    found = getattr(value, "dtype", None)
    for dtype in DTYPES:
        if isinstance(found, np.dtype) and same_numbers(found, dtype):
            return dtype
    what = f"dtype {found}" if found is not None else describe(value)
    raise TypeError(
        f"{call}: params has {what} for {name}, expected NumPy arrays of float32 or float64; "
        f"convert each with np.asarray(..., dtype=np.float32)"
    )
