"""The runner's end of the pipe to a worker process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

from bench.quiet import cpu_seconds

_ROOT = Path(__file__).resolve().parent.parent
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)


class WorkerError(RuntimeError):
    """A worker raised, died or did not answer in time; the message says which."""


class Worker:
    """One long-lived worker process.

    Parameters
    ----------
    peer : str or None
        A peer's name or file; None for the canary.
    threads : int
        Value of ``OMP_NUM_THREADS`` and its relatives in the worker's environment.
    cpus : list of int
        CPUs the worker is confined to; empty for no confinement.
    """

    def __init__(self, peer: str | None, threads: int, cpus: list[int]) -> None:
        self.peer = peer
        self.threads = threads
        self._cpus = cpus
        self._start()

    def _start(self) -> None:
        ours, theirs = Pipe()
        order = {
            "fd": theirs.fileno(), "peer": self.peer, "threads": self.threads, "cpus": self._cpus,
        }  # fmt: skip
        environment = dict(os.environ)
        environment |= dict.fromkeys(_THREAD_VARIABLES, str(self.threads))
        path = [str(_ROOT), environment.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, path))
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.worker", json.dumps(order)],
            env=environment,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,  # Ctrl-C reaches the runner only, which then ends its workers
        )
        theirs.close()
        self._connection = ours

    @property
    def pid(self) -> int:
        return self._process.pid

    def cpu_seconds(self) -> float:
        """CPU time used so far by all threads of the worker."""
        return cpu_seconds(self.pid)

    def call(self, method: str, *arguments: Any, timeout: float = 600.0) -> Any:
        """Call a method of the served object and wait for its answer.

        Raises
        ------
        WorkerError
            When the method raised, the process died, or no answer came within `timeout` seconds.
            After a death or a timeout the next call starts a new process.
        """
        if self._process.poll() is not None:
            self.close()
            self._start()
        try:
            self._connection.send((method, arguments))
            if not self._connection.poll(timeout):
                self.close()
                raise WorkerError(f"{method} gave no answer within {timeout:g} s")
            ok, value = self._connection.recv()
        except (EOFError, ConnectionError) as error:
            raise WorkerError(f"{method}: the process {self._ending()}") from error
        if not ok:
            raise WorkerError(f"{method} raised {value}")
        return value

    def _ending(self) -> str:
        """How the process ended, with the last line it wrote."""
        try:
            code = self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            return "closed its pipe but did not end"
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        last = f": {lines[-1]}" if lines else ""
        if code < 0:
            return f"was ended by {signal.Signals(-code).name}{last}"
        return f"ended with exit status {code}{last}"

    def close(self) -> None:
        """End the process."""
        self._connection.close()
        if self._process.poll() is None:
            try:
                self._process.wait(timeout=0.5)  # it ends by itself when its pipe closes
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._log.close()
