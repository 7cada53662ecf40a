"""Name the script of a character from the rest of its Unicode name: sequences of many lengths.

"GREEK SMALL LETTER ALPHA" without its first word is read letter by letter; which of the ten most
frequent first words was it? A bidirectional LSTM reads rows of different lengths in one batch
(`lengths`); the baseline always answers the most frequent one.
"""

from __future__ import annotations

import argparse
import sys
import unicodedata
from collections import Counter

import numpy as np

import fastrnn
from fastrnn import training as tr

H, CLASSES, LONGEST = 48, 10, 40
LETTERS = " -ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


def names() -> tuple[list[str], np.ndarray]:
    """The rests of the names, and the number of each one's first word."""
    found = [unicodedata.name(chr(code), "") for code in range(sys.maxunicode + 1)]
    pairs = [tuple(name.split(" ", 1)) for name in found if " " in name]
    # those that enumerate thousands of signs by number can only be guessed by the number
    pairs = [(a, b) for a, b in pairs if "-" not in b and len(b) <= LONGEST]
    common = [word for word, _ in Counter(word for word, _ in pairs).most_common(CLASSES)]
    kept = [(b, common.index(a)) for a, b in pairs if a in common]
    return [b for b, _ in kept], np.array([label for _, label in kept])


def encode(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """(T, N) letters, padded with zeros, and the length of each."""
    lengths = np.array([len(text) for text in texts])
    x = np.zeros((LONGEST, len(texts)), np.int64)
    for n, text in enumerate(texts):
        x[: len(text), n] = [LETTERS.index(letter) for letter in text]
    return x, lengths


def main() -> None:
    """Train and compare."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=600, help="training steps (default 600)")
    given = parser.parse_args()

    texts, labels = names()
    order = np.random.default_rng(0).permutation(len(texts))
    texts, labels = [texts[i] for i in order], labels[order]
    x, lengths = encode(texts)
    # the answer is read off the last letter of each row, where the forward direction has seen all
    last = np.arange(LONGEST)[:, None] == lengths - 1
    target = np.broadcast_to(labels, x.shape)
    cut = len(texts) * 9 // 10

    def part(rows: slice, batch: int) -> tr.ArrayBatches:
        return tr.ArrayBatches(
            x[:, rows], target[:, rows], batch, mask=last[:, rows], lengths=lengths[rows]
        )

    model = tr.Sequential(
        embedding=tr.Embedding(len(LETTERS), 16, rng=0),
        lstm=fastrnn.LSTM(16, H, bidirectional=True, rng=1),
        head=tr.Linear(2 * H, CLASSES, rng=2),
    )

    def report(history: tr.History, loss: float) -> None:
        if history.steps % 100 == 0:
            print(f"step {history.steps:5}   cross-entropy of the batch {loss:.3f}", flush=True)

    tr.fit(
        model,
        part(slice(0, cut), 64),
        tr.cross_entropy,
        tr.Adam(model.parameters()),
        steps=given.steps,
        schedule=tr.Cosine(5e-3, warmup=20, warmup_share=0.1),
        clip_norm=1.0,
        progress=False,
        callbacks=[report],
    )
    y, _ = model(x[:, cut:], lengths=lengths[cut:])
    answers = y[lengths[cut:] - 1, np.arange(len(texts) - cut)].argmax(-1)
    most = np.bincount(labels[:cut]).argmax()
    print(f"{len(texts):,} names of 1 to {LONGEST} letters, {len(texts) - cut:,} of them to test")
    print(f"baseline (the most frequent)         right {np.mean(labels[cut:] == most):.4f}")
    print(f"score    (bidirectional LSTM of {H})  right {np.mean(labels[cut:] == answers):.4f}")


if __name__ == "__main__":
    main()
