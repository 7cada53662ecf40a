"""How a benchmark run times: in turn, on the threads it says, with its memory."""

from __future__ import annotations

import re
import subprocess
import sys
import time

from bench.problems import MODES, Shape
from bench.quiet import cpu_seconds, wait_until_idle
from bench.report import markdown
from bench.timing import Effort
from bench_runs import SHORT, TINY, peer_file, run


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


def test_a_share_of_the_effort_is_less_and_never_below_the_fewest_rounds():
    part = Effort(rounds=10, seconds=1.0, most_seconds=4.0).share(0.2)
    assert (part.rounds, part.seconds, part.most_seconds) == (3, 0.2, 0.8)
    assert SHORT.share(1.0) == SHORT
