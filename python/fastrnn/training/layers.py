"""Embedding, OneHot, Linear and Dropout: what stands before and after a recurrent layer."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from .. import _core
from .module import Module

__all__ = ["Dropout", "Embedding", "Linear", "OneHot"]

Seed = int | np.random.Generator | None


def _check_sizes(owner: str, **sizes: int) -> None:
    for name, size in sizes.items():
        if not isinstance(size, (int, np.integer)) or isinstance(size, bool):
            raise TypeError(f"{owner}: {name} is a {type(size).__name__}, expected an int")
        if size < 1:
            raise ValueError(f"{owner}: {name} is {size}, expected at least 1")


def _check_dtype(owner: str, dtype: np.typing.DTypeLike) -> np.dtype:
    found = np.dtype(dtype)
    if found not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise TypeError(f"{owner}: dtype is {found}, expected float32 or float64")
    return found


def _check_indices(owner: str, x: np.ndarray, bound: int) -> np.ndarray:
    x = np.asarray(x)
    if x.dtype.kind not in "iu":
        raise TypeError(f"{owner}: x has dtype {x.dtype}, expected integers")
    if x.size and (x.min() < 0 or x.max() >= bound):
        raise ValueError(
            f"{owner}: x holds indices from {x.min()} to {x.max()}, expected 0 to {bound - 1}"
        )
    return x


class Embedding(Module):
    """A row of ``weight`` for each index.

    Parameters
    ----------
    num_embeddings, embedding_dim : int
        Shape of ``weight``, which starts as N(0, 1) like ``torch.nn.Embedding``.
    dtype : float32 or float64
    rng : None, int or numpy.random.Generator

    Notes
    -----
    ``y[t, b] = weight[x[t, b]]``; the gradient of a row is the sum of ``d_y`` over the places
    where that row was used.

    >>> import numpy as np
    >>> from fastrnn.training import Embedding
    >>> y, tape = Embedding(10, 4, rng=0).forward(np.array([[1, 2], [2, 2]]))
    >>> y.shape, y.dtype
    ((2, 2, 4), dtype('float32'))
    """

    _names: tuple[str, ...] = ("weight",)

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        *,
        dtype: np.typing.DTypeLike = np.float32,
        rng: Seed = None,
    ) -> None:
        _check_sizes("Embedding", num_embeddings=num_embeddings, embedding_dim=embedding_dim)
        self.num_embeddings, self.embedding_dim = int(num_embeddings), int(embedding_dim)
        dtype = _check_dtype("Embedding", dtype)
        shape = (self.num_embeddings, self.embedding_dim)
        self.weight = np.random.default_rng(rng).standard_normal(shape).astype(dtype)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """``(...)`` integers -> ``(..., embedding_dim)``."""
        y: np.ndarray = self.weight[_check_indices("Embedding", x, self.num_embeddings)]
        return y

    def forward(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """``(...)`` integers -> ``(..., embedding_dim)`` and a tape."""
        return self(x), np.array(x)

    def backward(self, tape: np.ndarray, d_y: np.ndarray) -> tuple[None, dict[str, np.ndarray]]:
        """No gradient for the indices; ``weight`` gets ``(num_embeddings, embedding_dim)``."""
        index = tape.reshape(-1)
        d_y = d_y.reshape(index.size, self.embedding_dim)
        d_weight = np.zeros_like(self.weight)
        if index.size:
            # Rows of one index side by side, then one sum each: 3x np.add.at at 6400 rows of 64,
            # and within 1 ms of a product with a one-hot matrix, which grows with num_embeddings.
            order = np.argsort(index, kind="stable")
            rows, starts = np.unique(index[order], return_index=True)
            d_weight[rows] = np.add.reduceat(d_y[order], starts, axis=0)
        return None, {"weight": d_weight}


class OneHot(Module):
    """A unit vector for each index: the input of a network without an embedding.

    Parameters
    ----------
    num_classes : int
    dtype : float32 or float64

    >>> import numpy as np
    >>> from fastrnn.training import OneHot
    >>> OneHot(3)(np.array([2, 0]))
    array([[0., 0., 1.],
           [1., 0., 0.]], dtype=float32)
    """

    def __init__(self, num_classes: int, *, dtype: np.typing.DTypeLike = np.float32) -> None:
        _check_sizes("OneHot", num_classes=num_classes)
        self.num_classes = int(num_classes)
        self.dtype = _check_dtype("OneHot", dtype)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """``(...)`` integers -> ``(..., num_classes)``."""
        x = _check_indices("OneHot", x, self.num_classes)
        y = np.zeros((x.size, self.num_classes), self.dtype)
        y[np.arange(x.size), x.reshape(-1)] = 1
        return y.reshape(*x.shape, self.num_classes)

    def forward(self, x: np.ndarray) -> tuple[np.ndarray, None]:
        """``(...)`` integers -> ``(..., num_classes)`` and an empty tape."""
        return self(x), None

    def backward(self, tape: None, d_y: np.ndarray) -> tuple[None, dict[str, np.ndarray]]:
        """No gradients: the indices are integers and there are no parameters."""
        return None, {}


class Linear(Module):
    """``y = x @ weight.T + bias``, with the shapes and initialisation of ``torch.nn.Linear``.

    Parameters
    ----------
    in_features, out_features : int
        ``weight`` is ``(out_features, in_features)``, ``bias`` is ``(out_features,)``; both start
        as U(-1/sqrt(in_features), 1/sqrt(in_features)).
    bias : bool
    dtype : float32 or float64
    rng : None, int or numpy.random.Generator

    >>> import numpy as np
    >>> from fastrnn.training import Linear
    >>> Linear(3, 2, rng=0)(np.zeros((4, 5, 3), np.float32)).shape
    (4, 5, 2)
    """

    _names: tuple[str, ...] = ("weight",)

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        dtype: np.typing.DTypeLike = np.float32,
        rng: Seed = None,
    ) -> None:
        _check_sizes("Linear", in_features=in_features, out_features=out_features)
        dtype = _check_dtype("Linear", dtype)
        self.in_features, self.out_features = int(in_features), int(out_features)
        generator = np.random.default_rng(rng)
        bound = 1.0 / math.sqrt(self.in_features)
        shape = (self.out_features, self.in_features)
        self.weight = generator.uniform(-bound, bound, shape).astype(dtype)
        self.bias: np.ndarray | None = None
        if bias:
            self.bias = generator.uniform(-bound, bound, self.out_features).astype(dtype)
            self._names = ("weight", "bias")

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """``(..., in_features)`` -> ``(..., out_features)``."""
        x = np.asarray(x)
        if x.ndim < 1 or x.shape[-1] != self.in_features:
            raise ValueError(
                f"Linear: x has shape {x.shape}, expected (..., in_features) = "
                f"(..., {self.in_features})"
            )
        if x.dtype != self.weight.dtype:
            raise TypeError(
                f"Linear: x has dtype {x.dtype}, expected {self.weight.dtype} like the weights"
            )
        # One two-dimensional product: NumPy would loop over the leading axes of a stack.
        y: np.ndarray = x.reshape(-1, self.in_features) @ self.weight.T
        if self.bias is not None:
            y += self.bias
        return y.reshape(*x.shape[:-1], self.out_features)

    def forward(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """``(..., in_features)`` -> ``(..., out_features)`` and a tape (``x`` itself)."""
        return self(x), np.asarray(x)

    def backward(
        self, tape: np.ndarray, d_y: np.ndarray
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """``d_x = d_y @ weight``, ``d_weight = d_y.T @ x``, ``d_bias = sum of d_y``."""
        flat = d_y.reshape(-1, self.out_features)
        grads = {"weight": flat.T @ tape.reshape(-1, self.in_features)}
        if self.bias is not None:
            # A product with ones: pairwise within BLAS blocks, and faster than sum(axis=0).
            grads["bias"] = np.ones(flat.shape[0], flat.dtype) @ flat
        return (flat @ self.weight).reshape(tape.shape), grads


class Dropout(Module):
    """Zero each element with probability p in training, and scale the others by 1/(1-p).

    Parameters
    ----------
    p : float
        In [0, 1]; 1 keeps nothing.
    seed : int
        In [0, 2**64). Two Dropout pieces of one model should have different seeds.

    Notes
    -----
    The mask comes from the engine's generator (Philox4x32-10, docs/numerics.md): a pure function of
    ``seed``, the number of the call, which stands in the place of the layer, and the element's
    index. Only the call number has to be saved to resume a run bit for bit (:meth:`rng_state`).

    >>> import numpy as np
    >>> from fastrnn.training import Dropout
    >>> drop = Dropout(0.5, seed=1)
    >>> y, tape = drop.forward(np.ones((2, 8), np.float32))
    >>> bool(np.all((y == 0) | (y == 2))), bool(np.all(drop(y) == y))
    (True, True)
    """

    def __init__(self, p: float = 0.5, *, seed: int = 0) -> None:
        if not 0.0 <= p <= 1.0:
            raise ValueError(f"Dropout: p is {p}, expected a probability in [0, 1]")
        if not 0 <= seed < 2**64:
            raise ValueError(f"Dropout: seed is {seed}, expected an int in [0, 2**64)")
        self.p, self.seed, self.calls = float(p), int(seed), 0

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """The input, unchanged."""
        return x

    def forward(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Float array of any shape -> masked array of the same shape, and the mask."""
        call = self.calls
        self.calls += 1
        if self.p == 0:
            return x, None
        mask = _core._dropout_mask(0, x.size, call % 2**32, self.p, self.seed, x.dtype)
        mask = mask.reshape(x.shape)
        return x * mask, mask

    def backward(
        self, tape: np.ndarray | None, d_y: np.ndarray
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """The same mask applied to ``d_y``."""
        return (d_y if tape is None else d_y * tape), {}

    def rng_state(self) -> dict[str, int]:
        """How often ``forward`` was called."""
        return {"calls": self.calls}

    def set_rng_state(self, state: Mapping[str, int]) -> None:
        """Continue after that many calls."""
        self.calls = int(state["calls"])
