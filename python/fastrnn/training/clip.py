"""Gradient clipping, in place: by global norm (Pascanu et al., ICML 2013) and by value."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

__all__ = ["clip_grad_norm", "clip_grad_value"]


def clip_grad_norm(grads: Mapping[str, np.ndarray], max_norm: float) -> float:
    """Scale all gradients by one factor so that their joint 2-norm is at most ``max_norm``.

    Parameters
    ----------
    grads : mapping of str to float array
        Changed in place.
    max_norm : float
        Positive; ``math.inf`` measures and changes nothing.

    Returns
    -------
    float
        The norm before clipping (accumulated in float64). NaN or infinite when a gradient is;
        the gradients are left alone then.

    Notes
    -----
    PyTorch's formula: factor ``min(1, max_norm / (norm + 1e-6))``.

    >>> import numpy as np
    >>> from fastrnn.training import clip_grad_norm
    >>> grads = {"w": np.array([3.0, 4.0])}
    >>> clip_grad_norm(grads, 1.0), grads["w"].round(3)
    (5.0, array([0.6, 0.8]))
    """
    if not max_norm > 0:
        raise ValueError(f"clip_grad_norm: max_norm is {max_norm}, expected a positive number")
    square = 0.0
    for grad in grads.values():
        # Each array's dot product is BLAS in its own dtype (sum of squares of one tensor), the
        # sum over tensors is float64; an overflow in float32 is redone in float64.
        flat = grad.reshape(-1)
        with np.errstate(over="ignore", invalid="ignore"):
            part = float(np.dot(flat, flat))
        if not math.isfinite(part):
            part = float(np.square(flat, dtype=np.float64).sum())
        square += part
    norm = math.sqrt(square) if square >= 0 else math.nan
    if math.isfinite(norm):
        factor = max_norm / (norm + 1e-6)
        if factor < 1.0:
            for grad in grads.values():
                grad *= grad.dtype.type(factor)
    return norm


def clip_grad_value(grads: Mapping[str, np.ndarray], max_value: float) -> None:
    """Clip every element of every gradient to [-max_value, max_value], in place.

    >>> import numpy as np
    >>> from fastrnn.training import clip_grad_value
    >>> grads = {"w": np.array([3.0, -4.0, 0.5])}
    >>> clip_grad_value(grads, 1.0); grads["w"]
    array([ 1. , -1. ,  0.5])
    """
    if not max_value > 0:
        raise ValueError(f"clip_grad_value: max_value is {max_value}, expected a positive number")
    for grad in grads.values():
        np.clip(grad, -max_value, max_value, out=grad)
