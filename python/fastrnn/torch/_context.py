"""What surrounds a call: whether tensors are what they seem, and which way a call can take."""

from __future__ import annotations

import torch
from torch.autograd import forward_ad
from torch.utils._device import DeviceContext

# Names without a stable spelling in torch; all of them exist from 2.5 on.
_interpreters = torch._C._functorch.peek_interpreter_stack
_dispatch_modes = torch._C._len_torch_dispatch_stack
_function_modes = torch._C._len_torch_function_stack
_function_mode = torch._C._get_function_stack_at
_tracing = torch._C._get_tracing_state
_compiling = torch.compiler.is_compiling
_autocasting = torch.is_autocast_enabled


def _watched() -> bool:
    """Whether a function mode is more than a default device, which says nothing of a call."""
    return any(type(_function_mode(i)) is not DeviceContext for i in range(_function_modes()))


def eager() -> bool:
    """Whether nobody traces, transforms or watches: tensors then are memory."""
    return not (
        torch.compiler.is_compiling()
        or _interpreters() is not None
        or _dispatch_modes()
        or (_function_modes() and _watched())
        or _tracing() is not None
    )


def quiet() -> bool:
    """`eager`, and neither autocast nor a forward-mode derivative: in one go, for single steps."""
    return not (
        _compiling()
        or _interpreters() is not None
        or _dispatch_modes()
        or (_function_modes() and _watched())
        or _tracing() is not None
        or forward_ad._current_level >= 0
        or _autocasting("cpu")
    )


def transformed() -> bool:
    """Whether torch.func transforms: its tensors do not say which gradients it wants."""
    return not torch.compiler.is_compiling() and _interpreters() is not None


def forward_mode() -> bool:
    """Whether a forward-mode derivative may be under way: the kernels have none."""
    return not torch.compiler.is_compiling() and forward_ad._current_level >= 0


def autocasts(x: torch.Tensor) -> bool:
    """Whether torch.autocast is on for where x lies."""
    return torch.is_autocast_enabled("cuda" if x.is_cuda else "cpu")
