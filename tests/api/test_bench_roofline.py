"""The machine's roofline, and the floor of a problem under it."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from bench.floors import floor
from bench.machine import machine_facts
from bench.native import compile_probes
from bench.problems import Problem
from bench.record import Level, Roofline
from bench.roofline import measure, read_sizes

ROOT = Path(__file__).resolve().parents[2]

ROOF = Roofline(
    threads=1,
    fma_gflops=100.0,
    levels=[
        Level("L2", 0, 2**20, 100.0),
        Level("L3", 0, 2**24, 10.0),
        Level("DRAM", 0, 2**40, 1.0),
    ],
)


@pytest.fixture
def compiled():
    library, reason = compile_probes()
    if library is None:
        pytest.skip(reason)


def test_every_level_is_read_within_it_and_beyond_the_one_before():
    caches = {"L1": 48 << 10, "L2": 2 << 20, "L3": 64 << 20}
    for threads in (1, 2, 4):
        sizes = read_sizes(caches, threads, memory=16 << 30)
        assert sizes["L1"] < caches["L1"] < sizes["L2"] < caches["L2"] < sizes["L3"]
        assert threads * sizes["L3"] <= caches["L3"] < sizes["DRAM"]


def test_a_machine_without_a_large_l3_has_no_l3_measured():
    assert "L3" not in read_sizes({"L2": 2 << 20, "L3": 4 << 20}, 2, memory=16 << 30)
    assert set(read_sizes({}, 1, memory=16 << 30)) == {"DRAM"}


@pytest.mark.usefixtures("compiled")
def test_measured_rates_fall_from_level_to_level():
    found = measure(1, machine_facts()["caches"])
    rates = [level["gbytes_per_s"] for level in found["levels"]]
    assert found["fma_gflops"] > 1
    assert min(rates) > 0.1
    assert all(lower < 1.3 * upper for upper, lower in pairwise(rates))
    assert rates[0] > 1.5 * rates[-1]


def test_the_floor_of_a_large_batch_is_its_multiply_adds():
    problem = Problem("lstm", "training", B=256, T=10, I=64, H=64)
    least = floor(problem, ROOF)
    assert least.bound == "FMA"
    assert least.ms == pytest.approx(problem.flops / 100e6)


def test_weights_that_fit_nowhere_in_whole_are_read_from_two_levels():
    """2 MB of recurrent weights: 1 MB stays in L2, the other is read from L3 at every step."""
    least = floor(Problem("rnn", "inference", B=1, T=5, I=1, H=724), ROOF)
    size = 4 * 724 * 724
    assert least.weight_bytes == 5 * size
    assert least.bound == "L3"
    assert least.ms == pytest.approx(5 * (2**20 / 100e6 + (size - 2**20) / 10e6))


def test_training_reads_twice_and_a_stream_reads_all_weights():
    sizes = {"B": 1, "T": 5, "I": 2000, "H": 724}
    inference, training, stream = (
        floor(Problem("rnn", mode, **sizes), ROOF).weight_bytes
        for mode in ("inference", "training", "stream")
    )
    assert training == 2 * inference
    assert stream == 4 * 724 * (2000 + 724)


@pytest.mark.usefixtures("compiled")
def test_roofline_from_the_command_line(tmp_path):
    path = tmp_path / "roofline.json"
    done = subprocess.run(
        [sys.executable, "-m", "bench", "roofline", "--threads", "1", "--out", str(path)],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "| threads | FMA peak, GFLOP/s |" in done.stdout
    (found,) = json.loads(path.read_text())["rooflines"]
    assert found["threads"] == 1
