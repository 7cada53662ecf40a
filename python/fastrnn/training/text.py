"""Text as training data: vocabulary, split, and windows of parallel streams."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .batches import Batch

__all__ = ["TextStreams", "TextWindows", "Vocabulary", "split_text"]

UNKNOWN = "\N{REPLACEMENT CHARACTER}"


def _codes(text: str) -> np.ndarray:
    """(n,) uint32 code points; lone surrogates pass through."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")


class Vocabulary:
    """Characters and their numbers; number 0 is the unknown character U+FFFD.

    Parameters
    ----------
    characters : str
        Every known character once, in order of their numbers from 1.

    >>> from fastrnn.training import Vocabulary
    >>> vocabulary = Vocabulary.build("banana")
    >>> vocabulary.characters, len(vocabulary)
    ('abn', 4)
    >>> vocabulary.encode("nab!")
    array([3, 1, 2, 0], dtype=int32)
    >>> vocabulary.decode([3, 1, 2])
    'nab'
    """

    def __init__(self, characters: str) -> None:
        if len(set(characters)) != len(characters) or UNKNOWN in characters:
            raise ValueError(
                "Vocabulary: characters holds one twice or U+FFFD, expected each known character "
                "once (U+FFFD stands for the unknown one)"
            )
        self.characters = characters
        codes = _codes(characters)
        self._order = np.argsort(codes, kind="stable")
        self._sorted = codes[self._order]

    @classmethod
    def build(cls, text: str, min_count: int = 1) -> Vocabulary:
        """The characters that occur at least ``min_count`` times in ``text``, by code point."""
        codes, counts = np.unique(_codes(text), return_counts=True)
        return cls("".join(chr(c) for c in codes[counts >= min_count] if chr(c) != UNKNOWN))

    def __len__(self) -> int:
        """How many numbers there are, the unknown one included."""
        return len(self.characters) + 1

    def unknown(self, text: str) -> str:
        """The characters of ``text`` that the vocabulary does not hold, each once, sorted."""
        return "".join(sorted(set(text) - set(self.characters)))

    def encode(self, text: str) -> np.ndarray:
        """``(len(text),)`` int32; characters outside the vocabulary become 0."""
        codes = _codes(text)
        if not self._sorted.size:
            return np.zeros(codes.size, np.int32)
        place = np.minimum(np.searchsorted(self._sorted, codes), self._sorted.size - 1)
        return np.where(self._sorted[place] == codes, self._order[place] + 1, 0).astype(np.int32)

    def decode(self, ids: np.typing.ArrayLike) -> str:
        """The text of these numbers; 0 gives U+FFFD."""
        table = UNKNOWN + self.characters
        return "".join(table[int(i)] for i in np.asarray(ids).reshape(-1))


def split_text(size: int, validation: float = 0.1) -> int:
    """Where validation begins: the last ``validation`` share of the text is held out.

    One contiguous piece at the end, so nothing in it was seen from either side in training.

    >>> from fastrnn.training import split_text
    >>> split_text(1000, 0.1)
    900
    """
    if not 0 < validation < 1:
        raise ValueError(f"split_text: validation is {validation}, expected a share in (0, 1)")
    return size - max(1, round(size * validation))


class TextStreams:
    """One long text as B parallel streams, read in windows of T steps (truncated BPTT).

    The text is cut into segments of ``segment`` windows. Each stream reads one segment after
    another, in an order drawn for each epoch; inside a segment the state is carried from window to
    window (``batch.carry``), at its start it is zero. Calling the object with the number of an
    epoch gives that epoch's batches: ``(T, B)`` inputs, and the characters that follow as targets.

    Parameters
    ----------
    ids : (n,) int array
    batch, length : int
        B and T.
    segment : int or None
        Windows of a segment; None makes it as long as possible, one segment per stream. A state
        that is never reset drifts to where a fresh one never is (cells of an LSTM can grow without
        bound), and the model is then lost when it starts from zeros, in validation and sampling:
        give a number when the model will be used that way.
    seed : int
        Epochs cut at different offsets below ``length`` and take the segments in different orders
        (functions of seed and epoch alone).

    >>> import numpy as np
    >>> from fastrnn.training import TextStreams
    >>> streams = TextStreams(np.arange(100), batch=3, length=8, segment=2, seed=0)
    >>> batches = list(streams(0))
    >>> len(batches), batches[0].x.shape, [b.carry for b in batches]
    (2, (8, 3), [False, True])
    >>> bool((batches[0].target == batches[0].x + 1).all())
    True
    >>> bool((batches[1].x[0] == batches[0].target[-1]).all())
    True
    """

    def __init__(
        self,
        ids: np.ndarray,
        batch: int,
        length: int,
        segment: int | None = None,
        seed: int = 0,
    ) -> None:
        self.ids = np.asarray(ids)
        if self.ids.ndim != 1 or self.ids.dtype.kind not in "iu":
            raise TypeError("TextStreams: ids is not a one-dimensional integer array")
        if batch < 1 or length < 1 or (segment is not None and segment < 1):
            raise ValueError(
                f"TextStreams: batch, length, segment are {batch}, {length}, {segment}; expected "
                "all at least 1"
            )
        self.batch, self.length, self.seed = int(batch), int(length), int(seed)
        # Every epoch has the same number of windows whatever its offset (at most length - 1).
        windows = (self.ids.size - length) // length
        self.segment = max(1, windows // batch) if segment is None else int(segment)
        self._segments = windows // self.segment
        if self._segments < batch:
            raise ValueError(
                f"TextStreams: the text has {self.ids.size} characters, expected at least "
                f"(batch * segment + 1) * length = {(batch * self.segment + 1) * length}; take a "
                "smaller batch, segment or length"
            )

    def __len__(self) -> int:
        """Batches in an epoch."""
        return self._segments // self.batch * self.segment

    def __call__(self, epoch: int) -> Iterator[Batch]:
        """The batches of this epoch, in order."""
        rng = np.random.default_rng([self.seed, epoch])
        offset = int(rng.integers(self.length))
        starts = offset + rng.permutation(self._segments) * self.segment * self.length
        steps = np.arange(self.length)[:, None]
        for first in range(0, self._segments - self.batch + 1, self.batch):
            for window in range(self.segment):
                place = starts[first : first + self.batch] + window * self.length + steps
                yield Batch(self.ids[place], self.ids[place + 1], carry=window > 0)


class TextWindows:
    """Every character from ``start`` on predicted exactly once, in ``streams`` parallel pieces.

    Each piece first reads the ``burn_in`` characters before it, which count for nothing but give
    the state that the text before the piece leaves behind. Used for validation: the sum is over
    the same characters as a Markov chain's, whatever ``streams`` is.

    Parameters
    ----------
    ids : (n,) int array
        The whole text, training part included (it is the context of the first piece).
    start : int
        First character to predict, at least 1.
    streams, length, burn_in : int

    >>> import numpy as np
    >>> from fastrnn.training import TextWindows
    >>> windows = TextWindows(np.arange(50), start=20, streams=4, length=5, burn_in=3)
    >>> sorted(int(t) for b in windows(0) for t in b.target[b.mask]) == list(range(20, 50))
    True
    """

    def __init__(
        self, ids: np.ndarray, start: int, streams: int = 32, length: int = 128, burn_in: int = 128
    ) -> None:
        self.ids = np.asarray(ids)
        if not 1 <= start < self.ids.size:
            raise ValueError(
                f"TextWindows: start is {start}, expected 1 to {self.ids.size - 1} because the "
                f"text has {self.ids.size} characters"
            )
        if streams < 1 or length < 1 or burn_in < 0:
            raise ValueError(
                f"TextWindows: streams, length, burn_in are {streams}, {length}, {burn_in}; "
                "expected at least 1, 1, 0"
            )
        self.start = int(start)
        self.burn_in = min(int(burn_in), self.start - 1)
        self.streams = min(int(streams), self.ids.size - self.start)
        self.piece = -(-(self.ids.size - self.start) // self.streams)
        self.length = min(int(length), self.piece + self.burn_in)

    def __len__(self) -> int:
        """How many windows."""
        return -(-(self.piece + self.burn_in) // self.length)

    def __call__(self, epoch: int = 0) -> Iterator[Batch]:
        """The windows in order (the same in every epoch)."""
        first = self.start + self.piece * np.arange(self.streams)
        for window in range(len(self)):
            # Position of the target of step t of stream b, (T, B).
            step = np.arange(window * self.length, (window + 1) * self.length) - self.burn_in
            place = first + step[:, None]
            mask = (step[:, None] >= 0) & (step[:, None] < self.piece) & (place < self.ids.size)
            place = np.minimum(place, self.ids.size - 1)
            yield Batch(self.ids[place - 1], self.ids[place], mask, carry=window > 0)
