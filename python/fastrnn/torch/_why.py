"""Why a call does not go to the kernels: asked before every call, and by `explain`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import _context, _cuda, _route
from ._stack import DEVICE_DTYPES, DTYPES

_NARROW = (torch.bfloat16, torch.float16)


def why_not(
    module: Any,
    x: Tensor,
    hx: Any,
    params: list[Any],
    batch_first: bool,
    known: bool = False,
    ragged: bool = False,
) -> str | None:
    """Why torch.nn runs, or refuses, this call of a layer; None if the kernels run it.

    `known` says that these parameters were found fit before, `ragged` that rows have lengths.
    """
    if module.proj_size:
        return f"proj_size is {module.proj_size}, and the kernels have no projections"
    if not known:
        reason = why_not_params(module, params)
        if reason is not None:
            return reason
    dtype = params[1].dtype
    axes, casts = x.dim(), _context.autocasts(x)
    if axes not in (2, 3) or x.shape[-1] != module.input_size:
        return f"input has shape {tuple(x.shape)}"
    reason = why_not_input(x, params, casts)
    if reason is not None:
        return reason
    if x.shape[0] == 0 or (axes == 3 and x.shape[1] == 0):
        return "input is empty"
    steps, rows = x.shape[:2] if axes == 3 else (x.shape[0], 1)
    if batch_first and axes == 3:
        steps, rows = rows, steps
    if _cuda.runs_on(x):
        trains = torch.is_grad_enabled() and (
            x.requires_grad or any(p.requires_grad for p in params)
        )
        computes = torch.float16 if casts else dtype
        reason = _route.why_torch(module, computes, steps, rows, ragged, trains)
        if reason is not None:
            return reason
    elif module.mode != "LSTM":  # torch.nn's is slow at short calls
        reason = why_slower(module, dtype, params, steps, rows)
        if reason is not None:
            return reason
    if hx is None:
        return None
    scans = module.num_layers * (2 if module.bidirectional else 1)
    expected: tuple[int, ...] = (scans, module.hidden_size)
    if axes == 3:
        expected = (scans, x.shape[0 if batch_first else 1], module.hidden_size)
    states = hx if module.mode == "LSTM" else (hx,)
    if not isinstance(states, (tuple, list)) or len(states) != (2 if module.mode == "LSTM" else 1):
        return "hx is not a pair"
    return why_not_states(states, expected, x, dtype, casts)


def why_not_params(module: Any, params: list[Any]) -> str | None:
    """About parameters alone."""
    if not all(isinstance(p, Tensor) for p in params):
        return "a parameter is missing"
    dtype, device = params[1].dtype, params[1].device
    reason = _why_not_there(params[1])
    if reason is not None:
        return reason
    if dtype not in (DEVICE_DTYPES if _cuda.runs_on(params[1]) else DTYPES):
        return f"the parameters have dtype {dtype}, and the kernels float32 and float64"
    if torch.compiler.is_compiling():  # the shape rule of the operator looks at them
        return None if all(p.dtype is dtype for p in params) else "the parameters differ in dtype"
    shapes = module.stack(dtype).shapes
    for param, shape in zip(params, shapes, strict=True):
        if param.shape != shape or param.dtype is not dtype:
            return "the parameters differ in dtype, or have not the shapes of their construction"
        if param.device != device:
            return f"the parameters are on {param.device} and on {device}"
    return None


def _why_not_there(param: Tensor) -> str | None:
    """About where the parameters lie."""
    if param.is_cpu or param.is_meta:
        return None
    if not param.is_cuda:
        return f"the parameters are on {param.device}, and the kernels on CPUs and CUDA's GPUs"
    reason = _cuda.why_not_gpu(param.device.index)
    return None if reason is None else f"the parameters are on {param.device}, and {reason}"


def _apart(tensor: Tensor, other: Tensor) -> bool:
    """Whether they lie on different devices. Memory beside none (meta) is refused by who reads."""
    if tensor.is_cpu and (other.is_cpu or other.is_meta):
        return False
    return tensor.device != other.device


def why_not_input(x: Tensor, params: list[Any], casts: bool) -> str | None:
    """About an input of the right shape, and what surrounds the call."""
    dtype = params[1].dtype
    if _apart(x, params[1]):
        return f"input is on {x.device} and the parameters on {params[1].device}"
    if casts and dtype is not torch.float32:
        return "autocast is on, and leaves parameters of this dtype alone"
    if x.dtype is not dtype and not (casts and x.dtype in _NARROW):
        return f"input has dtype {x.dtype} and the parameters {dtype}"
    if _context.forward_mode():
        return "a forward-mode derivative is under way, and the kernels have none"
    return None


def why_slower(
    module: Any, dtype: torch.dtype, params: list[Any], steps: int, rows: int
) -> str | None:
    """Whether torch.nn is quicker at calls of few steps (`bench probe torch-overhead`).

    A call compares the weights with the packed ones, which reads them once more; over wide weights
    a few rows and steps are done in the same time. And backward makes transposed weights and sums
    gradients in pieces of many rows: for one step of anything but small gated cells, torch's is
    shorter.
    """
    if torch.compiler.is_compiling() or not _context.eager():
        return None
    stack = module.stack(dtype)
    if stack.too_short(steps, rows):
        return (
            f"torch.nn is through with {steps} x {rows} steps in less time than it takes to see "
            f"whether the weights have changed (fastrnn.Stepper keeps them)"
        )
    if steps > 1 or not torch.is_grad_enabled() or stack.records_steps:
        return None
    if not any(p.requires_grad for p in params):
        return None
    return "one step is recorded for backward, which torch.nn does in less time at this size"


def why_not_states(
    states: Any, expected: tuple[int, ...], x: Tensor, dtype: torch.dtype, casts: bool
) -> str | None:
    """About initial states; `expected` is the shape of each."""
    for state in states:
        if not isinstance(state, Tensor) or state.shape != expected:
            return f"a state does not have the shape {expected}"
        if _apart(state, x):
            return f"a state is on {state.device} and input on {x.device}"
        if state.dtype is not dtype and not (casts and state.dtype in _NARROW):
            return f"a state has dtype {state.dtype} and the parameters {dtype}"
    return None
