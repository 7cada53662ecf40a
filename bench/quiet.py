"""Who uses the CPUs: waiting until other processes are idle, and counting what strangers took.

Thread pools spin for a while after a parallel region (libgomp for milliseconds, OpenBLAS for up to
100 ms). A measurement that starts while another peer's pool still spins is slowed by it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

_WINDOW = 0.02  # the kernel updates a running thread's CPU time every 1 to 10 ms
_QUIET_SECONDS = 0.001  # CPU time within one window that still counts as idle
_TICK = 1 / os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int, leave_out: int | None = None) -> float:
    """CPU time used so far by the live threads of a process (but one); 0 once it is gone."""
    total = 0.0
    for task in Path(f"/proc/{pid}/task").glob("*"):
        if task.name == str(leave_out):
            continue
        try:
            total += int((task / "schedstat").read_text().split()[0]) * 1e-9
        except (OSError, IndexError):
            continue  # the thread ended meanwhile
    return total


def machine_cpu_seconds() -> float:
    """CPU time used so far by everything on the machine, time stolen by a hypervisor included."""
    with open("/proc/stat") as file:
        user, nice, system, _, _, irq, softirq, steal = map(int, file.readline().split()[1:9])
    return (user + nice + system + irq + softirq + steal) * _TICK


def _own_pool_seconds() -> float:
    """CPU time of this process's threads other than the main one, which does the waiting here."""
    return cpu_seconds(os.getpid(), leave_out=os.getpid())


def wait_until_idle(pids: Iterable[int], timeout: float = 2.0) -> bool:
    """Sleep until none of the processes, nor a pool thread of this one, uses CPU time.

    Returns
    -------
    bool
        False when some process was still busy after `timeout` seconds.
    """
    pids = list(pids)
    end = time.monotonic() + timeout
    while True:
        before = sum(map(cpu_seconds, pids)) + _own_pool_seconds()
        time.sleep(_WINDOW)
        if sum(map(cpu_seconds, pids)) + _own_pool_seconds() - before < _QUIET_SECONDS:
            return True
        if time.monotonic() > end:
            return False


class StrangerMeter:
    """Average number of CPUs taken by processes that are not ours, over the measured spells.

    Used as a context around each spell; `pid` is the process that is being measured.
    """

    def __init__(self, pid: int) -> None:
        self._pids = (pid, os.getpid())
        self._strangers = 0.0
        self._wall = 0.0

    def __enter__(self) -> StrangerMeter:
        self._begin = self._read()
        return self

    def __exit__(self, *exception: object) -> None:
        machine, ours, wall = (b - a for a, b in zip(self._begin, self._read(), strict=True))
        self._strangers += machine - ours
        self._wall += wall

    def _read(self) -> tuple[float, float, float]:
        return machine_cpu_seconds(), sum(map(cpu_seconds, self._pids)), time.monotonic()

    @property
    def cpus(self) -> float:
        """0 when the machine was ours alone; 1 when one CPU worked for somebody else."""
        return max(0.0, self._strangers / self._wall) if self._wall else 0.0
