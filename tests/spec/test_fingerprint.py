"""Weights changed in place are noticed wherever it was; unchanged ones are not packed again."""

from __future__ import annotations

import numpy as np
import pytest

import fastrnn
from fastrnn import _core

# float32 words of the fingerprint's blocks (128 KB) and stripes (64 bytes)
BLOCK, STRIPE = 1 << 15, 16
SIZES = {"one block": (5, 3), "few blocks": (130, 110), "shared by threads": (300, 257)}


def pack(params: list[np.ndarray], sizes: tuple[int, int], previous: object = None) -> object:
    return _core.pack("lstm", params, *sizes, 1, 1, True, previous)


def parameters(sizes: tuple[int, int]) -> list[np.ndarray]:
    return [*fastrnn.LSTM(*sizes, rng=0).parameters().values()]


@pytest.mark.parametrize("name", SIZES)
def test_every_place_counts(name: str) -> None:
    params = parameters(SIZES[name])
    before = pack(params, SIZES[name])
    for array in params:
        words = array.reshape(-1).view(np.uint32)
        places = {0, 1, STRIPE - 1, STRIPE, BLOCK - 1, BLOCK, 2 * BLOCK, words.size // 2}
        places |= {words.size - 1, words.size // STRIPE * STRIPE - 1}
        for place in (p for p in places if p < words.size):
            for bit in (0, 17, 31):
                words[place] ^= np.uint32(1 << bit)
                assert pack(params, SIZES[name], before) is not before, (place, bit)
                words[place] ^= np.uint32(1 << bit)
    assert pack(params, SIZES[name], before) is before


@pytest.mark.parametrize("words", [1, 2, STRIPE, 4 * STRIPE, BLOCK])
def test_weights_that_changed_places_are_noticed(words: int) -> None:
    sizes = SIZES["shared by threads"]
    params = parameters(sizes)
    before = pack(params, sizes)
    flat = params[0].reshape(-1)
    flat[: 2 * words] = np.concatenate([flat[words : 2 * words], flat[:words]])
    assert pack(params, sizes, before) is not before


def test_equal_arrays_that_changed_places_are_noticed() -> None:
    sizes = (64, 64)
    params = parameters(sizes)
    before = pack(params, sizes)
    params[0], params[1] = params[1], params[0]
    assert pack(params, sizes, before) is not before


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("name", SIZES)
def test_the_number_of_threads_does_not_count(name: str) -> None:
    params = parameters(SIZES[name])
    fastrnn.set_num_threads(1)
    before = pack(params, SIZES[name])
    for count in (2, 3, 7):
        fastrnn.set_num_threads(count)
        assert pack(params, SIZES[name], before) is before
