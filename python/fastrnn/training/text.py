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

    Calling it with the number of an epoch gives that epoch's batches: ``(T, B)`` inputs, and the
    characters that follow as targets. Window k+1 continues window k in every stream, so the
    state is carried (``batch.carry``); the first window of an epoch starts from zeros.

    Parameters
    ----------
    ids : (n,) int array
    batch, length : int
        B and T.
    seed : int
        Epochs start at different offsets below ``length`` (a function of seed and epoch alone),
        so windows and stream borders fall elsewhere each time.

    >>> import numpy as np
    >>> from fastrnn.training import TextStreams
    >>> streams = TextStreams(np.arange(100), batch=3, length=8, seed=0)
    >>> first, second, *rest = streams(0)
    >>> first.x.shape, first.carry, second.carry, len(streams) == 2 + len(rest)
    ((8, 3), False, True, True)
    >>> bool((first.target == first.x + 1).all()), bool((second.x[0] == first.target[-1]).all())
    (True, True)
    """

    def __init__(self, ids: np.ndarray, batch: int, length: int, seed: int = 0) -> None:
        self.ids = np.asarray(ids)
        if self.ids.ndim != 1 or self.ids.dtype.kind not in "iu":
            raise TypeError("TextStreams: ids is not a one-dimensional integer array")
        if batch < 1 or length < 1:
            raise ValueError(
                f"TextStreams: batch is {batch} and length {length}, expected both at least 1"
            )
        self.batch, self.length, self.seed = int(batch), int(length), int(seed)
        # Every epoch has the same number of windows whatever its offset (at most length - 1).
        self._windows = (self.ids.size - 1 - (length - 1)) // batch // length
        if self._windows < 1:
            raise ValueError(
                f"TextStreams: the text has {self.ids.size} characters, expected at least "
                f"(batch + 1) * length = {(batch + 1) * length}; take a smaller batch or length"
            )

    def __len__(self) -> int:
        """Batches in an epoch."""
        return self._windows

    def __call__(self, epoch: int) -> Iterator[Batch]:
        """The batches of this epoch, in order."""
        T, B = self.length, self.batch
        offset = int(np.random.default_rng([self.seed, epoch]).integers(T))
        span = self._windows * T
        # (span, B): stream b is one contiguous piece of the text.
        x = self.ids[offset : offset + span * B].reshape(B, span).T
        y = self.ids[offset + 1 : offset + 1 + span * B].reshape(B, span).T
        for start in range(0, span, T):
            yield Batch(
                np.ascontiguousarray(x[start : start + T]),
                np.ascontiguousarray(y[start : start + T]),
                carry=start > 0,
            )


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
