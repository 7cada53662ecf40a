"""A benchmark run: wrong peers are refused, broken ones survived, the others timed in turn."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from bench.client import Worker, WorkerError
from bench.peers import load_peer, peer_names
from bench.problems import GATES, MODES, Problem, Shape
from bench.quiet import cpu_seconds, wait_until_idle
from bench.report import markdown
from bench.run import Effort, Runner, Settings

ROOT = Path(__file__).resolve().parents[2]
TINY = Shape("tiny", B=2, T=5, I=3, H=7, why="seconds matter in a test")
SHORT = Effort(rounds=2, seconds=0.002, most_seconds=0.01, fewest_rounds=2)

PEER_FILE = """
from bench.peers.numpy_loop import NumpyLoop
import os, signal

class Changed(NumpyLoop):
    name = {name!r}
{body}
"""


def settings(**changes):
    defaults = {
        "cells": ["lstm"], "modes": ["inference"], "shapes": [TINY], "threads": [1],
        "peers": ["numpy_loop"], "effort": SHORT,
    }  # fmt: skip
    return Settings(**(defaults | changes))


def run(path, report=lambda line, settled: None, **changes):
    return Runner(settings(**changes), path / "result.json", ["run"], report).run()


def peer_file(path, name, body):
    """A peer that is numpy_loop but for the given methods."""
    file = path / f"{name}.py"
    file.write_text(PEER_FILE.format(name=name, body=body))
    return str(file)


# --- what is refused, what fails -------------------------------------------------------------

WRONG = {
    "off_by_one_in_a_thousand": (
        "    def results(self):\n"
        "        return super().results() | {'y': self.computed['y'] + 1e-3}",
        "y is off by 0.001",
    ),
    "lost_bias_gradient": (
        "    def results(self):\n"
        "        return super().results() | {'d_bias_ih_l0': 0 * self.computed['d_bias_ih_l0']}",
        "d_bias_ih_l0 is off by 1,",
    ),
    "without_final_state": (
        "    def results(self):\n"
        "        return {n: a for n, a in super().results().items() if n != 'c_n'}",
        "c_n is missing",
    ),
    "not_a_number": (
        "    def results(self):\n"
        "        return super().results() | {'d_x': self.computed['d_x'] * float('nan')}",
        "d_x is not finite",
    ),
    "other_layout": (
        "    def results(self):\n"
        "        return super().results() | {'y': self.computed['y'].swapaxes(0, 1)}",
        "y is float32 (2, 5, 7), expected float32 (5, 2, 7)",
    ),
    "double_precision": (
        "    def results(self):\n"
        "        return super().results() | {'y': self.computed['y'].astype(float)}",
        "y is float64",
    ),
    "wrong_last_step": (
        "    def prepare(self, problem, *rest):\n"
        "        super().prepare(problem, *rest)\n"
        "        self.inputs.x[-1] += 1",
        "is off by",
    ),
}


BROKEN = {
    "raises": (
        "    def infer(self):\n        raise OSError('no such kernel')",
        "OSError: no such kernel",
    ),
    "dies": (
        "    def infer(self):\n        os.kill(os.getpid(), signal.SIGKILL)",
        "ended by SIGKILL",
    ),
    "exits": ("    def infer(self):\n        os._exit(3)", "exit status 3"),
    "dies_while_timed": (
        "    calls = 0\n"
        "    def infer(self):\n"
        "        super().infer()\n"
        "        self.calls += 1\n"
        "        if self.calls == 3:\n"
        "            os.kill(os.getpid(), signal.SIGKILL)",
        "measure: the process was ended by SIGKILL",
    ),
}


def run_beside_numpy(path, peers, **changes):
    files = [peer_file(path, name, body) for name, (body, _) in peers.items()]
    return run(path, peers=[*files, "numpy_loop"], **changes)


@pytest.fixture(scope="module")
def beside_wrong_peers(tmp_path_factory):
    return run_beside_numpy(tmp_path_factory.mktemp("wrong"), WRONG, modes=["training"])


@pytest.fixture(scope="module")
def beside_broken_peers(tmp_path_factory):
    return run_beside_numpy(tmp_path_factory.mktemp("broken"), BROKEN, cells=["lstm", "gru"])


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_peer_is_refused_and_not_timed(beside_wrong_peers, name):
    (measurement,) = (m for m in beside_wrong_peers.measurements if m.peer == name)
    assert measurement.status == "refused"
    assert WRONG[name][1] in measurement.reason
    assert measurement.median_ms is None
    assert measurement.calls == 0
    assert f"refused: {measurement.reason}" in markdown(beside_wrong_peers)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_peer_fails_with_its_reason(beside_broken_peers, name):
    broken = [m for m in beside_broken_peers.measurements if m.peer == name]
    assert [m.status for m in broken] == ["failed", "failed"]
    assert all(BROKEN[name][1] in m.reason for m in broken)


def test_the_peers_beside_wrong_and_broken_ones_are_timed(beside_wrong_peers, beside_broken_peers):
    both = beside_wrong_peers.measurements + beside_broken_peers.measurements
    assert [m.status for m in both if m.peer == "numpy"] == ["timed"] * 3


def test_an_error_in_the_part_of_a_long_problem_that_is_not_compared_in_full(tmp_path, monkeypatch):
    """Only at the full length, only in the last row: the second comparison has to see it."""
    five_steps = Problem("rnn", "inference", B=8, T=5, I=3, H=7).flops
    monkeypatch.setattr("bench.check._REFERENCE_FLOPS", five_steps)
    body = (
        "    def results(self):\n"
        "        y = self.computed['y'].copy()\n"
        "        y[100:, -1] += 1e-3\n"
        "        return super().results() | {'y': y}"
    )
    shape = Shape("long", B=8, T=120, I=3, H=7, why="longer than the reference is allowed")
    peers = ["numpy_loop", peer_file(tmp_path, "late", body)]
    right, wrong = run(tmp_path, cells=["rnn"], shapes=[shape], peers=peers).measurements
    assert right.status == "timed"
    assert (wrong.status, wrong.errors["y"]) == ("refused", pytest.approx(1e-3, rel=1e-2))


def test_a_peer_that_hangs_is_ended_and_can_start_anew(tmp_path):
    body = "    def plan(self):\n        __import__('time').sleep(60)"
    worker = Worker(peer_file(tmp_path, "hangs", body), 1, [])
    problem = Problem("rnn", "inference", 1, 1, 1, 1)
    try:
        worker.call("prepare", problem)
        with pytest.raises(WorkerError, match=r"plan gave no answer within 0\.3 s"):
            worker.call("plan", timeout=0.3)
        worker.call("prepare", problem)
        assert set(worker.call("compute", None)) == {"y", "h_n"}
    finally:
        worker.close()


def test_an_unavailable_peer_is_reported_with_its_reason(tmp_path):
    body = (
        "    @classmethod\n"
        "    def available(cls):\n"
        "        return 'needs a machine that nobody has'"
    )  # fmt: skip
    document = run(tmp_path, peers=[peer_file(tmp_path, "absent", body), "numpy_loop"])
    assert [m.peer for m in document.measurements] == ["numpy"]
    assert "Left out: absent: needs a machine that nobody has." in markdown(document)


def test_two_peers_of_one_name_are_refused(tmp_path):
    with pytest.raises(ValueError, match="two peers have the name 'numpy'"):
        run(tmp_path, peers=["numpy_loop", peer_file(tmp_path, "numpy", "    pass")])


def test_a_peer_file_with_two_peers_is_refused(tmp_path):
    file = tmp_path / "two.py"
    file.write_text(
        "from bench.peers.numpy_loop import NumpyLoop\n"
        "class A(NumpyLoop): pass\nclass B(NumpyLoop): pass\n"
    )
    with pytest.raises(ValueError, match="defines 2 subclasses of Peer, expected 1"):
        load_peer(str(file))


# --- how it is timed -------------------------------------------------------------------------


def test_repeats_are_interleaved_in_turn(tmp_path):
    log = tmp_path / "log"

    def logging(name):
        body = (
            "    def infer(self):\n"
            "        super().infer()\n"
            f"        open({str(log)!r}, 'a').write({name!r})"
        )
        return peer_file(tmp_path, name, body)

    effort = Effort(rounds=4, seconds=0.004, most_seconds=1.0)
    document = run(tmp_path, peers=[logging("a"), logging("b")], effort=effort)
    spells = re.sub(r"(.)\1*", r"\1", log.read_text())  # aaabbab -> abab
    assert spells == "ab" * (len(spells) // 2)
    rounds = len(document.measurements[0].round_medians_ms)
    assert rounds >= 4
    assert len(spells) == 2 * (rounds + 1)  # each was run once before, for the check


def test_a_worker_has_the_threads_and_cpus_it_was_told(tmp_path):
    body = (
        "    def plan(self):\n"
        "        return {'omp': os.environ['OMP_NUM_THREADS'],\n"
        "                'blas': os.environ['OPENBLAS_NUM_THREADS'],\n"
        "                'cpus': len(os.sched_getaffinity(0))}"
    )
    document = run(tmp_path, peers=[peer_file(tmp_path, "told", body)])
    assert document.measurements[0].plan == {"omp": "1", "blas": "1", "cpus": 1}


def test_weights_are_touched_before_every_training_step_and_never_in_inference(tmp_path):
    body = (
        "    touched = calls = 0\n"
        "    def touch_weights(self):\n"
        "        self.touched += 1\n"
        "    def train_step(self):\n"
        "        super().train_step()\n"
        "        self.calls += 1\n"
        "        assert self.touched == self.calls - 1, 'the check runs untouched'\n"
        "    def infer(self):\n"
        "        super().infer()\n"
        "        assert self.touched == 0"
    )
    peers = [peer_file(tmp_path, "touched", body)]
    document = run(tmp_path, modes=list(MODES), peers=peers)
    assert [m.reason for m in document.measurements] == [None, None]


def test_waiting_for_a_process_that_spins():
    spinning = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        time.sleep(0.3)  # let it get past its start
        assert not wait_until_idle([spinning.pid], timeout=0.3)
        assert cpu_seconds(spinning.pid) > 0
    finally:
        spinning.kill()
        spinning.wait()
    assert wait_until_idle([spinning.pid])


def test_every_installed_peer_agrees_with_the_reference(tmp_path):
    document = run(tmp_path, cells=list(GATES), modes=list(MODES), peers=peer_names())
    present = {facts.name: facts for facts in document.peers if not facts.unavailable}
    assert {"numpy", "fastrnn"} <= set(present)
    assert {m.peer for m in document.measurements} == set(present)
    for measurement in document.measurements:
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


def test_the_peer_of_the_readme_works(tmp_path):
    readme = (ROOT / "bench" / "README.md").read_text()
    file = tmp_path / "my_layer.py"
    file.write_text(re.search(r"```python\n(.*?)```", readme, re.DOTALL).group(1))
    peers = [str(file), "numpy_loop"]
    mine, numpy = run(tmp_path, cells=["rnn"], peers=peers).measurements
    assert (mine.peer, mine.status, numpy.status) == ("mine", "timed", "timed")
