"""A benchmark run: wrong peers are refused, broken ones survived, the others timed in turn."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from bench import record
from bench.client import Worker, WorkerError
from bench.peers import load_peer, peer_names
from bench.problems import GATES, MODES, Problem, Shape
from bench.quiet import cpu_seconds, wait_until_idle
from bench.report import markdown
from bench.run import Runner, Settings
from bench.timing import Effort, check, new_measurement

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
        "peers": ["numpy_loop"], "effort": SHORT, "roofline": False,
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
            "    effort = 1.0\n"
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


# --- streams, memory, budgets ----------------------------------------------------------------


def test_a_stream_that_loses_its_state_is_refused(tmp_path):
    body = (
        "    def step(self, t):\n"
        "        if t == 4:\n"
        "            self.start_stream()\n"
        "        return super().step(t)"
    )
    shape = Shape("stream", 1, 8, 3, 7, "a stream", modes=("stream",))
    peers = ["numpy_loop", peer_file(tmp_path, "forgetful", body)]
    right, wrong = run(tmp_path, modes=["stream"], shapes=[shape], peers=peers).measurements
    assert right.status == "timed"
    assert wrong.status == "refused"
    assert wrong.reason.startswith("y is off by")


def test_times_of_a_stream_are_per_step(tmp_path):
    body = (
        "    def step(self, t):\n"
        "        __import__('time').sleep(2e-3)\n"
        "        return super().step(t)"
    )
    shape = Shape("stream", 1, 25, 3, 7, "a stream", modes=("stream",))
    peers = [peer_file(tmp_path, "sleepy", body)]
    (measurement,) = run(tmp_path, modes=["stream"], shapes=[shape], peers=peers).measurements
    assert 2 <= measurement.median_ms < 8


def test_memory_is_what_the_first_call_adds(tmp_path):
    size = 96 * 2**20
    body = (
        f"    def train_step(self):\n        bytearray(b'1') * {size}\n        super().train_step()"
    )
    peers = ["numpy_loop", peer_file(tmp_path, "hungry", body)]
    document = run(tmp_path, peers=peers, memory=TINY)
    plain, hungry = (m.peak_bytes - m.before_bytes for m in document.memory)
    assert [m.status for m in document.memory] == ["timed", "timed"]
    assert plain < size // 4
    assert 0.95 * size < hungry < 1.25 * size  # the kernel counts pages in lots
    assert "## Peak memory" in markdown(document)


def test_a_peer_that_takes_too_long_to_prepare_fails_and_the_others_go_on(tmp_path):
    body = (
        "    def prepare(self, *arguments):\n"
        "        __import__('time').sleep(30)"
    )  # fmt: skip
    effort = Effort(2, 0.002, 0.01, fewest_rounds=2, prepare_seconds=0.5)
    peers = [peer_file(tmp_path, "slow", body), "numpy_loop"]
    slow, numpy = run(tmp_path, peers=peers, effort=effort).measurements
    assert (slow.status, slow.reason) == ("failed", "prepare gave no answer within 0.5 s")
    assert numpy.status == "timed"


def test_a_share_of_the_effort_is_less_and_never_below_the_fewest_rounds():
    part = Effort(rounds=10, seconds=1.0, most_seconds=4.0).share(0.2)
    assert (part.rounds, part.seconds, part.most_seconds) == (3, 0.2, 0.8)
    assert SHORT.share(1.0) == SHORT


# --- interrupted and taken up again ------------------------------------------------------------


def interrupted(path):
    """A run of two cells of which only the first came through, and its settings."""

    def interrupt(line, settled):
        if "gru" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(path, interrupt, cells=["lstm", "gru"])
    return record.read(path / "result.json")


def test_a_resumed_run_keeps_what_is_there_and_measures_the_rest(tmp_path):
    half = interrupted(tmp_path)
    (kept,) = half.measurements
    lines = []
    whole = Runner(
        Settings.from_record(half.settings), tmp_path / "result.json", ["run", "--resume"],
        lambda line, settled: lines.append(line), half,
    ).run()  # fmt: skip
    assert "lstm/inference/2x5x3x7 1T: there" in lines
    assert whole.complete
    assert [m.cell for m in whole.measurements] == ["lstm", "gru"]
    assert whole.measurements[0] == kept
    assert whole.command == ["run"]
    assert len(whole.resumed) == 1
    assert record.read(tmp_path / "result.json") == whole


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"complete": True}, "there is nothing to resume"),
        ({"machine_name": "another"}, "the run was made on another"),
        ({"git": {"commit": "abc", "dirty": False}}, "at commit abc"),
    ],
)
def test_a_run_that_cannot_go_on_here_says_why(tmp_path, change, message):
    half = interrupted(tmp_path)
    for name, value in change.items():
        setattr(half, name, value)
    with pytest.raises(ValueError, match=message):
        Runner(settings(), tmp_path / "result.json", ["run"], print, half)


def test_a_killed_run_is_completed_from_the_command_line(tmp_path):
    """SIGKILL in the middle of a run: what was written stays valid, --resume does the rest."""
    path = tmp_path / "result.json"
    command = [sys.executable, "-m", "bench", "run"]
    options = ["--cells", "lstm,gru,rnn", "--modes", "inference,training", "--shapes", "4x40x8x16"]
    options += ["--threads", "1", "--peers", "numpy_loop", "--out", str(path)]
    process = subprocess.Popen([*command, *options], cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 60
        while not path.exists() and time.monotonic() < end:
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()
    before = record.read(path)
    assert not before.complete
    done = subprocess.run(
        [*command, "--resume", str(path)], cwd=ROOT, capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    after = record.read(path)
    assert after.complete
    assert len(after.measurements) == 6
    assert after.measurements[: len(before.measurements)] == before.measurements
