"""Philox4x32-10, the counter-based generator behind every dropout mask.

A counter-based generator is a function from (counter, key) to random words. It has no state to
carry, so a mask element depends on its place alone, not on the order, the thread or the machine
that asks for it.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

ROUNDS = 10
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)  # golden ratio and sqrt(3) - 1, the key's increment per round
LOW = np.uint64(0xFFFFFFFF)


def philox4x32(counter: np.ndarray, key: tuple[int, int]) -> np.ndarray:
    """Ten rounds of Philox4x32.

    Parameters
    ----------
    counter : (n, 4) uint32
        One counter per row, least significant word first.
    key : (int, int)
        Two 32-bit words.

    Returns
    -------
    (n, 4) uint32
        Four random words per counter.

    Notes
    -----
    One round maps (c0, c1, c2, c3) under the key (k0, k1) to
    ``(hi(M1 c2) ^ c1 ^ k0, lo(M1 c2), hi(M0 c0) ^ c3 ^ k1, lo(M0 c0))``, where hi and lo are the
    halves of the 64-bit product; then the key moves on by the Weyl constants.
    J. K. Salmon, M. A. Moraes, R. O. Dror and D. E. Shaw, "Parallel random numbers: as easy as
    1, 2, 3", SC 2011.

    Examples
    --------
    >>> [f"{w:08x}" for w in philox4x32(np.zeros((1, 4), np.uint32), (0, 0))[0].tolist()]
    ['6627e8d5', 'e169c58d', 'bc57ac4c', '9b00dbd8']
    """
    c0, c1, c2, c3 = np.asarray(counter, np.uint64).T  # 64-bit words, so that a product is whole
    k0, k1 = key
    for _ in range(ROUNDS):
        product0, product1 = np.uint64(MULTIPLIERS[0]) * c0, np.uint64(MULTIPLIERS[1]) * c2
        c0, c1, c2, c3 = (
            (product1 >> np.uint64(32)) ^ c1 ^ np.uint64(k0),
            product1 & LOW,
            (product0 >> np.uint64(32)) ^ c3 ^ np.uint64(k1),
            product0 & LOW,
        )
        k0, k1 = (k0 + WEYL[0]) & 0xFFFFFFFF, (k1 + WEYL[1]) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3], axis=1).astype(np.uint32)


def dropout_mask(
    n0: int, count: int, layer: int, p: float, seed: int, dtype: npt.DTypeLike = np.float64
) -> np.ndarray:
    """Elements n0 .. n0 + count - 1 of the dropout mask on the input of one layer.

    Parameters
    ----------
    n0, count : int
        Range of linear element indices ``e = (t*B + b)*(D*H) + j``, t in real time order whatever
        the layout of x.
    layer : int
        The layer whose input is masked, 1 .. L-1.
    p : float
        Probability in [0, 1] that an element is dropped.
    seed : int
        64-bit seed; its low word is key word 0, its high word key word 1.
    dtype : float32 or float64

    Returns
    -------
    (count,) dtype
        0 where an element is dropped, the scale 1/(1-p) where it is kept.

    Raises
    ------
    ValueError
        If p is outside [0, 1].

    Notes
    -----
    Element e uses word ``e & 3`` of ``philox4x32((e>>2 low word, e>>2 high word, layer, 0), seed)``
    and is kept if its upper 24 bits are at least ``ceil(p * 2^24)``, i.e. with probability 1 - p
    to within 2^-24. The scale is computed in float64 and rounded to dtype once.

    Examples
    --------
    >>> dropout_mask(0, 6, layer=1, p=0.5, seed=7)
    array([0., 0., 0., 0., 2., 2.])
    """
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"dropout_mask: p is {p}, expected a probability in [0, 1]")
    e = np.arange(n0, n0 + count, dtype=np.uint64)
    block = np.arange(n0 >> 2, (n0 + count + 3) >> 2, dtype=np.uint64)
    counter = np.zeros((len(block), 4), np.uint32)
    counter[:, 0], counter[:, 1], counter[:, 2] = block & LOW, block >> np.uint64(32), layer
    words = philox4x32(counter, (seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF)).reshape(-1)
    word = words[(e - np.uint64(n0 & ~3)).astype(np.intp)]
    kept = (word >> np.uint32(8)) >= np.uint32(math.ceil(p * 2.0**24))
    scale = 1.0 / (1.0 - p) if p < 1.0 else 0.0  # at p = 1 nothing is kept and no scale is needed
    return np.where(kept, scale, 0.0).astype(dtype)
