"""The probes of the benchmark, each through its command, on fastrnn and the NumPy loop."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from bench.probes import load_probe, probe_names
from bench.probes.base import SCHEMA, read_section
from bench.sections import Grid

import fastrnn

ROOT = Path(__file__).resolve().parents[2]


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


def test_every_probe_shows_an_empty_result():
    for name in probe_names():
        assert "No peer was timed" in load_probe(name).section([]).blocks[0]


def test_another_file_is_no_result_of_a_probe(tmp_path):
    path = tmp_path / "other.json"
    path.write_text("{}")
    with pytest.raises(ValueError, match="is not a result file of a probe"):
        read_section(path)
