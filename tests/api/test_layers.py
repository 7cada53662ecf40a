"""The modules as objects: parameters, initialisation, state dicts, pickles, repr, attributes."""

from __future__ import annotations

import copy
import json
import multiprocessing
import pickle
from functools import partial
from typing import Any

import numpy as np
import pytest
from engine import assert_same_results
from modules import CELLS, LAYERS, has_c, normal, random_state, run, run_inference

import fastrnn
from fastrnn import _core

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
MODULES = LAYERS | CELLS


def test_gate_counts_are_those_of_the_engine() -> None:
    cells = {"LSTM": "lstm", "GRU": "gru", "RNN": "rnn_tanh"}
    assert {name: _core.cells()[cell]["gates"] for name, cell in cells.items()} == GATES


@pytest.mark.parametrize("name", ["LSTM", "GRU", "RNN"])
def test_parameters_have_torchs_names_order_and_shapes(name: str) -> None:
    rows = GATES[name] * 6
    layer = getattr(fastrnn, name)(4, 6, num_layers=2, bidirectional=True, rng=0)
    expected = {}
    for index, inputs in enumerate((4, 12)):
        for suffix in ("", "_reverse"):
            expected[f"weight_ih_l{index}{suffix}"] = (rows, inputs)
            expected[f"weight_hh_l{index}{suffix}"] = (rows, 6)
            expected[f"bias_ih_l{index}{suffix}"] = (rows,)
            expected[f"bias_hh_l{index}{suffix}"] = (rows,)
    found = {key: array.shape for key, array in layer.parameters().items()}
    assert list(found.items()) == list(expected.items())
    plain = getattr(fastrnn, name)(4, 6, bias=False)
    assert list(plain.parameters()) == ["weight_ih_l0", "weight_hh_l0"]
    cell = getattr(fastrnn, f"{name}Cell")(4, 6)
    assert {key: array.shape for key, array in cell.parameters().items()} == {
        "weight_ih": (rows, 4),
        "weight_hh": (rows, 6),
        "bias_ih": (rows,),
        "bias_hh": (rows,),
    }


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", MODULES)
def test_initialisation_is_uniform_within_one_over_root_h(name: str, dtype: Any) -> None:
    module = MODULES[name](20, 25, dtype=dtype, rng=5)
    bound = dtype(1 / np.sqrt(25))
    everything = np.concatenate([array.ravel() for array in module.parameters().values()])
    assert everything.dtype == dtype
    assert np.abs(everything).max() <= bound
    # 1100 draws or more: each outer tenth is empty with probability 0.9**1100
    assert everything.min() < -0.8 * bound
    assert everything.max() > 0.8 * bound
    assert len(np.unique(everything)) > 0.99 * len(everything)


@pytest.mark.parametrize("name", MODULES)
def test_rng(name: str) -> None:
    make = partial(MODULES[name], 4, 6)
    same = [3, np.random.default_rng(3), np.random.SeedSequence(3), np.random.PCG64(3)]
    first, *others = (make(rng=rng).parameters() for rng in same)
    for other in others:
        assert_same_results(other, first, name)
    weight = next(iter(first))
    assert not np.array_equal(make(rng=4).parameters()[weight], first[weight])
    assert not np.array_equal(make().parameters()[weight], make().parameters()[weight])
    shared = np.random.default_rng(3)
    assert not np.array_equal(
        make(rng=shared).parameters()[weight], make(rng=shared).parameters()[weight]
    )
    rounded = {
        key: array.astype(np.float32) for key, array in make(dtype="f8", rng=3).parameters().items()
    }
    assert_same_results(rounded, first, name)


def test_reset_parameters() -> None:
    lstm = fastrnn.LSTM(4, 6, rng=0)
    live, before = lstm.weight_ih_l0, lstm.weight_ih_l0.copy()
    lstm.reset_parameters()
    assert lstm.weight_ih_l0 is live
    assert not np.array_equal(live, before)
    lstm.reset_parameters(8)
    again = live.copy()
    lstm.reset_parameters(8)
    assert np.array_equal(live, again)


@pytest.mark.parametrize("name", LAYERS)
def test_state_dict_round_trip(name: str) -> None:
    make = partial(LAYERS[name], 4, 6, num_layers=2, bidirectional=True)
    source, target = make(rng=0), make(rng=1)
    saved, live = source.state_dict(), target.parameters()
    result = target.load_state_dict(saved)
    assert result.missing_keys == []
    assert result.unexpected_keys == []
    assert all(target.parameters()[key] is live[key] for key in live), "loaded in place"
    x = normal((5, 3, 4))
    assert_same_results(run(target, x), run(source, x), name)
    for key, array in saved.items():
        assert not np.shares_memory(array, source.parameters()[key]), f"{key} is a copy"


def test_load_state_dict_converts_like_torch() -> None:
    lstm = fastrnn.LSTM(4, 6, rng=0)
    wide = {name: array.astype(">f8") for name, array in lstm.state_dict().items()}
    wide["bias_ih_l0"] = wide["bias_ih_l0"].astype(np.float16)
    other = fastrnn.LSTM(4, 6, rng=1)
    other.load_state_dict(wide)
    assert other.weight_ih_l0.dtype == np.float32
    assert other.weight_ih_l0.flags.writeable
    assert np.array_equal(other.weight_ih_l0, lstm.weight_ih_l0)
    assert np.array_equal(other.bias_ih_l0, lstm.bias_ih_l0.astype(np.float16))


def test_load_state_dict_not_strict() -> None:
    lstm = fastrnn.LSTM(4, 6, rng=0)
    ones = np.ones((24, 4))
    result = lstm.load_state_dict({"weight_ih_l0": ones, "fc.weight": ones}, strict=False)
    assert result.missing_keys == ["weight_hh_l0", "bias_ih_l0", "bias_hh_l0"]
    assert result.unexpected_keys == ["fc.weight"]
    assert (lstm.weight_ih_l0 == 1).all()


def test_torch_arguments_are_taken() -> None:
    lstm = fastrnn.LSTM(4, 6, 1, True, False, 0.0, False, 0, device="cpu", dtype=np.float64)
    assert lstm.dtype == np.float64
    assert fastrnn.RNN(4, 6, device=None).hidden_size == 6
    assert fastrnn.GRU(4, 6, device="cpu").hidden_size == 6


def test_names_that_are_no_parameters() -> None:
    lstm = fastrnn.LSTM(4, 6, bias=False)
    for name in ("weight_foo", "bias_ih_l0", "weight_ih_l1", "weight_hh_l0_reverse"):
        with pytest.raises(AttributeError, match=rf"LSTM: {name} is no parameter, expected one of"):
            setattr(lstm, name, 1)
        assert not hasattr(lstm, name)
    lstm.note = "mine"
    assert lstm.note == "mine"
    with pytest.raises(AttributeError, match=r"LSTM: there is no eval\(\), .* is inference"):
        lstm.eval()
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = lstm.nothing


def test_parameters_are_live_attributes() -> None:
    x = normal((5, 3, 4))
    lstm = fastrnn.LSTM(4, 6, rng=0)
    assert lstm.parameters()["weight_hh_l0"] is lstm.weight_hh_l0
    assert lstm.weight_hh_l0.flags.writeable
    assert lstm.weight_hh_l0.flags.c_contiguous
    before = run_inference(lstm, x)
    for change in ("element", "bits", "array", "transposed", "read-only"):
        weight = lstm.weight_hh_l0
        if change == "element":
            weight[-1, -1] += 1
        elif change == "bits":  # the smallest change there is
            weight[0, 0] = np.nextafter(weight[0, 0], np.float32(9))
        elif change == "array":
            lstm.weight_hh_l0 = weight * 2
        elif change == "transposed":
            lstm.weight_hh_l0 = (weight * 2).T.copy().T
        else:
            fixed = weight * 2
            fixed.flags.writeable = False
            lstm.weight_hh_l0 = fixed
        assert lstm.weight_hh_l0 is weight, "an optimizer holds this array"
        fresh = fastrnn.LSTM(4, 6)
        fresh.load_state_dict(lstm.state_dict())
        after = run_inference(lstm, x)
        assert_same_results(after, run_inference(fresh, x), change)
        if change != "bits":  # that one may round away
            assert not np.array_equal(after["y"], before["y"]), change
        before = after


def test_the_packed_weights_are_kept_while_the_weights_are() -> None:
    lstm = fastrnn.LSTM(4, 6, rng=0)
    x = normal((5, 3, 4))
    lstm(x)
    packed = lstm._packed
    lstm.forward(x)
    assert lstm._packed is packed
    lstm.weight_hh_l0[0, 0] += 1
    lstm(x)
    assert lstm._packed is not packed


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("how", ["pickle", "deepcopy", "copy.copy"])
def test_copies(name: str, how: str) -> None:
    module = MODULES[name](4, 6, rng=0)
    x, state = normal((3, 4)), random_state(module, None if name in LAYERS else 3)
    expected = module(x, state)
    copiers: dict[str, Any] = {
        "pickle": lambda m: pickle.loads(pickle.dumps(m)),
        "deepcopy": copy.deepcopy,
        "copy.copy": copy.copy,
    }
    twin = copiers[how](module)
    assert twin._packed is None
    assert module._packed is not None
    assert repr(twin) == repr(module)
    assert pickle.dumps(twin(x, state)) == pickle.dumps(expected)
    weight = next(iter(module.parameters()))
    assert (twin.parameters()[weight] is module.parameters()[weight]) == (how == "copy.copy")


def call_in_child(module: Any, x: np.ndarray) -> Any:
    return module(x)


def test_a_pickle_works_in_a_new_process() -> None:
    lstm = fastrnn.LSTM(4, 6, rng=0)
    x = normal((5, 3, 4))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found = pool.apply(call_in_child, (lstm, x))
    assert pickle.dumps(found) == pickle.dumps(lstm(x))


def test_repr() -> None:
    assert repr(fastrnn.LSTM(10, 20)) == "LSTM(10, 20)"
    assert repr(fastrnn.GRU(10, 20, bias=False, dtype=float)) == (
        "GRU(10, 20, bias=False, dtype=float64)"
    )
    everything = fastrnn.RNN(10, 20, 2, "relu", False, True, 0.5, True, dtype="f8")
    assert repr(everything) == (
        "RNN(10, 20, nonlinearity=relu, num_layers=2, bias=False, batch_first=True, dropout=0.5, "
        "bidirectional=True, dtype=float64)"
    )
    assert repr(fastrnn.RNNCell(3, 4, nonlinearity="relu")) == "RNNCell(3, 4, nonlinearity=relu)"
    assert repr(fastrnn.LSTMCell(3, 4, bias=False)) == "LSTMCell(3, 4, bias=False)"
    _, _, tape = fastrnn.LSTM(10, 20).forward(normal((5, 3, 10)))
    assert repr(tape).startswith("Tape(lstm, T=5, B=3, I=10, H=20, L=1, D=1, float32, ")


def test_attributes() -> None:
    layer = fastrnn.RNN(10, 20, 2, "relu", False, True, 0.5, True, dtype=np.float64)
    assert (layer.input_size, layer.hidden_size, layer.num_layers) == (10, 20, 2)
    assert (layer.nonlinearity, layer.bias, layer.batch_first) == ("relu", False, True)
    assert (layer.dropout, layer.bidirectional, layer.dtype) == (0.5, True, np.float64)
    layer.dropout = 0.25
    assert layer.dropout == 0.25
    for name in ("hidden_size", "num_layers", "batch_first", "bias", "dtype"):
        with pytest.raises(AttributeError, match="no setter"):
            setattr(layer, name, 1)
    assert has_c(fastrnn.LSTM(1, 1))
    assert not has_c(layer)


def test_sizes_may_be_numpy_integers() -> None:
    lstm = fastrnn.LSTM(np.int32(4), np.uint8(6), np.int64(2), bias=np.bool_(True), rng=0)
    assert_same_results(lstm.parameters(), fastrnn.LSTM(4, 6, 2, rng=0).parameters(), "int")


def test_dropout_without_a_second_layer_warns_at_the_callers_line() -> None:
    with pytest.warns(UserWarning, match="dropout is 0.5 but num_layers is 1") as caught:
        fastrnn.LSTM(4, 6, dropout=0.5)
    assert caught[0].filename == __file__


def test_rng_state_resumes_dropout_bit_for_bit() -> None:
    lstm = fastrnn.LSTM(4, 6, 2, dropout=0.5, rng=0)
    x = normal((5, 3, 4))
    lstm.forward(x)
    saved = json.loads(json.dumps(lstm.rng_state()))  # as a checkpoint keeps it
    first, second = run(lstm, x), run(lstm, x)
    assert not np.array_equal(first["y"], second["y"]), "each call has its own masks"
    lstm.set_rng_state(saved)
    assert_same_results(run(lstm, x), first, "resumed")
    other = pickle.loads(pickle.dumps(lstm))
    assert_same_results(run(other, x), second, "pickled")
