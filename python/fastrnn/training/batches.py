"""What a training step is fed: the batch, and arrays dealt out in shuffled batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

__all__ = ["ArrayBatches", "Batch"]


class Batch(NamedTuple):
    """One training or validation step's data; what ``fit`` takes.

    Attributes
    ----------
    x : ndarray
        Input of the model, ``(T, B)`` integers or ``(T, B, I)`` floats.
    target : ndarray
        Second argument of the loss.
    mask : ndarray of bool or None
        Third argument of the loss.
    carry : bool
        Whether the recurrent state of the batch before is carried over (else it is zero).
    lengths : (B,) int array or None
        Passed on to the recurrent layers.
    """

    x: np.ndarray
    target: np.ndarray
    mask: np.ndarray | None = None
    carry: bool = False
    lengths: np.ndarray | None = None


class ArrayBatches:
    """Whole sequences, time first, dealt out in batches of ``batch`` sequences.

    Calling it with the number of an epoch gives that epoch's batches in an order that is a
    function of seed and epoch alone. The last batch of an epoch may be smaller.

    Parameters
    ----------
    x : (T, N) or (T, N, ...) array
        N sequences.
    target : (T, N) or (T, N, ...) array
    batch : int
    mask : (T, N) or (T, N, ...) bool array or None
    lengths : (N,) int array or None
    shuffle : bool
    seed : int

    >>> import numpy as np
    >>> from fastrnn.training import ArrayBatches
    >>> batches = ArrayBatches(np.zeros((5, 10, 2)), np.zeros((5, 10)), batch=4)
    >>> [b.x.shape for b in batches(0)], len(batches)
    ([(5, 4, 2), (5, 4, 2), (5, 2, 2)], 3)
    """

    def __init__(
        self,
        x: np.ndarray,
        target: np.ndarray,
        batch: int,
        *,
        mask: np.ndarray | None = None,
        lengths: np.ndarray | None = None,
        shuffle: bool = True,
        seed: int = 0,
    ) -> None:
        self.x, self.target = np.asarray(x), np.asarray(target)
        self.mask = None if mask is None else np.asarray(mask, dtype=bool)
        self.lengths = None if lengths is None else np.asarray(lengths)
        if self.x.ndim < 2 or self.x.shape[1] < 1:
            raise ValueError(
                f"ArrayBatches: x has shape {self.x.shape}, expected (T, N, ...) with N >= 1"
            )
        for name, array in (("target", self.target), ("mask", self.mask)):
            if array is not None and array.shape[:2] != self.x.shape[:2]:
                raise ValueError(
                    f"ArrayBatches: {name} has shape {array.shape}, expected (T, N, ...) with "
                    f"(T, N) = {self.x.shape[:2]} like x"
                )
        if self.lengths is not None and self.lengths.shape != self.x.shape[1:2]:
            raise ValueError(
                f"ArrayBatches: lengths has shape {self.lengths.shape}, expected (N,) = "
                f"({self.x.shape[1]},)"
            )
        if batch < 1:
            raise ValueError(f"ArrayBatches: batch is {batch}, expected at least 1")
        self.batch, self.shuffle, self.seed = int(batch), bool(shuffle), int(seed)

    def __len__(self) -> int:
        """Batches in an epoch."""
        return -(-int(self.x.shape[1]) // self.batch)

    def __call__(self, epoch: int) -> Iterator[Batch]:
        """The batches of this epoch."""
        order = np.arange(self.x.shape[1])
        if self.shuffle:
            np.random.default_rng([self.seed, epoch]).shuffle(order)
        for start in range(0, order.size, self.batch):
            rows = order[start : start + self.batch]
            yield Batch(
                self.x[:, rows],
                self.target[:, rows],
                None if self.mask is None else self.mask[:, rows],
                lengths=None if self.lengths is None else self.lengths[rows],
            )
