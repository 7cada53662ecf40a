"""A benchmark run: wrong peers are refused, broken ones survived, the others timed."""

from __future__ import annotations

import pytest
from bench.client import Worker, WorkerError
from bench.peers import load_peer
from bench.problems import Problem, Shape
from bench.report import markdown
from bench.timing import Effort
from bench_runs import peer_file, run

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
