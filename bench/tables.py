"""What a result file says, as rows that the reports show: no formatting but of single numbers."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass

from bench.floors import Floor, floor
from bench.problems import Problem
from bench.record import Document, Measurement

OURS = "fastrnn"
CELL_TITLES = {"lstm": "LSTM", "gru": "GRU", "rnn": "RNN (tanh)"}
MODE_TITLES = {"inference": "inference", "training": "training step", "stream": "streaming step"}
_BUSY_STRANGERS = 0.15  # CPUs; from here on a measurement is listed as disturbed


@dataclass
class Row:
    """All peers on one problem with one thread count."""

    problem: Problem
    threads: int
    timed: dict[str, Measurement]
    untimed: dict[str, Measurement]
    floor: Floor | None = None  # None in a file without a roofline

    @property
    def label(self) -> str:
        return shape_text(self.problem)

    def best_peer(self) -> Measurement | None:
        """The quickest measurement that is not ours."""
        others = [m for name, m in self.timed.items() if name != OURS]
        return min(others, key=ms, default=None)

    def ratio(self, peer: Measurement | None) -> float | None:
        """How many times as long as we take the peer takes; below 1 it is a loss."""
        if peer is None or OURS not in self.timed:
            return None
        return ms(peer) / ms(self.timed[OURS])

    def share_of_floor(self) -> float | None:
        """The floor over our time: 1 is the best that the model allows."""
        if self.floor is None or OURS not in self.timed:
            return None
        return self.floor.ms / ms(self.timed[OURS])

    def is_disturbed(self) -> bool:
        """Whether our time or the best peer's was taken while others used the machine."""
        best = self.best_peer()
        return any(m is not None and is_disturbed(m) for m in (best, self.timed.get(OURS)))


def ms(measurement: Measurement) -> float:
    """Median of a timed measurement."""
    assert measurement.median_ms is not None, "record.read lets no timed measurement pass without"
    return measurement.median_ms


def problem_of(m: Measurement) -> Problem:
    """The problem that was measured."""
    return Problem(m.cell, m.mode, m.B, m.T, m.I, m.H, m.L, m.D)


def tables(document: Document) -> dict[tuple[str, str], list[Row]]:
    """Rows by (cell, mode), in the order of the run."""
    rooflines = {roofline.threads: roofline for roofline in document.rooflines}
    rows: dict[tuple[str, str], dict[tuple[Problem, int], Row]] = {}
    for m in document.measurements:
        problem = problem_of(m)
        group = rows.setdefault((m.cell, m.mode), {})
        key = (problem, m.threads)
        if key not in group:
            roofline = rooflines.get(m.threads)
            least = floor(problem, roofline) if roofline else None
            group[key] = Row(problem, m.threads, {}, {}, least)
        row = group[key]
        (row.timed if m.status == "timed" else row.untimed)[m.peer] = m
    return {key: list(group.values()) for key, group in rows.items()}


def peak_gflops(document: Document) -> dict[int, tuple[float, str]]:
    """Per thread count, the rate that "% of peak" refers to and its name.

    The best multiply-add sample of the run, or where that probe could not be built the best SGEMM
    sample.
    """
    peaks = {}
    for threads in sorted({sample.threads for sample in document.canary}):
        samples = [s for s in document.canary if s.threads == threads]
        fma = [s.fma_gflops for s in samples if s.fma_gflops is not None]
        fma += [r.fma_gflops for r in document.rooflines if r.threads == threads]
        if fma:
            peaks[threads] = (max(fma), "FMA peak")
        else:
            peaks[threads] = (max(s.sgemm_gflops for s in samples), "best SGEMM")
    return peaks


@dataclass
class Mean:
    """Geometric mean of the best peer's time over ours, over the undisturbed rows."""

    threads: int
    ratio: float
    at_floor: float | None  # what the ratio would be if each of our times were the floor
    rows: int
    disturbed: int  # rows left out


def geometric_means(rows: list[Row]) -> Iterator[Mean]:
    """One mean for each thread count that has one."""
    for threads in sorted({row.threads for row in rows}):
        compared = [
            row for row in rows if row.threads == threads and row.ratio(row.best_peer()) is not None
        ]
        kept = [row for row in compared if not row.is_disturbed()]
        if kept:
            ratios = [row.ratio(row.best_peer()) or 0.0 for row in kept]
            shares = [row.share_of_floor() for row in kept]
            mean, at_floor = statistics.geometric_mean(ratios), None
            if None not in shares:
                at_floor = mean / statistics.geometric_mean([share or 0.0 for share in shares])
            yield Mean(threads, mean, at_floor, len(kept), len(compared) - len(kept))


def is_disturbed(measurement: Measurement) -> bool:
    """Whether others used the machine meanwhile."""
    return (measurement.strangers_cpus or 0) > _BUSY_STRANGERS


def title(cell: str, mode: str) -> str:
    """``LSTM, training step``"""
    return f"{CELL_TITLES[cell]}, {MODE_TITLES[mode]}"


def shape_text(problem: Problem) -> str:
    """``(B,T,I,H)``, with ``L=2`` and ``D=2`` where there are two; no T for a stream.

    Examples
    --------
    >>> shape_text(Problem("lstm", "inference", 8, 200, 64, 128, L=2, D=2))
    '(8,200,64,128) L=2 D=2'
    """
    p = problem
    sizes = (p.B, 1, p.I, p.H) if p.mode == "stream" else (p.B, p.T, p.I, p.H)
    text = "({},{},{},{})".format(*sizes)
    return text + (f" L={p.L}" if p.L > 1 else "") + (f" D={p.D}" if p.D > 1 else "")


def time_text(value_ms: float | None, mode: str) -> str:
    """Milliseconds, in a stream microseconds."""
    return number(value_ms if value_ms is None or mode != "stream" else 1e3 * value_ms)


def unit(mode: str) -> str:
    """What `time_text` counts in."""
    return "us" if mode == "stream" else "ms"


def thread_text(count: int) -> str:
    """``1 thread``, ``2 threads``"""
    return f"{count} thread{'s' * (count > 1)}"


def number(value: float | None) -> str:
    """Three significant digits, never in scientific notation."""
    if value is None:
        return "-"
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:#.3g}" if value >= 0.001 else f"{value:.5f}"


def ratio_text(value: float | None) -> str:
    """``1.25x``"""
    return "-" if value is None else f"{value:.2f}x"
