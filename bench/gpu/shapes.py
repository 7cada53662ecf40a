"""The layers that are timed on a GPU, and why these."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Shape:
    """One layer in one direction, and its input."""

    cell: str
    dtype: str
    B: int
    T: int
    I: int
    H: int
    ragged: bool = False

    @property
    def name(self) -> str:
        """In a word: gru/bfloat16/16x1024x768x768."""
        sizes = f"{self.B}x{self.T}x{self.I}x{self.H}"
        return f"{self.cell}/{self.dtype}/{sizes}{' ragged' if self.ragged else ''}"

    def lengths(self) -> list[int]:
        """Of all rows. Ragged ones are drawn from a quarter of T to T; the first has T steps."""
        if not self.ragged:
            return [self.T] * self.B
        drawn = np.random.default_rng(self.B).integers(self.T // 4, self.T + 1, self.B)
        drawn[0] = self.T
        return [int(length) for length in drawn]


# Where others fall to their slow path: bfloat16, GRU, rows of different lengths, very long and
# thin. The last is the one where torch may take cuDNN's persistent kernel.
NAMED = [
    Shape("gru", "bfloat16", 16, 1024, 768, 768),
    Shape("gru", "bfloat16", 64, 128, 256, 256, ragged=True),
    Shape("gru", "bfloat16", 32, 8192, 1, 40),
    Shape("lstm", "float32", 128, 128, 64, 256, ragged=True),
    Shape("lstm", "float16", 16, 1024, 768, 768),
]
# Sizes as in DeepBench (speech and translation models); before them two small layers for which
# torch takes a cuDNN kernel of its own: one that it is good at, one where it is known to be slow.
GRID = [
    Shape("lstm", "float32", 20, 1314, 32, 32),
    Shape("lstm", "float32", 44, 1125, 160, 160),
    Shape("lstm", "bfloat16", 16, 25, 512, 512),
    Shape("lstm", "bfloat16", 64, 25, 1024, 1024),
    Shape("lstm", "bfloat16", 32, 25, 2048, 2048),
    Shape("lstm", "float16", 64, 150, 256, 256),
    Shape("lstm", "float16", 16, 50, 1536, 1536),
    Shape("lstm", "float32", 64, 25, 512, 512),
    Shape("gru", "bfloat16", 32, 187, 1536, 1536),
    Shape("gru", "float16", 32, 187, 2816, 2816),
    Shape("gru", "float32", 32, 375, 512, 512),
    Shape("rnn_tanh", "float16", 64, 50, 1792, 1792),
    Shape("rnn_relu", "float32", 64, 50, 1760, 1760),
]
# For torch.compile, which unrolls the loop and takes seconds a step to compile.
SMALL = Shape("lstm", "bfloat16", 16, 16, 128, 128)
