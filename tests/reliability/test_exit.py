"""The interpreter ends while daemon threads are in calls: quietly, whatever they compute."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

PROGRAM = """
import threading, time
import numpy as np
import fastrnn

fastrnn.set_num_threads({threads})
lstm = fastrnn.LSTM(8, {hidden}, rng=0)
x = np.zeros(({steps}, 4, 8), np.float32)
y, state, tape = lstm.forward(x)
inside = threading.Semaphore(0)

def call():
    while True:
        inside.release()
        {call}

for _ in range(3):
    threading.Thread(target=call, daemon=True).start()
for _ in range(9):
    inside.acquire()
time.sleep({pause})
print("done", flush=True)
"""
CALLS = {
    "inference": "lstm(x)",
    "backward": "lstm.backward(tape, y)",
    "packing": "fastrnn.functional.lstm(x, list(lstm.parameters().values()))",
}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(("hidden", "steps"), [(16, 5), (256, 200)], ids=["short", "long"])
def test_daemon_threads_in_calls_do_not_abort(
    call: str, threads: int, hidden: int, steps: int
) -> None:
    for attempt in range(3):
        code = PROGRAM.format(
            threads=threads,
            hidden=hidden,
            steps=steps,
            call=CALLS[call],
            pause=0.001 * attempt,
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
        )
        status = done.returncode
        ended = f"signal {signal.Signals(-status).name}" if status < 0 else f"code {status}"
        assert (status, done.stdout, done.stderr) == (0, "done\n", ""), ended
