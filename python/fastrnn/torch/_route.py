"""Which calls on a GPU take the kernels: a rule on paper, until somebody has measured it.

`FASTRNN_TORCH_CUDA`, read when fastrnn.torch is imported, overrules it: `always` gives every call
that the kernels can run to them, `never` none; `auto` is this rule.
"""

from __future__ import annotations

import os
from typing import Any

import torch

from . import _context, _cuda

_CHOICES = ("auto", "always", "never")
_SHORTEST = 8  # steps: packing the weights reads and writes them once, as long as a step or two
# Multiply-adds of one step that scalar arithmetic does in about 4 us on an H100 at half its rate;
# where there are more, a product per step on tensor cores is the quicker way.
_MOST_PRODUCTS = 64 << 20
# Numbers of one h where the kernels use tensor cores themselves: above, the exchange of h between
# blocks takes longer than a product per step.
_MOST_STATE = 1 << 17
_SMALL = {"LSTM": (192, 128), "GRU": (192, 128), "RNN_TANH": (384, 256), "RNN_RELU": (384, 256)}


def _read() -> str:
    choice = os.environ.get("FASTRNN_TORCH_CUDA", "auto")
    if choice not in _CHOICES:
        raise ValueError(
            f"fastrnn.torch: FASTRNN_TORCH_CUDA has value {choice!r}, "
            f"expected auto, always or never"
        )
    return choice


choice = _read()


def persistent_window(
    module: Any, dtype: torch.dtype, rows: int, ragged: bool, trains: bool
) -> str | None:
    """Name cuDNN's persistent algorithm that torch would ask for; None says the plain one.

    These are torch's own conditions (`get_algo` of its cuDNN binding). Inside them cuDNN keeps the
    weights on the chip as the kernels here do; outside it reads them again at every step, which
    is where the kernels are expected to win. Nothing of this has been measured here yet.
    """
    if not torch.backends.cudnn.enabled or ragged or module.proj_size:
        return None
    hidden = module.hidden_size
    if dtype is not torch.float64 and hidden <= _SMALL[module.mode][trains]:
        return "PERSIST_STATIC_SMALL_H"
    if dtype is not torch.float16 or module.num_layers > 1 or module.bidirectional:
        return None
    if hidden > 1024 or hidden % 128 or module.input_size % 128:
        return None
    if rows % 8 or rows > 128 or module.mode == "GRU":
        return None
    if module.mode != "LSTM" and rows >= 96 and hidden >= 896:
        return None
    return "PERSIST_STATIC"


def why_torch(
    module: Any, dtype: torch.dtype, steps: int, rows: int, ragged: bool, trains: bool
) -> str | None:
    """Why torch.nn runs a call of a layer that the CUDA kernels could run; None if they do.

    While somebody traces or transforms the call only `never` counts: torch.nn's layer has no rule
    for torch.func.
    `dtype` is what is computed with, `trains` whether autograd records.
    """
    if choice == "never":
        return "FASTRNN_TORCH_CUDA is never"
    if choice == "always" or torch.compiler.is_compiling() or not _context.eager():
        return None
    window = persistent_window(module, dtype, rows, ragged, trains)
    if window is not None:
        return (
            f"cuDNN has a persistent algorithm here ({window}), against which the kernels have "
            f"not been measured; FASTRNN_TORCH_CUDA=always takes them"
        )
    if steps < _SHORTEST:
        return f"{steps} steps are too few to repay packing the weights for the kernels"
    if dtype in (torch.float16, torch.bfloat16) or (dtype is torch.float32 and _cuda.allows_tf32()):
        if rows * module.hidden_size > _MOST_STATE:
            return (
                "so many rows over so many units are quicker as a product per step; "
                "FASTRNN_TORCH_CUDA=always takes the kernels"
            )
        return None
    gates = {"LSTM": 4, "GRU": 3}.get(module.mode, 1)
    if rows * gates * module.hidden_size**2 > _MOST_PRODUCTS:
        return (
            "so many rows over so many units are quicker on tensor cores, which the kernels do "
            "not use for this dtype; FASTRNN_TORCH_CUDA=always takes them"
        )
    return None
