"""Vocabulary, streams and windows, and the Markov baseline against a brute-force one."""

from __future__ import annotations

import math
import time
from collections import Counter
from typing import Any

import numpy as np
import pytest
from tolerances import RELATIVE_FLOAT64

import fastrnn
from fastrnn import training as tr


def test_vocabulary_round_trip_and_unknown() -> None:
    text = "déjà vu\n𝄞 \x00z"
    vocabulary = tr.Vocabulary.build(text)
    ids = vocabulary.encode(text)
    assert ids.dtype == np.int32
    assert vocabulary.decode(ids) == text
    assert sorted(vocabulary.characters) == list(vocabulary.characters) == sorted(set(text))
    assert (len(vocabulary), ids.min()) == (len(set(text)) + 1, 1)
    assert vocabulary.encode("zQ").tolist()[1] == 0
    assert vocabulary.decode([0]) == "\ufffd"
    assert vocabulary.unknown("xyzzy") == "xy"
    assert tr.Vocabulary.build("aab", min_count=2).characters == "a"
    assert tr.Vocabulary.build("a\ufffdb").encode("\ufffd").tolist() == [0]
    assert tr.Vocabulary("").encode("ab").tolist() == [0, 0]
    for bad in ("aa", "a\ufffd"):
        with pytest.raises(ValueError, match="each known character once"):
            tr.Vocabulary(bad)
    # any order of the characters is kept: a checkpoint's vocabulary is not sorted again
    assert tr.Vocabulary("zab").encode("abz").tolist() == [2, 3, 1]


@pytest.mark.parametrize(
    ("n", "batch", "length", "segment"),
    [
        (100, 3, 8, None),
        (60, 5, 10, None),
        (64, 1, 32, None),
        (1000, 7, 13, None),
        (1000, 7, 13, 3),
        (1000, 7, 13, 1),
        (1000, 1, 13, 20),
        (60, 5, 10, 1),
    ],
)
def test_streams(n: int, batch: int, length: int, segment: int | None) -> None:
    streams = tr.TextStreams(np.arange(n), batch, length, segment, seed=3)
    if segment is None:
        segment = len(streams)
    offsets = set()
    for epoch in range(20):
        batches = list(streams(epoch))
        assert len(batches) == len(streams)
        assert all(b.x.shape == b.target.shape == (length, batch) for b in batches)
        assert [b.carry for b in batches] == [k % segment > 0 for k in range(len(batches))]
        x = np.concatenate([b.x for b in batches])
        pieces = x.reshape(-1, segment * length, batch)
        assert (np.diff(pieces, axis=1) == 1).all(), "a segment is one contiguous piece"
        assert np.array_equal(np.concatenate([b.target for b in batches]), x + 1)
        assert np.unique(x).size == x.size, "no character is read twice in an epoch"
        assert x.size > n - (batch + 1) * (segment + 1) * length, "hardly any is left out"
        offsets.add(int(x.min()) % length)
        again = [b.x for b in tr.TextStreams(np.arange(n), batch, length, segment, 3)(epoch)]
        assert np.array_equal(np.concatenate(again), x)
    assert len(offsets) > 1
    assert max(offsets) < length


def test_streams_refuse_short_text() -> None:
    with pytest.raises(ValueError, match=r"\(batch \* segment \+ 1\) \* length = 90"):
        tr.TextStreams(np.arange(89), 8, 10)
    with pytest.raises(ValueError, match="= 250"):
        tr.TextStreams(np.arange(249), 8, 10, segment=3)
    assert len(tr.TextStreams(np.arange(250), 8, 10, segment=3)) == 3
    assert len(tr.TextStreams(np.arange(90), 8, 10)) == 1


@pytest.mark.parametrize("streams", [1, 4, 7, 500])
@pytest.mark.parametrize("burn_in", [0, 5, 64])
def test_windows_predict_each_character_once(streams: int, burn_in: int) -> None:
    n, start = 300, 217
    windows = tr.TextWindows(np.arange(n), start, streams, 16, burn_in)
    batches = list(windows(0))
    assert len(batches) == len(windows)
    predicted = np.concatenate([b.target[b.mask] for b in batches])
    assert np.array_equal(np.sort(predicted), np.arange(start, n))
    x = np.concatenate([b.x for b in batches])
    kept = np.concatenate([b.mask for b in batches])
    assert np.array_equal(np.concatenate([b.target for b in batches])[kept], x[kept] + 1)
    # before the first character that counts, each piece has read the burn-in
    assert (kept.argmax(axis=0) == burn_in).all()


def test_validation_loss_does_not_depend_on_the_number_of_streams() -> None:
    """Up to what a state still knows after a burn-in of 64 characters."""
    ids = np.random.default_rng(0).integers(0, 5, 900)
    lstm = fastrnn.LSTM(4, 6, dtype=np.float64, rng=1)
    model = tr.Sequential(
        tr.Embedding(5, 4, dtype=np.float64, rng=0), lstm, tr.Linear(6, 5, dtype=np.float64, rng=2)
    )
    losses = [
        tr.evaluate(model, tr.TextWindows(ids, 600, s, 50, 64), tr.cross_entropy) for s in (1, 3, 8)
    ]
    np.testing.assert_allclose(losses, losses[0], rtol=1e-9)
    x, y = ids[535:-1, None], ids[600:, None]
    exact, _ = tr.cross_entropy(model(x)[0][64:], y)
    assert math.isclose(losses[0], exact, rel_tol=RELATIVE_FLOAT64)


def brute_force(ids: list[int], start: int, size: int, order: int) -> float:
    """Witten-Bell as in the paper: one dict per order, one character at a time."""
    counts: list[Counter[Any]] = [Counter() for _ in range(order + 1)]
    for w in range(order + 1):
        for i in range(w, start):
            counts[w][tuple(ids[i - w : i + 1])] += 1

    def probability(context: tuple[int, ...], c: int) -> float:
        shorter = probability(context[1:], c) if context else 1 / size
        after = [n for gram, n in counts[len(context)].items() if gram[:-1] == context]
        if not after:
            return shorter
        own = counts[len(context)][(*context, c)]
        return (own + len(after) * shorter) / (sum(after) + len(after))

    total = 0.0
    for i in range(start, len(ids)):
        total -= math.log(probability(tuple(ids[max(0, i - order) : i]), ids[i]))
    return total / (len(ids) - start)


@pytest.mark.parametrize(
    ("n", "start", "size"), [(60, 45, 2), (200, 150, 3), (80, 2, 3), (30, 1, 4)]
)
def test_markov_equals_brute_force(n: int, start: int, size: int) -> None:
    rng = np.random.default_rng(n)
    ids = np.minimum(rng.integers(0, size, n), rng.integers(0, size, n))
    ids[start:][rng.random(n - start) < 0.2] = size - 1  # characters rare or unseen in training
    losses = tr.markov_losses(ids, start, size, order=4)
    assert len(losses) == 5
    for order, loss in enumerate(losses):
        exact = brute_force(ids.tolist(), start, size, order)
        assert math.isclose(loss, exact, rel_tol=RELATIVE_FLOAT64), order


def test_markov_probabilities_add_up() -> None:
    """Over the possible next characters of one place the probabilities sum to 1."""
    train = np.random.default_rng(1).integers(0, 4, 300)
    for order in range(5):
        total = sum(
            math.exp(-tr.markov_losses(np.append(train, c), 300, 5, order)[order]) for c in range(5)
        )
        assert math.isclose(total, 1.0, rel_tol=RELATIVE_FLOAT64)


def test_markov_is_quick_and_bounded_for_any_alphabet() -> None:
    """A million characters of an alphabet whose fifth power overflows 64 bits."""
    ids = np.random.default_rng(0).zipf(1.3, 1_000_000) % 50_000
    started = time.process_time()
    losses = tr.markov_losses(ids, 900_000, 50_000)
    assert time.process_time() - started < 8
    assert all(math.isfinite(loss) for loss in losses)


def test_markov_refuses() -> None:
    for ids, start, size, order in (
        ([0, 1], 0, 2, 1),
        ([0, 1], 2, 2, 1),
        ([0, 2], 1, 2, 1),
        ([0, 1], 1, 2, -1),
    ):
        with pytest.raises(ValueError, match=r"markov_losses: .*, expected"):
            tr.markov_losses(np.array(ids), start, size, order)


def letter_model(vocabulary: tr.Vocabulary) -> tr.Sequential:
    size = len(vocabulary)
    return tr.Sequential(tr.OneHot(size), fastrnn.GRU(size, 8, rng=1), tr.Linear(8, size, rng=2))


def test_generate_is_the_model_step_by_step() -> None:
    vocabulary = tr.Vocabulary("abc")
    model = letter_model(vocabulary)
    text = "".join(tr.generate(model, vocabulary, "abca", length=50, temperature=0, rng=0))
    ids = vocabulary.encode("abca" + text)[:, None]
    logits = model(ids)[0][:, 0, 1:]
    assert np.array_equal(logits.argmax(axis=-1)[3:-1] + 1, ids[4:, 0])


def test_generate_draws_from_the_softmax() -> None:
    """Frequencies of 4000 first characters at temperature 0.7 fit the probabilities."""
    vocabulary = tr.Vocabulary("abcd")
    model = letter_model(vocabulary)
    model.parameters()["2.weight"][...] *= 3
    scores = model(vocabulary.encode("ab")[:, None])[0][-1, 0, 1:].astype(np.float64) / 0.7
    p = np.exp(scores - scores.max())
    p /= p.sum()
    rng, n = np.random.default_rng(5), 4000
    drawn = Counter(
        next(iter(tr.generate(model, vocabulary, "ab", length=1, temperature=0.7, rng=rng)))
        for _ in range(n)
    )
    found = np.array([drawn[c] for c in "abcd"])
    chi_square = float(((found - n * p) ** 2 / (n * p)).sum())
    assert chi_square < 16.3  # 3 degrees of freedom, one in a thousand
    assert p.max() / p.min() > 1.3  # not uniform, or the test would see nothing


def test_generate_is_seeded_and_refuses() -> None:
    vocabulary = tr.Vocabulary("abc")
    model = letter_model(vocabulary)
    one, two, other = ("".join(tr.generate(model, vocabulary, "a", rng=s)) for s in (1, 1, 2))
    assert one == two != other
    assert len(one) == 400
    for options, message in (
        ({"prompt": ""}, "empty"),
        ({"prompt": "axb"}, "'x'"),
        ({"prompt": "a", "temperature": -1}, "temperature is -1"),
        ({"prompt": "a", "temperature": math.nan}, "temperature is nan"),
        ({"prompt": "a", "length": -1}, "length is -1"),
    ):
        with pytest.raises(ValueError, match=message):
            tr.generate(model, vocabulary, **options)
