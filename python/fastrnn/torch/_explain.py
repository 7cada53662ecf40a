"""Which way a call of a module goes, and why."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .. import _core
from ..config import Report, explained_by_adapters
from . import _context, _cuda
from ._cells import Cell
from ._function import wants_grad
from ._modules import Recurrent, in_memory
from ._stack import DEVICE_DTYPES, Stack
from ._weights import addresses_of
from ._why import why_not

_TORCH = "torch.nn"
_KERNEL = "kernels, called directly"
_OPERATOR = "kernels, through torch.ops.fastrnn.scan"


def explain(module: torch.nn.Module, input: Tensor, hx: Any = None, lengths: Any = None) -> Report:
    """Say how a call of a module would run, here and now, and why.

    Parameters
    ----------
    module : LSTM, GRU, RNN or a cell of this package
    input, hx, lengths
        As the module would be called with.

    Returns
    -------
    Report
        A mapping that prints as a table: ``path`` (the engine's kernels, directly or through an
        operator, or torch.nn's own forward), ``why``, ``gradients`` and ``second gradients``, and
        for the kernels their plan as `fastrnn.explain` prints it, on a GPU that of one scan.

    Examples
    --------
    >>> import torch, fastrnn.torch
    >>> lstm = fastrnn.torch.LSTM(3, 8)
    >>> fastrnn.torch.explain(lstm, torch.zeros(5, 2, 3))["path"]
    'kernels, called directly'
    >>> print(fastrnn.torch.explain(lstm.bfloat16(), torch.zeros(5, 2, 3).bfloat16())["why"])
    the parameters have dtype torch.bfloat16, and the kernels float32 and float64
    """
    if not isinstance(module, (Recurrent, Cell)):
        raise TypeError(
            f"explain: module is a {type(module).__name__}, expected one of fastrnn.torch; "
            f"fastrnn.torch.convert makes it one"
        )
    if not isinstance(input, Tensor):
        raise TypeError(
            f"explain: input is a {type(input).__name__}, expected a tensor; of a PackedSequence "
            f"the one it was packed from, with lengths="
        )
    params = module._weights()
    facts: dict[str, Any] = {"call": type(module).__name__}
    if isinstance(module, Cell):
        reason = module.why_not(input, hx, params)
    else:
        reason = why_not(module, input, hx, params, module.batch_first, ragged=lengths is not None)
    if reason is not None:
        facts |= {"path": _TORCH, "why": reason}
        return Report(f"{type(module).__name__}, input {tuple(input.shape)}", facts)
    states = hx if isinstance(hx, (tuple, list)) else (hx, None)
    direct = _context.eager() and in_memory(input, states[0], states[1], params)
    stack = module.stack(params[1].dtype)
    on_gpu = _cuda.runs_on(input)
    where = f"on {input.device}" if on_gpu else "in CPU memory"
    why = f"an eager call on tensors {where}"
    if not direct:
        why = "somebody traces, transforms or watches the call, or its tensors are no memory"
    facts |= {"path": _KERNEL if direct else _OPERATOR, "why": why}
    grad = torch.is_grad_enabled() and wants_grad(input, states[0], states[1], params)
    facts["gradients"] = "kernels" if grad else "none: no gradient is asked for"
    facts["second gradients"] = "plain torch operations over the forward, run again"
    if _context.autocasts(input):
        computes = "float16" if on_gpu else "float32"
        facts["autocast"] = f"computes in {computes} and returns the dtypes that torch.nn returns"
    if on_gpu:
        if _context.autocasts(input):
            stack = module.stack(torch.float16)
        facts |= _gpu_plan(stack, module, input, grad)
    elif input.is_cpu and direct:
        facts |= _plan(stack, module, input, params, grad)
    return Report(f"{type(module).__name__}, input {tuple(input.shape)}", facts)


explained_by_adapters[torch.nn.Module] = explain


def _steps_and_rows(module: Any, shape: tuple[int, ...]) -> tuple[int, int]:
    if isinstance(module, Cell):
        return 1, (shape[0] if len(shape) == 2 else 1)
    if len(shape) == 2:
        return shape[0], 1
    return (shape[1], shape[0]) if module.batch_first else (shape[0], shape[1])


def _gpu_plan(stack: Stack, module: Any, input: Tensor, training: bool) -> dict[str, Any]:
    """The plan of each scan, which is the same for every layer and direction."""
    steps, rows = _steps_and_rows(module, tuple(input.shape))
    m = _cuda.machine_of(input)
    storage, size = m.numbers(DEVICE_DTYPES[stack.dtype]), stack.hidden_size
    scan = (stack.cell, storage, steps, rows, size, False, "", m.device)
    facts = {"T": steps, "B": rows, "dtype": storage} | m.engine.device_plan(*scan, False)
    if training:
        found = m.engine.device_plan(*scan, True)
        facts |= {f"backward {name}": found[name] for name in ("tier", "blocks", "threads")}
    return facts


def _plan(stack: Stack, module: Any, input: Tensor, params: Any, training: bool) -> dict[str, Any]:
    steps, rows = _steps_and_rows(module, tuple(input.shape))
    weights = [p.detach().contiguous() for p in params]
    packed = stack.pack(addresses_of(weights))
    return {"T": steps, "B": rows} | _core.plan(packed, steps, rows, training)
