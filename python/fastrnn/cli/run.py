"""What one call of ``fastrnn train`` is about."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastrnn.training import (
    Checkpoint,
    Cosine,
    Sequential,
    TextStreams,
    Vocabulary,
    split_text,
)

from .corpus import Corpus

__all__ = ["Run"]

WARMUP, WARMUP_SHARE = 50, 0.1


@dataclass
class Run:
    """What is being trained, on what, into which folder."""

    settings: dict[str, Any]
    corpus: Corpus
    vocabulary: Vocabulary
    model: Sequential
    folder: Path
    checkpoint: Checkpoint | None = None

    def __post_init__(self) -> None:
        self.ids = self.vocabulary.encode(self.corpus.text)
        self.start = split_text(self.ids.size, self.settings["validation"])

    def streams(self) -> TextStreams:
        """The training part."""
        s = self.settings
        ids = self.ids[: self.start]
        return TextStreams(ids, s["batch"], s["length"], s["segment"], s["seed"])

    @property
    def path(self) -> Path:
        """The checkpoint to write."""
        return self.folder / "model.safetensors"

    def schedule(self) -> Cosine:
        """Learning rate of each step."""
        return Cosine(self.settings["lr"], warmup=WARMUP, warmup_share=WARMUP_SHARE)
