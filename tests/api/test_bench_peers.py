"""Every peer of the benchmark agrees with the reference in all that it offers."""

from __future__ import annotations

import re

import pytest
from bench.client import Worker
from bench.peers import peer_names
from bench.problems import GATES, MODES, Problem, Shape
from bench.timing import Effort, check, new_measurement
from bench_runs import ROOT, SHORT, TINY, run


def test_every_installed_peer_agrees_with_the_reference(tmp_path):
    peers = [name for name in peer_names() if name != "torch_compile"]  # takes minutes
    effort = Effort(2, 0.002, 0.01, fewest_rounds=2)
    document = run(tmp_path, cells=list(GATES), modes=list(MODES), peers=peers, effort=effort)
    present = {facts.name: facts for facts in document.peers if not facts.unavailable}
    assert {"numpy", "fastrnn"} <= set(present)
    assert {m.peer for m in document.measurements} == set(present)
    for measurement in document.measurements:
        if measurement.status == "declined":
            assert measurement.mode not in present[measurement.peer].modes
            continue
        assert measurement.reason is None
        assert measurement.status == "timed"
        assert 0 < measurement.p10_ms <= measurement.median_ms <= measurement.p90_ms
        wanted = {"y", "h_n"} | ({"c_n"} if measurement.cell == "lstm" else set())
        if measurement.mode == "training":
            wanted |= {"d_x", "d_weight_ih_l0", "d_weight_hh_l0", "d_bias_ih_l0", "d_bias_hh_l0"}
        assert set(measurement.errors) == wanted
    for facts in document.peers:
        if facts.unavailable:
            assert "not installed" in facts.unavailable


STACKS = {
    "stack": Problem("lstm", "training", B=3, T=5, I=4, H=7, L=2, D=2),
    "two layers": Problem("gru", "inference", B=3, T=6, I=4, H=7, L=2),
    "ragged": Problem("lstm", "inference", B=5, T=6, I=4, H=7, ragged=True),
    "ragged training": Problem("gru", "training", B=5, T=6, I=4, H=7, D=2, ragged=True),
    "stream": Problem("lstm", "stream", B=1, T=9, I=8, H=8),
    "stream of two layers": Problem("rnn", "stream", B=2, T=9, I=8, H=4, L=2),
}


@pytest.mark.parametrize("peer", peer_names())
def test_what_a_peer_offers_beyond_one_layer_agrees_with_the_reference(peer):
    worker = Worker(peer, 1, [])
    try:
        reason = worker.call("describe")["unavailable"]
        if reason:
            pytest.skip(reason)
        if peer == "torch_compile":
            pytest.skip("compiling six problems takes minutes")
        compared = 0
        for name, problem in STACKS.items():
            measurement = new_measurement(problem, 1, peer)
            if check(problem, worker, measurement, {}, SHORT):
                compared += 1
            else:
                assert measurement.status == "declined", f"{name}: {measurement.reason}"
        assert compared >= 2
    finally:
        worker.close()


def test_the_peer_of_the_documentation_works(tmp_path):
    text = (ROOT / "docs" / "benchmarks.md").read_text()
    file = tmp_path / "my_layer.py"
    file.write_text(re.search(r"```python\n(.*?)```", text, re.DOTALL).group(1))
    shapes = [TINY, Shape("two", 2, 5, 3, 7, "two layers, which that peer does not do", L=2)]
    peers = [str(file), "numpy_loop"]
    document = run(tmp_path, cells=["rnn"], shapes=shapes, peers=peers)
    found = [(m.peer, m.L, m.status) for m in document.measurements]
    assert found == [
        ("mine", 1, "timed"),
        ("numpy", 1, "timed"),
        ("mine", 2, "declined"),
        ("numpy", 2, "timed"),
    ]
