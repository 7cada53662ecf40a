"""What may be passed: any strides, byte order, alignment; foreign arrays; with and without B."""

from __future__ import annotations

import array as stdlib_array
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from engine import assert_same_bits, assert_same_results
from modules import LAYERS, Result, has_c, normal, random_state, run, run_inference, state_arrays

import fastrnn
from fastrnn import functional as F

T, B, I, H = 5, 3, 4, 6


def strided(a: np.ndarray) -> np.ndarray:
    wide = np.full((*a.shape[:-1], 3 * a.shape[-1]), np.nan, a.dtype)
    wide[..., ::3] = a
    return wide[..., ::3]


def padded_rows(a: np.ndarray) -> np.ndarray:
    wide = np.full((*a.shape[:-1], a.shape[-1] + 3), np.nan, a.dtype)
    wide[..., 1:-2] = a
    return wide[..., 1:-2]


def misaligned(a: np.ndarray) -> np.ndarray:
    found = np.frombuffer(b"\0" + a.tobytes(), a.dtype, offset=1).reshape(a.shape)
    return found


def packed_record(a: np.ndarray) -> np.ndarray:
    records = np.zeros(a.shape, np.dtype([("flag", "u1"), ("value", a.dtype)]))
    records["value"] = a
    return records["value"]


def read_only(a: np.ndarray) -> np.ndarray:
    found = a.copy()
    found.flags.writeable = False
    return found


class Subclass(np.ndarray):
    """Reads as something else unless it is taken as a plain ndarray."""

    def __getitem__(self, key: Any) -> Any:
        raise AssertionError("a subclass's own indexing was used")


class Held:
    """An object that is no array but holds one."""

    def __init__(self, a: np.ndarray) -> None:
        self.a = a

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.a


class Dlpack:
    """An object that is no array and hands one out by DLPack."""

    def __init__(self, a: np.ndarray) -> None:
        self.a = a

    def __dlpack__(self, **options: Any) -> Any:
        return self.a.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.a.__dlpack_device__()


def buffer_of(a: np.ndarray) -> memoryview:
    code = {"f4": "f", "f8": "d"}[a.dtype.str[1:]]
    flat = memoryview(stdlib_array.array(code, a.ravel().tolist()))
    return flat.cast("B").cast(code, a.shape)


FORMS: dict[str, Callable[[np.ndarray], Any]] = {
    "byte-swapped": lambda a: a.astype(a.dtype.newbyteorder()),
    "byte-swapped, strided": lambda a: strided(a.astype(a.dtype.newbyteorder())),
    "Fortran order": np.asfortranarray,
    "every third element": strided,
    "rows of a wider array": padded_rows,
    "negative strides": lambda a: a[::-1, ::-1, ::-1].copy()[::-1, ::-1, ::-1],
    "axes swapped": lambda a: a.swapaxes(0, 1).copy().swapaxes(0, 1),
    "last axis first": lambda a: np.moveaxis(np.moveaxis(a, -1, 0).copy(), 0, -1),
    "one byte off alignment": misaligned,
    "field of a packed record": packed_record,
    "read-only": read_only,
    "subclass": lambda a: a.view(Subclass),
    "object with __array__": Held,
    "object with __dlpack__": Dlpack,
    "buffer": buffer_of,
    "memory map": lambda a: a.copy().view(np.memmap),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("batch_first", [False, True])
def test_every_form_of_every_array_gives_the_same_bits(
    form: str, dtype: Any, batch_first: bool
) -> None:
    convert = FORMS[form]
    lstm = fastrnn.LSTM(I, H, 2, batch_first=batch_first, bidirectional=True, dtype=dtype, rng=0)
    x, d_y = normal((T, B, I), dtype), normal((T, B, 2 * H), dtype, 1)
    (h_0, c_0), (d_h, d_c) = (
        random_state(lstm, T if batch_first else B),
        random_state(lstm, T if batch_first else B, 5),
    )
    expected = run(lstm, x, (h_0, c_0), None, d_y, (d_h, d_c))
    states = (convert(h_0), convert(c_0)), (convert(d_h), convert(d_c))
    found = run(lstm, convert(x), states[0], None, convert(d_y), states[1])
    assert_same_results(found, expected, form)
    for name, result in found.items():
        assert type(result) is np.ndarray, name
        assert result.dtype == np.dtype(dtype), name


def test_the_forms_are_what_they_say() -> None:
    x = normal((T, B, I))
    assert not misaligned(x).flags.aligned
    assert not packed_record(x).flags.aligned
    assert not misaligned(x).flags.writeable
    assert FORMS["byte-swapped"](x).dtype.byteorder == ">"
    assert min(FORMS["negative strides"](x).strides) < 0
    assert FORMS["last axis first"](x).strides[-1] != 4
    assert not hasattr(Dlpack(x), "__array__")


def test_broadcast_and_overlapping_views_need_no_copy() -> None:
    lstm = fastrnn.LSTM(I, H, rng=0)
    row = np.broadcast_to(normal((I,)), (T, B, I))
    windows = np.lib.stride_tricks.sliding_window_view(normal((9, I)), T, axis=0).swapaxes(1, 2)
    one = np.broadcast_to(np.float32(0.5), (T, B, I))
    assert row.strides[:2] == (0, 0)
    assert one.strides == (0, 0, 0)
    for x in (row, windows.swapaxes(0, 1), one):
        assert_same_results(run(lstm, x), run(lstm, x.copy()), x.strides)
    assert fastrnn.explain(lstm, row)["notes"] == []


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 3, 1), (3, 1, 1), (1, 1, 4)])
def test_odd_strides_on_axes_of_length_one(shape: tuple[int, int, int]) -> None:
    lstm = fastrnn.LSTM(shape[2], H, rng=0)
    wide = normal((shape[0], shape[1], 5 * shape[2]))
    x = wide[..., :: 5 if shape[2] == 1 else 1][..., : shape[2]]
    assert_same_results(run(lstm, x), run(lstm, x.copy()), x.strides)


def test_matrix_is_one_sequence() -> None:
    gru = fastrnn.GRU(I, H, rng=0)
    x = normal((T, I))
    with pytest.warns(PendingDeprecationWarning, match="matrix"):
        matrix = np.matrix(x)
    assert_same_results(run(gru, matrix), run(gru, x), "matrix")


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_without_batch_axis_as_with_one_row(name: str, batch_first: bool) -> None:
    layer = LAYERS[name](I, H, num_layers=2, bidirectional=True, batch_first=batch_first, rng=0)
    axis = 0 if batch_first else 1
    x, d_y = normal((T, I)), normal((T, 2 * H), key=1)
    state, d_state = random_state(layer, None), random_state(layer, None, 5)
    found = run(layer, x, state, None, d_y, d_state)

    def with_batch(given: Any) -> Any:
        return tuple(s[:, None] for s in given) if has_c(layer) else given[:, None]

    expected = run(
        layer,
        np.expand_dims(x, axis),
        with_batch(state),
        None,
        np.expand_dims(d_y, axis),
        with_batch(d_state),
    )
    for key, array in expected.items():
        if key in ("y", "d_x"):
            expected[key] = np.squeeze(array, axis)
        elif key in ("h_n", "c_n", "d_h_0", "d_c_0"):
            expected[key] = array[:, 0]
    assert_same_results(found, expected, name)
    assert found["y"].shape == (T, 2 * H)
    assert found["h_n"].shape == (4, H)
    assert_same_bits("y", layer(x, state)[0], found["y"], "inference")


@pytest.mark.parametrize("name", LAYERS)
def test_batch_first_is_a_layout_only(name: str) -> None:
    make = partial(LAYERS[name], I, H, num_layers=2, bidirectional=True, rng=0)
    time_first, batch_first = make(), make(batch_first=True)
    x, d_y = normal((T, B, I)), normal((T, B, 2 * H), key=1)
    state, lengths = random_state(time_first, B), [2, 5, 0]
    expected = run(time_first, x, state, lengths, d_y, state)
    swapped: tuple[Any, ...] = x.swapaxes(0, 1), state, lengths, d_y.swapaxes(0, 1), state
    found = run(batch_first, *swapped)
    for key in ("y", "d_x"):
        expected[key] = expected[key].swapaxes(0, 1)
    assert_same_results(found, expected, name)
    assert found["y"].flags.c_contiguous, "y is laid out as x is"


@pytest.mark.parametrize(
    "lengths",
    [
        [2, 5, 0],
        (2, 5, 0),
        np.array([2, 5, 0], np.uint8),
        np.array([2, 5, 0], ">i4"),
        np.array([2, 9, 5, 9, 0, 9])[::2],
        np.array([2, 5, 0], np.uint64),
    ],
    ids=lambda lengths: str(getattr(lengths, "dtype", type(lengths).__name__)),
)
def test_lengths_may_be_any_integers(lengths: Any) -> None:
    gru = fastrnn.GRU(I, H, rng=0)
    x = normal((T, B, I))
    expected = run(gru, x, None, np.array([2, 5, 0]))
    assert_same_results(run(gru, x, None, lengths), expected, type(lengths))


@pytest.mark.parametrize("name", LAYERS)
def test_the_function_computes_what_the_module_does(name: str) -> None:
    layer = LAYERS[name](I, H, num_layers=2, bidirectional=True, rng=0)
    function, extra = name.split()[0].lower(), {}
    if function == "rnn":
        extra = {"nonlinearity": layer.nonlinearity}
    x, state, lengths = normal((T, B, I)), random_state(layer, B), [2, 5, 0]
    d_y = normal((T, B, 2 * H), key=1)
    expected = run(layer, x, state, lengths, d_y, state)
    for params in (layer.parameters(), list(layer.parameters().values())):
        options: dict[str, Any] = {"num_layers": 2, "bidirectional": True, **extra}
        y, last, tape = getattr(F, function)(
            x, params, state, lengths=lengths, training=True, **options
        )
        d_x, first, grads = getattr(F, f"{function}_backward")(tape, d_y, state)
        assert isinstance(grads, type(params)), "gradients come as the parameters did"
        named = (
            grads if isinstance(grads, dict) else dict(zip(layer.parameters(), grads, strict=True))
        )
        found: Result = {"y": y, "d_x": d_x}
        for prefix, suffix, arrays in (("", "_n", last), ("d_", "_0", first)):
            for letter, value in zip("hc", state_arrays(arrays), strict=False):
                found[f"{prefix}{letter}{suffix}"] = value
        found |= {f"d_{key}": grad for key, grad in named.items()}
        assert_same_results(dict(sorted(found.items())), dict(sorted(expected.items())), name)


def test_the_functions_seed_is_the_key_of_the_masks() -> None:
    x = normal((T, B, I))
    lstm = fastrnn.LSTM(I, H, 2, rng=0)
    options: dict[str, Any] = {"num_layers": 2, "dropout": 0.5, "training": True}
    first, again, other = (
        F.lstm(x, lstm.parameters(), seed=seed, **options)[0] for seed in (2**64 - 1, 2**64 - 1, 1)
    )
    assert_same_bits("y", again, first, "the same seed")
    assert not np.array_equal(other, first)
    inference = F.lstm(x, lstm.parameters(), num_layers=2, dropout=0.5)[0]
    assert_same_bits("y", inference, run_inference(lstm, x)["y"], "no dropout in inference")
