"""Calls on tensors in a GPU's memory: torch is the array library around the CUDA kernels.

Everything is allocated and launched on torch's current stream of the tensors' device, and nothing
waits for it. Numbers between calls lie in one uint8 tensor, the reserve, as on the CPU.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

import torch
from torch import Tensor

from .. import _core, _gpu
from ._call import _address
from ._stack import DEVICE_DTYPES, Options, Stack
from ._weights import plain

_NAMED = {name: dtype for dtype, name in DEVICE_DTYPES.items()} | {"uint8": torch.uint8}
_ALIGNMENT = 256  # of every array in a reserve: what vector loads and matrix products like best
_FIRST_ARCHITECTURE = (8, 0)  # what the kernels are compiled for; later ones run it


class Arrays:
    """Torch in the words of `_gpu.Machine.xp`, on one device."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def empty(self, shape: Any, dtype: str) -> Tensor:
        """As NumPy's, of a dtype by name."""
        return torch.empty(shape, dtype=_NAMED[dtype], device=self._device)

    multiply = staticmethod(torch.mul)
    concatenate = staticmethod(torch.cat)


@cache
def _unfit(index: int) -> str | None:
    if not _core.build_info()["cuda"]:
        return "this build of fastrnn has no CUDA kernels"
    if torch.version.cuda is None:
        return "this build of torch is not for CUDA"
    found = torch.cuda.get_device_capability(index)
    if found < _FIRST_ARCHITECTURE:
        return f"its compute capability is {found[0]}.{found[1]}, and the kernels need 8.0"
    return None


@torch.compiler.assume_constant_result
def why_not_gpu(index: int) -> str | None:
    """Why the kernels do not run on this GPU; None if they do. To a compiler, a constant."""
    return _unfit(index)


@cache
def _machine(index: int) -> _gpu.Machine:
    def stream() -> int:
        return int(torch.cuda.current_stream(index).cuda_stream)

    arrays = Arrays(torch.device("cuda", index))
    return _gpu.Machine(arrays, _core, _address, stream, index, Tensor.stride, allows_tf32)


def allows_tf32() -> bool:
    """Whether torch's own products of float32 matrices on a GPU may take TF32."""
    matmul = torch.backends.cuda.matmul
    try:
        return bool(matmul.fp32_precision == "tf32")
    except AttributeError:  # torch 2.8 and older
        return bool(matmul.allow_tf32)


def runs_on(tensor: Tensor) -> bool:
    """Whether the tensor lies where the CUDA kernels can run."""
    return tensor.is_cuda and why_not_gpu(tensor.device.index) is None


def machine_of(tensor: Tensor) -> _gpu.Machine:
    """The machine of a tensor that `runs_on` it."""
    return _machine(tensor.device.index)


def _rounded(size: Any) -> Any:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


@cache
def _facts(cell: str) -> dict[str, Any]:
    return _core.device_cells()[cell]


def reserve_bytes(stack: Stack, steps: Any, rows: Any) -> Any:
    """Bytes of a reserve: products and sums, so that a compiler's symbols pass."""
    total = 0

    def room(shape: tuple[Any, ...], dtype: str) -> None:
        nonlocal total
        total += _rounded(math.prod(shape) * _NAMED[dtype].itemsize)

    _gpu.kept(stack.problem, _facts(stack.cell), steps, rows, room)
    return total


class _Block:
    """Cuts a reserve into arrays, in the order in which `_gpu.kept` asks for them."""

    def __init__(self, memory: Tensor) -> None:
        self._memory, self._used = memory, 0

    def __call__(self, shape: tuple[int, ...], name: str) -> Tensor:
        dtype, start = _NAMED[name], self._used
        size = math.prod(shape) * dtype.itemsize
        self._used += _rounded(size)
        return self._memory[start : start + size].view(dtype).view(shape)


def draw_masks(
    x: Tensor, layers: int, width: int, batch_first: bool, dropout: float
) -> Tensor | None:
    """Which inputs of upper layers stay, (L-1, T, B, D*H), by torch's generator of x's device.

    A tensor and not the engine's seed: a seed drawn on the host would be the same in every replay
    of a CUDA graph, and one on the device would have to come to the host.
    """
    if not dropout:
        return None
    first, second, _ = x.shape
    steps, rows = (second, first) if batch_first else (first, second)
    shape = (layers - 1, steps, rows, width)
    return torch.rand(shape, dtype=torch.float32, device=x.device) >= dropout


def scaled(mask: Tensor, dropout: float, dtype: torch.dtype) -> Tensor:
    """A layer's mask as what its input is multiplied by."""
    return mask.to(dtype).mul_(1 / (1 - dropout) if dropout < 1 else 0.0)


def place_lengths(lengths: Tensor, x: Tensor, steps: int) -> Tensor:
    """Lengths where x lies. Those on the host are looked at first; a GPU's cannot be without
    waiting for it, and are cut off at 0 and T.
    """
    if lengths.device == x.device and not lengths.is_cpu:
        return lengths.clamp(0, steps)
    for row, length in enumerate(lengths.tolist()):
        if not 0 <= length <= steps:
            raise ValueError(
                f"forward: lengths[{row}] has value {length}, expected 0 to T = {steps}"
            )
    return lengths.to(x.device, non_blocking=True)


def without_autocast(x: Tensor) -> AbstractContextManager[Any]:
    """Products over time in the layer's own dtype, also inside a backward under autocast."""
    kind = x.device.type
    if torch.is_autocast_enabled(kind):
        return torch.autocast(kind, enabled=False)
    return nullcontext()


def _masks(options: Options, dtype: torch.dtype) -> list[Tensor | None]:
    stack, _, dropout, drawn = options
    if not dropout:
        return [None] * stack.layers
    return [None, *(scaled(mask, dropout, dtype) for mask in drawn)]


def _time_first(tensor: Tensor, batch_first: bool) -> Tensor:
    return plain(tensor.transpose(0, 1) if batch_first else tensor)


def _dense(tensor: Tensor | None, batch_first: bool) -> Tensor | None:
    """A gradient of y with its last axis in order; the others may have any strides."""
    if tensor is None:
        return None
    if tensor.is_neg() or (tensor.stride(2) != 1 and tensor.size(2) != 1):
        tensor = plain(tensor)
    return tensor.transpose(0, 1) if batch_first else tensor


def _plain(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else plain(tensor)


def run_forward(
    options: Options,
    x: Tensor,
    h_0: Tensor | None,
    c_0: Tensor | None,
    params: Sequence[Tensor],
    lengths: Tensor | None,
    reserve: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Run the stack over x (T, B, I), or (B, T, I): y, h_n and c_n. No autograd.

    `options.seed` are the masks, `lengths` lie beside x. With a reserve, what backward reads goes
    there.
    """
    stack, batch_first, _, _ = options
    m, (first, second, _) = machine_of(x), x.shape
    y = m.xp.empty((first, second, stack.width), DEVICE_DTYPES[stack.dtype])
    with torch.no_grad(), without_autocast(x):
        _, h_n, c_n, _ = _gpu.forward(
            m,
            stack.problem,
            [plain(p) for p in params],
            _time_first(x, batch_first),
            _plain(h_0),
            _plain(c_0),
            lengths,
            _masks(options, stack.dtype),
            reserve is not None,
            y=y.transpose(0, 1) if batch_first else y,
            room=None if reserve is None else _Block(reserve),
        )
    return y, h_n, c_n


def run_backward(
    options: Options,
    d_y: Tensor | None,
    d_h_n: Tensor | None,
    d_c_n: Tensor | None,
    x: Tensor,
    params: Sequence[Tensor],
    lengths: Tensor | None,
    reserve: Tensor,
) -> tuple[Tensor, Tensor, Tensor | None, list[Tensor]]:
    """Gradients of the call that filled the reserve: d_x, d_h_0, d_c_0 and d_params."""
    stack, batch_first, _, _ = options
    m, p = machine_of(x), stack.problem
    reserve = plain(reserve)  # it may have travelled: saved-tensor hooks give copies
    if reserve.storage_offset() % 8:  # a view of other numbers must begin at one of them
        reserve = reserve.clone()
    with torch.no_grad(), without_autocast(x):
        rows = _time_first(x, batch_first)
        steps, batch = rows.shape[:2]
        inputs, scans = _gpu.kept(p, _facts(stack.cell), steps, batch, _Block(reserve))
        readable = [plain(param) for param in params]
        masks = _masks(options, stack.dtype)
        tape = _gpu.DeviceTape(m, p, readable, [rows, *inputs], masks, scans, lengths, "")
        arriving = (_dense(d_y, batch_first), _plain(d_h_n), _plain(d_c_n))
        d_x, d_h_0, d_c_0, d_params = _gpu.backward(tape, *arriving)
        return (plain(d_x.transpose(0, 1)) if batch_first else d_x), d_h_0, d_c_0, d_params
