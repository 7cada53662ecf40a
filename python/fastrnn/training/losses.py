"""Losses: each returns the mean over the unmasked elements and its gradient in one pass.

Common to all: the network's output may be float32 or float64 and the gradient has its dtype;
element losses are summed in float64 either way. ``mask`` is anything that NumPy can read as
booleans, True where an element counts. A batch in which nothing counts has loss 0 and gradient 0
(:func:`count` tells), so a masked stream can hold an empty window.
"""

from __future__ import annotations

import numpy as np

__all__ = ["bernoulli", "count", "cross_entropy", "mse"]


def _check_output(owner: str, name: str, output: np.ndarray) -> np.ndarray:
    output = np.asarray(output)
    if output.dtype not in (np.float32, np.float64):
        raise TypeError(f"{owner}: {name} has dtype {output.dtype}, expected float32 or float64")
    return output


def _check_mask(
    owner: str, mask: np.typing.ArrayLike | None, shape: tuple[int, ...]
) -> np.ndarray | None:
    """Booleans that broadcast against ``shape``; the shape, or its leading axes."""
    if mask is None:
        return None
    found = np.asarray(mask, dtype=bool)
    if found.shape == shape:
        return found
    if found.shape == shape[:-1]:
        return found[..., None]
    raise ValueError(
        f"{owner}: mask has shape {found.shape}, expected {shape} or {shape[:-1]}; give one "
        "boolean for each element or for each position"
    )


def count(shape: tuple[int, ...], mask: np.typing.ArrayLike | None = None) -> int:
    """How many elements of ``shape`` count under ``mask``.

    >>> from fastrnn.training.losses import count
    >>> count((2, 3)), count((2, 3), [True, False])
    (6, 3)
    """
    found = _check_mask("count", mask, shape)
    total = int(np.prod(shape, dtype=np.int64))
    if found is None:
        return total
    return int(np.count_nonzero(found)) * (total // max(found.size, 1))


def cross_entropy(
    logits: np.ndarray, targets: np.ndarray, mask: np.typing.ArrayLike | None = None
) -> tuple[float, np.ndarray]:
    """Softmax cross-entropy in nats.

    Parameters
    ----------
    logits : (..., C) float32 or float64
    targets : (...) int
        The right class of each position, in [0, C); ignored where masked out.
    mask : (...) bool or None

    Returns
    -------
    loss : float
        Mean of ``logsumexp(logits) - logits[target]`` over the unmasked positions.
    d_logits : (..., C), dtype of logits
        ``(softmax(logits) - onehot(target)) / n``, zero where masked out.

    Raises
    ------
    ValueError
        Shapes do not fit, or an unmasked target lies outside [0, C).
    TypeError
        ``logits`` is not float32/float64 or ``targets`` is not integer.

    Notes
    -----
    The row's maximum is subtracted first, so finite logits of any size give finite results.

    >>> import numpy as np
    >>> from fastrnn.training import cross_entropy
    >>> loss, d_logits = cross_entropy(np.zeros((1, 4), np.float32), np.array([2]))
    >>> round(loss, 6), d_logits
    (1.386294, array([[ 0.25,  0.25, -0.75,  0.25]], dtype=float32))
    """
    logits = _check_output("cross_entropy", "logits", logits)
    targets = np.asarray(targets)
    if logits.ndim < 1 or logits.shape[-1] < 1 or targets.shape != logits.shape[:-1]:
        raise ValueError(
            f"cross_entropy: targets has shape {targets.shape}, expected {logits.shape[:-1]} "
            f"because logits has shape {logits.shape}"
        )
    if targets.dtype.kind not in "iu":
        raise TypeError(f"cross_entropy: targets has dtype {targets.dtype}, expected integers")
    keep = np.ones(targets.shape, bool) if mask is None else np.asarray(mask, dtype=bool)
    if keep.shape != targets.shape:
        raise ValueError(
            f"cross_entropy: mask has shape {keep.shape}, expected {targets.shape} like targets"
        )
    classes = logits.shape[-1]
    used = targets[keep]
    if used.size and (used.min() < 0 or used.max() >= classes):
        raise ValueError(
            f"cross_entropy: targets run from {used.min()} to {used.max()}, expected 0 to "
            f"{classes - 1} because logits has {classes} classes; mask out padding"
        )
    if not used.size:
        return 0.0, np.zeros_like(logits)

    rows = np.arange(targets.size)
    flat = logits.reshape(-1, classes)
    index = np.where(keep, targets, 0).reshape(-1)
    d = flat - flat.max(axis=-1, keepdims=True)
    picked = d[rows, index].astype(np.float64)
    np.exp(d, out=d)
    total = d.sum(axis=-1, dtype=np.float64)
    keep = keep.reshape(-1)
    loss = float((np.log(total) - picked)[keep].sum() / used.size)
    d *= (1.0 / (total * used.size)).astype(d.dtype)[:, None]
    d[rows, index] -= d.dtype.type(1.0 / used.size)
    if used.size != targets.size:
        d[~keep] = 0
    return loss, d.reshape(logits.shape)


def mse(
    prediction: np.ndarray, target: np.ndarray, mask: np.typing.ArrayLike | None = None
) -> tuple[float, np.ndarray]:
    """Mean squared error.

    Parameters
    ----------
    prediction : (...) float32 or float64
    target : (...) float, shape of prediction
        Ignored where masked out (may be NaN there).
    mask : (...) bool, with or without the last axis, or None

    Returns
    -------
    loss : float
        Mean of ``(prediction - target)**2`` over the unmasked elements.
    d_prediction : (...), dtype of prediction
        ``2 * (prediction - target) / n``.

    >>> import numpy as np
    >>> from fastrnn.training import mse
    >>> mse(np.array([1.0, 2.0]), np.array([0.0, 2.0]))
    (0.5, array([1., 0.]))
    """
    prediction = _check_output("mse", "prediction", prediction)
    target = np.asarray(target)
    if target.shape != prediction.shape:
        raise ValueError(
            f"mse: target has shape {target.shape}, expected {prediction.shape} like prediction"
        )
    keep = _check_mask("mse", mask, prediction.shape)
    n = count(prediction.shape, mask)
    if n == 0:
        return 0.0, np.zeros_like(prediction)
    d = np.subtract(prediction, target, dtype=prediction.dtype)
    if keep is not None:
        d[~np.broadcast_to(keep, d.shape)] = 0
    loss = float(np.square(d, dtype=np.float64).sum() / n)
    d *= d.dtype.type(2.0 / n)
    return loss, d


def bernoulli(
    logits: np.ndarray, targets: np.ndarray, mask: np.typing.ArrayLike | None = None
) -> tuple[float, np.ndarray]:
    """Binary cross-entropy of independent Bernoulli variables, from logits, in nats.

    Parameters
    ----------
    logits : (...) float32 or float64
    targets : (...) in [0, 1], shape of logits
        Booleans, integers or probabilities; ignored where masked out.
    mask : (...) bool, with or without the last axis, or None

    Returns
    -------
    loss : float
        Mean of ``softplus(logit) - target * logit`` over the unmasked elements.
    d_logits : (...), dtype of logits
        ``(sigmoid(logit) - target) / n``.

    Notes
    -----
    ``softplus(a) = max(a, 0) + log1p(exp(-|a|))``: nothing overflows.

    >>> import numpy as np
    >>> from fastrnn.training import bernoulli
    >>> loss, d_logits = bernoulli(np.array([0.0, 1000.0]), np.array([1, 1]))
    >>> round(loss, 6), d_logits
    (0.346574, array([-0.25,  0.  ]))
    """
    logits = _check_output("bernoulli", "logits", logits)
    targets = np.asarray(targets)
    if targets.shape != logits.shape:
        raise ValueError(
            f"bernoulli: targets has shape {targets.shape}, expected {logits.shape} like logits"
        )
    keep = _check_mask("bernoulli", mask, logits.shape)
    n = count(logits.shape, mask)
    if n == 0:
        return 0.0, np.zeros_like(logits)
    targets = targets.astype(logits.dtype)
    if keep is not None:
        keep = np.broadcast_to(keep, logits.shape)
        targets[~keep] = 0
    if targets.min() < 0 or targets.max() > 1 or np.isnan(targets).any():
        raise ValueError(
            f"bernoulli: targets run from {targets.min()} to {targets.max()}, expected [0, 1]"
        )
    small = np.exp(-np.abs(logits))
    element = np.maximum(logits, 0, dtype=np.float64) + np.log1p(small, dtype=np.float64)
    element -= np.multiply(targets, logits, dtype=np.float64)
    # sigmoid(a) = 1/(1+exp(-a)) for a >= 0 and exp(a)/(1+exp(a)) below: both read exp(-|a|).
    d = np.where(logits >= 0, 1, small) / (1 + small)
    d -= targets
    d *= d.dtype.type(1.0 / n)
    if keep is not None:
        element[~keep] = 0
        d[~keep] = 0
    return float(element.sum() / n), d.astype(logits.dtype, copy=False)
