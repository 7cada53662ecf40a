"""The probes of the benchmark, each through its command, on fastrnn and the NumPy loop."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
from bench.probes import load_probe, probe_names
from bench.probes.base import SCHEMA, read_section
from bench.probes.torch_epochs import AGREEMENT, measure
from bench.probes.torch_overhead import MODES, ways_of
from bench.sections import Grid
from bench.torch_models import tasks

import fastrnn

ROOT = Path(__file__).resolve().parents[2]
HAS_TORCH = importlib.util.find_spec("torch") is not None


def probe(path, name, *options):
    """The rows of a probe's result file."""
    done = subprocess.run(
        [sys.executable, "-m", "bench", "probe", name, "--quick", "--threads", "1",
         "--peers", "fastrnn_cpu,numpy_loop", "--out", str(path), *options],
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    section = read_section(path)
    (grid,) = (block for block in section.blocks if isinstance(block, Grid))
    assert section.title in done.stdout
    assert all(len(row) == len(grid.header) for row in grid.rows)
    document = json.loads(path.read_text())
    assert document["schema"] == SCHEMA
    return document["rows"]


def test_subnormal_inputs_cost_fastrnn_nothing(tmp_path):
    rows = probe(tmp_path / "r.json", "denormals", "--cells", "lstm", "--shapes", "8x16x32x32")
    found = {(row["problem"].split("/")[1], row["peer"]): row for row in rows}
    assert set(found) == {(m, p) for m in ("inference", "training") for p in ("fastrnn", "numpy")}
    for mode in ("inference", "training"):
        row = found[mode, "fastrnn"]
        assert row["subnormal"]["p25_ms"] < 3 * row["normal"]["p75_ms"]


def test_a_busy_core_leaves_both_times(tmp_path):
    rows = probe(tmp_path / "r.json", "busy-core", "--cells", "rnn", "--shapes", "4x16x8x8")
    assert len(rows) == 4
    assert all(row[state]["median_ms"] > 0 for row in rows for state in ("alone", "beside"))


def test_lengths_are_for_those_that_take_them(tmp_path):
    rows = probe(tmp_path / "r.json", "lengths", "--cells", "gru", "--shapes", "16x32x16x32")
    assert {row["peer"] for row in rows} == {"fastrnn"}  # the NumPy loop has rows of one length
    assert all(0.3 < row["valid"] < 0.8 for row in rows)


def test_float64_is_for_those_that_take_it(tmp_path):
    rows = probe(tmp_path / "r.json", "precision", "--cells", "gru", "--shapes", "8x16x16x32")
    assert {row["peer"] for row in rows} == {"fastrnn"}  # the NumPy loop is float32
    assert all(row[dtype]["median_ms"] > 0 for row in rows for dtype in ("float32", "float64"))


def test_blocks_need_a_stepper(tmp_path):
    rows = probe(tmp_path / "r.json", "blocks", "--cells", "rnn", "--shapes", "1x20x16x16")
    blocks = {"fastrnn process"} if hasattr(fastrnn, "Stepper") else set()
    assert {row["peer"] for row in rows} == {"fastrnn", "numpy"} | blocks


@pytest.mark.skipif(not HAS_TORCH, reason="models of torch.nn need torch")
def test_epochs_of_torch_models_agree_and_are_timed(tmp_path):
    rows = probe(tmp_path / "r.json", "torch-epochs")
    assert [row["task"] for row in rows] == [
        "recurrent PPO",
        "hydrology",
        "forecasting, 2 layers",
        "bidirectional tagger, padded head",
        "bidirectional tagger, packed head",
    ]
    for row in rows:
        losses = row["losses"]
        assert len(losses["torch"]) == len(losses["fastrnn"]) == row["steps"] >= 4
        first, last = losses["torch"][0], losses["torch"][row["steps"] // 2]  # of two epochs
        assert last < first, row["task"]
        assert row["difference"] <= AGREEMENT
        assert all(seconds > 0 for times in row["seconds"].values() for seconds in times)


@pytest.mark.skipif(not HAS_TORCH, reason="models of torch.nn need torch")
def test_loss_curves_that_differ_are_an_error():
    import torch

    def wrong(model):
        with torch.no_grad():
            next(model.parameters()).add_(0.5)
        return model

    with pytest.raises(RuntimeError, match="losses differ"):
        measure(tasks(quick=True)[1], wrong, 2)


@pytest.mark.skipif(not HAS_TORCH, reason="calls through torch need torch")
def test_calls_through_torch_are_timed_beside_the_bare_kernel(tmp_path):
    rows = probe(tmp_path / "r.json", "torch-overhead", "--cells", "gru")
    assert [(row["call"], row["mode"]) for row in rows] == [
        (name, mode) for name in ("GRU", "GRUCell") for mode in MODES
    ]
    for row in rows:
        assert all(row["us"][way] > 0 for way in ("bare", "fastrnn", "torch"))
        assert ("autograd" in row["us"]) == (row["mode"] != "forward")


@pytest.mark.skipif(not HAS_TORCH, reason="calls through torch need torch")
@pytest.mark.parametrize("name", ["LSTM", "LSTMCell", "GRU", "GRUCell", "RNN", "RNNCell"])
def test_all_ways_compute_the_same(name):
    import torch

    for mode in MODES:
        ways = ways_of(name, 64, mode)
        found = [ways[way]() for way in ("bare", "fastrnn", "torch")]
        if mode != "forward and backward":
            found = [[each] for each in found]
        for bare, ours, theirs in zip(*found, strict=True):
            torch.testing.assert_close(ours, theirs)
            torch.testing.assert_close(bare, ours)


def test_every_probe_shows_an_empty_result():
    for name in probe_names():
        assert "No peer was timed" in load_probe(name).section([]).blocks[0]


def test_another_file_is_no_result_of_a_probe(tmp_path):
    path = tmp_path / "other.json"
    path.write_text("{}")
    with pytest.raises(ValueError, match="is not a result file of a probe"):
        read_section(path)
