"""`recompute=` where users meet it: layers, functions, chains, `fit`, `explain`, refusals."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from modules import LAYERS, normal, run

import fastrnn
from fastrnn import functional as F
from fastrnn import training


@pytest.mark.parametrize("recompute", [True, 1, np.int32(7), 10**12])
@pytest.mark.parametrize("name", LAYERS)
def test_layers_and_functions(name: str, recompute: Any):
    layer = LAYERS[name](3, 6, num_layers=2, dropout=0.5, bidirectional=True, rng=0)
    x, lengths = normal((9, 700, 3)), np.random.default_rng(0).integers(0, 10, 700)
    seeds = layer.rng_state()
    expected = run(layer, x, lengths=lengths)
    layer.set_rng_state(seeds)
    y, _, tape = layer.forward(x, None, lengths, recompute=recompute)
    d_x, _, grads = layer.backward(tape, normal(y.shape, y.dtype, 7))
    assert y.tobytes() == expected["y"].tobytes()
    assert d_x.tobytes() == expected["d_x"].tobytes()
    for key, gradient in grads.items():
        assert gradient.tobytes() == expected[f"d_{key}"].tobytes(), key

    kind = name.split()[0].lower()
    function, backward = getattr(F, kind), getattr(F, f"{kind}_backward")
    options = {"nonlinearity": layer.nonlinearity} if kind == "rnn" else {}
    options |= {"num_layers": 2, "bidirectional": True, "lengths": lengths, "training": True}
    plain, less = (
        function(x, layer.parameters(), recompute=choice, **options)[-1]
        for choice in (False, recompute)
    )
    assert less.nbytes < plain.nbytes
    for a, b in zip(backward(less, y)[2].values(), backward(plain, y)[2].values(), strict=True):
        assert a.tobytes() == b.tobytes()


def test_inference_keeps_nothing_either_way():
    params = [normal((32, 3)), normal((32, 8))]
    assert F.lstm(normal((5, 2, 3)), params, recompute=True)[-1] is None


def test_a_chain_and_fit_pass_it_on():
    def trained(recompute: Any) -> dict[str, np.ndarray]:
        model = training.Sequential(
            lstm=fastrnn.LSTM(3, 8, 2, dropout=0.3, rng=0), head=training.Linear(8, 1, rng=1)
        )
        batches = [(normal((12, 300, 3), key=k), normal((12, 300, 1), key=9 + k)) for k in range(2)]
        optimizer = training.Adam(model.parameters())
        options = {} if recompute is None else {"recompute": recompute}
        training.fit(model, batches, training.mse, optimizer, epochs=2, progress=False, **options)
        tape = model.forward(batches[0][0], **options)[-1][0]
        assert (tape.nbytes < 12 * 300 * 8 * 4 * 3) == bool(recompute)
        return model.state_dict()

    plain = trained(None)
    for recompute in (True, 1, False):
        for name, array in trained(recompute).items():
            assert array.tobytes() == plain[name].tobytes(), (recompute, name)


@pytest.mark.parametrize("value", [0, -1, -7, 2**63, 10**400])
def test_numbers_out_of_range_are_refused(value: int):
    layer, x = fastrnn.LSTM(3, 8, rng=0), normal((5, 2, 3))
    sentence = (
        r": recompute is (of )?\S+.*, expected False \(keep everything\), True .* integer >= 1"
    )
    with pytest.raises(ValueError, match="^LSTM.forward" + sentence):
        layer.forward(x, recompute=value)
    with pytest.raises(ValueError, match="^explain" + sentence):
        fastrnn.explain(layer, x, True, recompute=value)
    with pytest.raises(ValueError, match="^lstm" + sentence):
        F.lstm(x, list(layer.parameters().values()), recompute=value)


@pytest.mark.parametrize("value", [None, 2.0, "yes", [1], np.float32(3), np.zeros(2, int)])
def test_other_types_are_refused(value: Any):
    layer, x = fastrnn.GRU(3, 8, rng=0), normal((5, 2, 3))
    with pytest.raises(TypeError, match=r"^GRU.forward: recompute is .*, expected False \(keep"):
        layer.forward(x, recompute=value)
    with pytest.raises(TypeError, match=r"^gru: recompute is .*, expected False \(keep"):
        F.gru(x, list(layer.parameters().values()), recompute=value)


def test_explain_says_what_is_kept():
    lstm = fastrnn.LSTM(32, 256, rng=0)
    report = fastrnn.explain(lstm, (365, 256, 32), training=True, recompute=True)
    assert re.match(
        r"\d+ segments of up to \d+ steps, of scans the tape keeps \S+ MB instead of \S+ MB; "
        r"backward fills \S+ MB a segment",
        report["recompute"],
    )
    assert "recompute" not in fastrnn.explain(lstm, (365, 256, 32), training=True)
    assert "recompute" not in fastrnn.explain(lstm, (365, 256, 32), recompute=True)
