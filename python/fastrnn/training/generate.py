"""Text from a trained character model, one step at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .text import Vocabulary

__all__ = ["generate"]


def generate(
    model: Any,
    vocabulary: Vocabulary,
    prompt: str = "\n",
    *,
    length: int = 400,
    temperature: float = 1.0,
    rng: int | np.random.Generator | None = None,
) -> Iterator[str]:
    """Characters drawn from the model, each fed back as the next input.

    Parameters
    ----------
    model : Sequential
        ``model(ids, state)`` with ids ``(T, B)`` gives logits ``(T, B, len(vocabulary))``.
    vocabulary : Vocabulary
    prompt : str
        Read first; at least one character, all of them known to the vocabulary.
    length : int
        How many characters to draw.
    temperature : float
        Logits are divided by it; 0 takes the most probable character every time.
    rng : None, int or numpy.random.Generator

    Yields
    ------
    str
        One character. The unknown character is never drawn.

    Raises
    ------
    ValueError
        The prompt is empty or holds unknown characters, or a number is out of range.

    Notes
    -----
    The prompt is one call over its whole length, each further character one call with T = B = 1
    and the state carried: the same numbers as one call over the whole text would give. Drawing is
    by the inverse of the cumulative distribution, in float64.
    """
    if not prompt:
        raise ValueError("generate: prompt is empty, expected at least one character")
    strange = vocabulary.unknown(prompt)
    if strange:
        raise ValueError(
            f"generate: prompt holds {strange!r}, expected characters of the training text only"
        )
    if length < 0:
        raise ValueError(f"generate: length is {length}, expected a number >= 0")
    if not 0 <= temperature < float("inf"):
        raise ValueError(f"generate: temperature is {temperature}, expected a number >= 0")
    # Checked above, at the call; the steps run when the caller asks for characters.
    return _draw(model, vocabulary, prompt, length, temperature, np.random.default_rng(rng))


def _draw(
    model: Any,
    vocabulary: Vocabulary,
    prompt: str,
    length: int,
    temperature: float,
    rng: np.random.Generator,
) -> Iterator[str]:
    ids, state = vocabulary.encode(prompt)[:, None], None
    for _ in range(length):
        logits, state = model(ids, state)
        scores = logits[-1, 0, 1:].astype(np.float64)  # without number 0, the unknown character
        if temperature > 0:
            with np.errstate(over="ignore"):  # temperatures near 0: -inf, probability 0
                cumulative = np.cumsum(np.exp((scores - scores.max()) / temperature))
            drawn = int(np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right"))
        else:
            drawn = int(scores.argmax())
        ids = np.array([[drawn + 1]], np.int32)
        yield vocabulary.characters[drawn]
