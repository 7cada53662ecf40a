"""The logistic function, written so that it neither overflows nor loses small values."""

from __future__ import annotations

import numpy as np


def sigmoid(v: np.ndarray) -> np.ndarray:
    """Logistic function 1 / (1 + exp(-v)), elementwise.

    Parameters
    ----------
    v : ndarray of float32 or float64, any shape

    Returns
    -------
    ndarray
        Same shape and dtype, in [0, 1]: 0 at -inf, 1 at inf, NaN stays NaN.

    Notes
    -----
    With ``e = exp(-|v|)``, which is never above 1, the value is ``1 / (1 + e)`` for ``v >= 0`` and
    ``e / (1 + e)`` for ``v < 0``. The textbook form overflows in ``exp(-v)`` for very negative v.

    Examples
    --------
    >>> sigmoid(np.array([-np.inf, 0.0, np.inf]))
    array([0. , 0.5, 1. ])
    """
    e = np.exp(-np.abs(v))
    value: np.ndarray = np.where(v < 0, e, v.dtype.type(1)) / (1 + e)
    return value
