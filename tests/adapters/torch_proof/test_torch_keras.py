"""Keras' own tests of LSTM, GRU and Bidirectional, torch backend, on the layers under proof.

They are run as they lie in the keras wheel, in a process of its own. Every test is expected by
name: what must compute through the injected backend, what has nothing for it to compute, what is
skipped and why, and what is declined so that Keras runs its own loop.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from proof_subject import SUBJECT

pytest.importorskip("torch", reason="the proof needs torch", exc_type=ImportError)
KERAS = importlib.util.find_spec("keras")
pytestmark = pytest.mark.skipif(KERAS is None, reason="Keras' own tests lie in the keras wheel")
HERE = Path(__file__).parent
FILES = ("lstm_test.py", "gru_test.py", "bidirectional_test.py")

# how often each test must have computed by one of our layers, at least
COMPUTED = {
    "LSTMTest::test_basics": 1,
    "LSTMTest::test_correctness0": 5,
    "LSTMTest::test_correctness1": 5,
    "LSTMTest::test_statefulness": 4,
    "LSTMTest::test_pass_initial_state": 2,
    "LSTMTest::test_masking": 4,
    "GRUTest::test_basics": 1,
    "GRUTest::test_correctness0": 4,
    "GRUTest::test_correctness1": 4,
    "GRUTest::test_statefulness": 4,
    "GRUTest::test_pass_initial_state": 2,
    "GRUTest::test_pass_return_state": 2,
    "GRUTest::test_masking": 4,
    "GRUTest::test_legacy_implementation_argument": 1,
    "SimpleRNNTest::test_correctness": 2,  # the class of bidirectional_test.py
    "SimpleRNNTest::test_statefulness": 8,
    "SimpleRNNTest::test_pass_initial_state": 2,
    "SimpleRNNTest::test_masking": 2,
    "SimpleRNNTest::test_return_state": 2,
    "SimpleRNNTest::test_output_shape": 1,
    "SimpleRNNTest::test_fused_lstm_matches_unfused": 2,
    "SimpleRNNTest::test_fused_gru_matches_unfused": 2,
}
NOTHING_TO_COMPUTE = {
    "SimpleRNNTest::test_basics": "of SimpleRNN alone",
    "SimpleRNNTest::test_keeps_use_cudnn": "looks at attributes",
    "SimpleRNNTest::test_fused_lstm_eligibility": "looks at attributes",
    "SimpleRNNTest::test_fused_gru_eligibility": "looks at attributes",
}
SKIPPED_BY_KERAS = {
    "GRUTest::test_stateful_with_symbolic_batch_size": "symbolic batch size for TensorFlow",
    "GRUTest::test_torch_cudnn_dispatch_fires": "Requires a CUDA device",
    "SimpleRNNTest::test_torch_cudnn_bidirectional_gru_dispatch_fires": "Requires a CUDA device",
}
DECLINED = {
    "LSTMTest::test_basics": {"shapes without values": 2},  # Keras asks for shapes on meta
    "GRUTest::test_basics": {"shapes without values": 2},
    "GRUTest::test_correctness0": {"GRU with reset_after=False": 1},
    "GRUTest::test_correctness1": {"GRU with reset_after=False": 1},
}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What every test did."""
    folder = tmp_path_factory.mktemp("keras")
    (folder / "pytest.ini").write_text("[pytest]\n")
    assert KERAS is not None
    assert KERAS.origin is not None
    tests = Path(KERAS.origin).parent / "src" / "layers" / "rnn"
    search = os.pathsep.join([str(HERE), *filter(None, sys.path)])
    environment = os.environ | {
        "KERAS_BACKEND": "torch",
        "KERAS_HOME": str(folder),
        "FASTRNN_KERAS_REPORT": str(folder / "report.json"),
        "FASTRNN_PROOF_SUBJECT": SUBJECT,
        "PYTHONPATH": search,
    }
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "keras_plugin", "-p", "no:cacheprovider"),
            *("-c", str(folder / "pytest.ini"), *(str(tests / name) for name in FILES)),
        ],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (folder / "report.json").is_file(), done.stdout + done.stderr
    return json.loads((folder / "report.json").read_text())


def test_all_of_keras_tests_are_expected_by_name(report: dict[str, Any]) -> None:
    assert set(report) == {*COMPUTED, *NOTHING_TO_COMPUTE, *SKIPPED_BY_KERAS}
    assert (len(COMPUTED), len(NOTHING_TO_COMPUTE), len(SKIPPED_BY_KERAS)) == (22, 4, 3)


@pytest.mark.parametrize("name", COMPUTED)
def test_passes_on_our_kernels(report: dict[str, Any], name: str) -> None:
    entry = report[name]
    assert entry["outcome"] == "passed", entry["reason"]
    assert sum(entry["computed"].values()) >= COMPUTED[name]
    assert entry["declined"] == DECLINED.get(name, {})


@pytest.mark.parametrize("name", NOTHING_TO_COMPUTE)
def test_passes_without_them(report: dict[str, Any], name: str) -> None:
    entry = report[name]
    assert entry["outcome"] == "passed", entry["reason"]
    assert not entry["computed"]
    assert not entry["declined"]


@pytest.mark.parametrize("name", SKIPPED_BY_KERAS)
def test_is_skipped_by_keras(report: dict[str, Any], name: str) -> None:
    assert report[name]["outcome"] == "skipped"
    assert SKIPPED_BY_KERAS[name] in report[name]["reason"]


# Keras' numbers come from constant weights, under which no gate can be told from another: so random
# weights as well, against Keras' own loop
AGAINST_ITS_OWN_LOOP = """
import numpy as np, keras, keras_backend
from keras.src import backend
own = backend.lstm, backend.gru
keras_backend.install()
ours = backend.lstm, backend.gru
rng = np.random.default_rng(0)
keras.utils.set_random_seed(0)
x = rng.normal(size=(5, 7, 4)).astype("float32")
masks = [None, np.arange(7) < rng.integers(1, 8, (5, 1)), rng.random((5, 7)) < 0.6]
masks.append(masks[2] & (np.arange(5) > 0)[:, None])  # a row of nothing
worst = calls = 0
for kind, options in [("LSTM", {}), ("LSTM", {"use_bias": False}), ("GRU", {})]:
    for mask in masks:
        for backwards in (False, True):
            for sequences in (False, True):
                for zeros in (False, True):
                    layer = getattr(keras.layers, kind)(
                        6, bias_initializer="normal", go_backwards=backwards, return_state=True,
                        return_sequences=sequences, zero_output_for_mask=zeros, **options)
                    found = []
                    for use in (True, False):
                        layer.use_cudnn = "auto" if use else False
                        found.append([np.asarray(t.detach()) for t in layer(x, mask=mask)])
                    worst = max(worst, *(np.abs(a - b).max() for a, b in zip(*found)))
                    calls += 1
print(calls, sum(keras_backend.computed.values()), sum(keras_backend.declined.values()), worst)
"""


def test_random_weights_and_masks_agree_with_keras_own_loop(tmp_path: Path) -> None:
    if SUBJECT == "torch.nn":
        pytest.skip("control: torch.nn takes no row of length 0")
    search = os.pathsep.join([str(HERE), *filter(None, sys.path)])
    environment = os.environ | {"KERAS_BACKEND": "torch", "KERAS_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", AGAINST_ITS_OWN_LOOP],
        env=environment | {"PYTHONPATH": search, "FASTRNN_PROOF_SUBJECT": SUBJECT},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    calls, computed, declined, worst = done.stdout.split()
    assert (int(calls), int(computed), int(declined)) == (96, 96, 0)
    assert float(worst) < 1e-5
