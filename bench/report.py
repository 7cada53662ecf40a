"""Markdown tables from a result file; nothing in them comes from anywhere else."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from bench.record import Document, Measurement

OURS = "fastrnn"
_PEER_ASKED_FOR_BY_NAME = "torch"
_CELL_TITLES = {"lstm": "LSTM", "gru": "GRU", "rnn": "RNN (tanh)"}
_MODE_TITLES = {"inference": "inference", "training": "training step"}
_BUSY_STRANGERS = 0.15  # CPUs; from here on a measurement is listed as disturbed
_SLOW_CANARY = 0.85  # of the run's median SGEMM rate


@dataclass
class Row:
    """All peers on one problem with one thread count."""

    shape: tuple[int, int, int, int]
    threads: int
    timed: dict[str, Measurement]
    untimed: dict[str, Measurement]

    @property
    def label(self) -> str:
        return "({},{},{},{})".format(*self.shape)

    def best_peer(self) -> Measurement | None:
        """The quickest measurement that is not ours."""
        others = [m for name, m in self.timed.items() if name != OURS]
        return min(others, key=_ms, default=None)

    def ratio(self, peer: Measurement | None) -> float | None:
        """How many times as long as we take the peer takes; below 1 it is a loss."""
        if peer is None or OURS not in self.timed:
            return None
        return _ms(peer) / _ms(self.timed[OURS])


def _ms(measurement: Measurement) -> float:
    assert measurement.median_ms is not None, "record.read lets no timed measurement pass without"
    return measurement.median_ms


def tables(document: Document) -> dict[tuple[str, str], list[Row]]:
    """Rows by (cell, mode), in the order of the run."""
    rows: dict[tuple[str, str], dict[tuple[object, ...], Row]] = {}
    for m in document.measurements:
        shape = (m.B, m.T, m.I, m.H)
        group = rows.setdefault((m.cell, m.mode), {})
        row = group.setdefault((shape, m.threads), Row(shape, m.threads, {}, {}))
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
        if fma:
            peaks[threads] = (max(fma), "FMA peak")
        else:
            peaks[threads] = (max(s.sgemm_gflops for s in samples), "best SGEMM")
    return peaks


def markdown(document: Document) -> str:
    """The whole report."""
    parts = [_heading(document), _ceilings(document)]
    parts += [_table(document, key, rows) for key, rows in tables(document).items()]
    parts += [_losses(document), _not_timed(document), _disturbed(document)]
    return "\n\n".join(filter(None, parts)) + "\n"


def _heading(document: Document) -> str:
    machine = document.machine
    commit = f"commit {document.git['commit']}" if document.git["commit"] else "no git commit"
    if document.git["dirty"]:
        commit += " with uncommitted changes"
    caches = ", ".join(f"{name} {size}" for name, size in machine["caches"].items())
    flags = " ".join(machine["flags"])
    versions = ", ".join(f"{p.name} {p.version}" for p in document.peers if p.version)
    lines = [
        f"# {document.machine_name}, {document.date}",
        f"{machine['cpu']} (family {machine['cpu_family']}, model {machine['cpu_model']}), "
        f"{machine['cpus_usable']} CPUs on {machine['cores_usable']} cores, {caches}, "
        f"{machine['memory_bytes'] / 2**30:.0f} GiB; {machine['system']}, kernel "
        f"{machine['kernel']}; {flags}.",
        f"{versions}; Python {document.versions['python']}; source tree at {commit}.",
        f"Command: `python -m bench {' '.join(document.command)}`.",
        "Times are medians in ms of interleaved repeats, shapes are (B,T,I,H), float32, one layer. "
        "`best/fastrnn` is the quickest peer's time over fastrnn's: above 1 fastrnn is quicker. "
        "A time marked ~ was taken while other processes used the machine, see the end.",
    ]
    if not document.complete:
        lines.append("**The run was interrupted: the tables hold what was timed until then.**")
    absent = [p for p in document.peers if p.unavailable]
    lines += [f"Left out: {p.name}: {p.unavailable}." for p in absent]
    return "\n\n".join(lines)


def _ceilings(document: Document) -> str:
    rows = []
    for threads, (peak, name) in peak_gflops(document).items():
        sgemm = [s.sgemm_gflops for s in document.canary if s.threads == threads]
        spread = f"{min(sgemm):.0f} to {max(sgemm):.0f}"
        fma = f"{peak:.0f}" if name == "FMA peak" else "-"
        rows.append([str(threads), fma, f"{statistics.median(sgemm):.0f}", spread])
    if not rows:
        return ""
    title = "## What the machine can do (GFLOP/s, sampled before every problem)"
    table = _grid(["threads", "FMA peak", "NumPy SGEMM, median", "SGEMM, range"], rows)
    note = f"\n\nNo FMA peak: {document.fma_unavailable}." if document.fma_unavailable else ""
    return f"{title}\n\n{table}{note}"


def _table(document: Document, key: tuple[str, str], rows: list[Row]) -> str:
    cell, mode = key
    names = [
        p.name
        for p in document.peers
        if any(p.name in row.timed or p.name in row.untimed for row in rows)
    ]
    peaks = peak_gflops(document)
    kinds = sorted({name for _, name in peaks.values()})
    header = ["shape", "threads", *names]
    ours = OURS in names
    if ours:
        header += ["fastrnn p10-p90", "best peer", "best/fastrnn"]
        header += [f"{_PEER_ASKED_FOR_BY_NAME}/fastrnn"] * (_PEER_ASKED_FOR_BY_NAME in names)
        header += ["GFLOP/s", f"% of {' or '.join(kinds)}"]
    body = []
    for row in rows:
        cells = [row.label, str(row.threads)]
        best = row.best_peer()
        quickest = min(row.timed.values(), key=_ms, default=None)
        for name in names:
            timed = row.timed.get(name)
            text = _number(timed.median_ms) if timed else _why_not(row, name)
            text = f"~{text}" if timed and _is_disturbed(timed) else text
            cells.append(f"**{text}**" if timed and timed is quickest else text)
        if ours:
            cells += _our_columns(row, best, peaks, with_named=_PEER_ASKED_FOR_BY_NAME in names)
        body.append(cells)
    text = f"## {_title(cell, mode)}\n\n{_grid(header, body)}"
    means = _geometric_means(rows)
    return f"{text}\n\n{means}" if means else text


def _title(cell: str, mode: str) -> str:
    return f"{_CELL_TITLES[cell]}, {_MODE_TITLES[mode]}"


def _why_not(row: Row, name: str) -> str:
    return row.untimed[name].status if name in row.untimed else "-"


def _our_columns(
    row: Row, best: Measurement | None, peaks: dict[int, tuple[float, str]], with_named: bool
) -> list[str]:
    us = row.timed.get(OURS)
    spread = f"{_number(us.p10_ms)} to {_number(us.p90_ms)}" if us else "-"
    columns = [spread, best.peer if best else "-", _ratio(row.ratio(best))]
    if with_named:
        columns.append(_ratio(row.ratio(row.timed.get(_PEER_ASKED_FOR_BY_NAME))))
    if us is None or us.gflops is None or row.threads not in peaks:
        return [*columns, "-", "-"]
    return [*columns, _number(us.gflops), _number(100 * us.gflops / peaks[row.threads][0])]


def _geometric_means(rows: list[Row]) -> str:
    """Over the shapes, per thread count: the ratio to the best peer, undisturbed rows alone."""
    sentences = []
    for threads in sorted({row.threads for row in rows}):
        ratios, left_out = [], 0
        for row in rows:
            best = row.best_peer()
            ratio = row.ratio(best)
            if row.threads != threads or ratio is None or best is None:
                continue
            if _is_disturbed(best) or _is_disturbed(row.timed[OURS]):
                left_out += 1
            else:
                ratios.append(ratio)
        note = f" ({left_out} disturbed left out)" if left_out else ""
        if ratios:
            mean = statistics.geometric_mean(ratios)
            sentences.append(f"{mean:.2f} with {_threads(threads)}{note}")
    return f"Geometric mean of best/fastrnn: {', '.join(sentences)}." if sentences else ""


def _losses(document: Document) -> str:
    """Every problem at which some peer is quicker than fastrnn."""
    lines, compared = [], 0
    for (cell, mode), rows in tables(document).items():
        for row in rows:
            if OURS not in row.timed:
                continue
            for name, peer in row.timed.items():
                ratio = row.ratio(peer)
                if name == OURS or ratio is None:
                    continue
                compared += 1
                if ratio < 1:
                    us = row.timed[OURS]
                    overlap = (us.p10_ms or 0) <= (peer.p90_ms or 0)
                    note = "; the p10-p90 ranges overlap" if overlap else ""
                    lines.append(
                        f"- {_title(cell, mode)}, {row.label}, {_threads(row.threads)}: {name} "
                        f"{_number(peer.median_ms)} ms, fastrnn {_number(us.median_ms)} ms "
                        f"({_ratio(ratio)}){note}"
                    )
    if not compared:
        return "## Losses\n\nNothing to compare: fastrnn was not timed beside another peer."
    found = "\n".join(lines) if lines else "None."
    return f"## Losses\n\n{len(lines)} of {compared} comparisons with single peers:\n\n{found}"


def _not_timed(document: Document) -> str:
    lines = [
        f"- {name}, {_title(*key)}, {row.label}, {_threads(row.threads)}: {m.status}: {m.reason}"
        for key, rows in tables(document).items()
        for row in rows
        for name, m in row.untimed.items()
    ]
    return "## Refused or failed\n\n" + "\n".join(lines) if lines else ""


def _is_disturbed(measurement: Measurement) -> bool:
    return (measurement.strangers_cpus or 0) > _BUSY_STRANGERS


def _disturbed(document: Document) -> str:
    """Problems at which something else used the machine while, or before, they were timed."""
    lines = []
    for (cell, mode), rows in tables(document).items():
        for row in rows:
            where = f"- {_title(cell, mode)}, {row.label}, {_threads(row.threads)}"
            taken = [m.strangers_cpus or 0 for m in row.timed.values() if _is_disturbed(m)]
            if taken:
                lines.append(f"{where}: other processes used up to {max(taken):.2f} CPUs")
            unquiet = [m.peer for m in row.timed.values() if m.busy_before]
            if unquiet:
                names = ", ".join(unquiet)
                lines.append(f"{where}: another peer's threads did not fall asleep before {names}")
    for sample in document.canary:
        rates = [s.sgemm_gflops for s in document.canary if s.threads == sample.threads]
        median = statistics.median(rates)
        if sample.sgemm_gflops < _SLOW_CANARY * median:
            lines.append(
                f"- {sample.problem}, {_threads(sample.threads)}: SGEMM beforehand only "
                f"{sample.sgemm_gflops:.0f} GFLOP/s, the run's median is {median:.0f}"
            )
    return "## Disturbed\n\n" + "\n".join(lines) if lines else ""


def _threads(count: int) -> str:
    return f"{count} thread{'s' * (count > 1)}"


def _number(value: float | None) -> str:
    """Three significant digits, never in scientific notation."""
    if value is None:
        return "-"
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:#.3g}" if value >= 0.001 else f"{value:.5f}"


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}x"


def _grid(header: list[str], rows: list[list[str]]) -> str:
    right = "|".join([" --- ", *([" ---: "] * (len(header) - 1))])
    lines = [f"| {' | '.join(header)} |", f"|{right}|"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(lines)
