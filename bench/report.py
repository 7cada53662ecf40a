"""The report of a result file; nothing in it comes from anywhere else."""

from __future__ import annotations

import statistics

from bench.record import Document
from bench.roofline import grid as roofline_grid
from bench.sections import Bullets, Grid, Section, to_markdown
from bench.tables import (
    CELL_TITLES,
    OURS,
    Row,
    geometric_means,
    is_disturbed,
    ms,
    number,
    peak_gflops,
    ratio_text,
    tables,
    thread_text,
    time_text,
    title,
    unit,
)

_PEER_ASKED_FOR_BY_NAME = "torch"
_SLOW_CANARY = 0.85  # of the run's median SGEMM rate


def markdown(document: Document) -> str:
    """The whole report as Markdown."""
    return to_markdown(sections(document))


def sections(document: Document) -> list[Section]:
    """The whole report."""
    parts = [_heading(document), _ceilings(document), _roofline(document)]
    parts += [_table(document, key, rows) for key, rows in tables(document).items()]
    parts += [_memory(document), _losses(document), _not_timed(document), _disturbed(document)]
    return [part for part in parts if part is not None]


def _heading(document: Document) -> Section:
    machine = document.machine
    commit = f"commit {document.git['commit']}" if document.git["commit"] else "no git commit"
    if document.git["dirty"]:
        commit += " with uncommitted changes"
    caches = ", ".join(f"{name} {size}" for name, size in machine["caches"].items())
    flags = " ".join(machine["flags"])
    versions = ", ".join(f"{p.name} {p.version}" for p in document.peers if p.version)
    lines = [
        f"{machine['cpu']} (family {machine['cpu_family']}, model {machine['cpu_model']}), "
        f"{machine['cpus_usable']} CPUs on {machine['cores_usable']} cores, {caches}, "
        f"{machine['memory_bytes'] / 2**30:.0f} GiB; {machine['system']}, kernel "
        f"{machine['kernel']}; {flags}.",
        f"{versions}; Python {document.versions['python']}; source tree at {commit}.",
        f"Command: `python -m bench {' '.join(document.command)}`.",
        "Times are medians of interleaved repeats, in ms, of a streaming step in us; shapes are "
        "(B,T,I,H), float32, one layer in one direction unless L or D says otherwise. "
        "`best/fastrnn` is the quickest peer's time over fastrnn's: above 1 fastrnn is quicker. "
        "A time marked ~ was taken while other processes used the machine, see the end.",
    ]
    if document.rooflines:
        lines.append(
            "`% of floor` is the least time that the measured roofline allows over fastrnn's time "
            "(docs/benchmarks.md has the model), `bound` is what sets it: multiply-adds, or "
            "reading weights from L1, L2, L3 or DRAM."
        )
    if document.resumed:
        lines.append(f"Interrupted, and taken up again at {', '.join(document.resumed)}.")
    if not document.complete:
        lines.append("**The run was interrupted: the tables hold what was timed until then.**")
    absent = [p for p in document.peers if p.unavailable]
    lines += [f"Left out: {p.name}: {p.unavailable}." for p in absent]
    return Section(f"{document.machine_name}, {document.date}", [*lines], level=1)


def _ceilings(document: Document) -> Section | None:
    rows = []
    for threads, (peak, name) in peak_gflops(document).items():
        sgemm = [s.sgemm_gflops for s in document.canary if s.threads == threads]
        spread = f"{min(sgemm):.0f} to {max(sgemm):.0f}"
        fma = f"{peak:.0f}" if name == "FMA peak" else "-"
        rows.append([str(threads), fma, f"{statistics.median(sgemm):.0f}", spread])
    if not rows:
        return None
    table = Grid(["threads", "FMA peak", "NumPy SGEMM, median", "SGEMM, range"], rows)
    note = [f"No FMA peak: {document.fma_unavailable}."] if document.fma_unavailable else []
    title = "What the machine can do (GFLOP/s, sampled before every problem)"
    return Section(title, [table, *note])


def _roofline(document: Document) -> Section | None:
    if not document.rooflines:
        return None
    title = "Roofline (reading in order, all threads together)"
    return Section(title, [roofline_grid(document.rooflines)])


def _table(document: Document, key: tuple[str, str], rows: list[Row]) -> Section:
    cell, mode = key
    names = [
        p.name
        for p in document.peers
        if any(p.name in row.timed or p.name in row.untimed for row in rows)
        and not all(p.name in row.untimed and _is_declined(row, p.name) for row in rows)
    ]
    peaks = peak_gflops(document)
    header = ["shape", "threads", *names]
    ours = OURS in names
    if ours:
        header += ["fastrnn p25-p75", "best peer", "best/fastrnn"]
        header += [f"{_PEER_ASKED_FOR_BY_NAME}/fastrnn"] * (_PEER_ASKED_FOR_BY_NAME in names)
        header += ["GFLOP/s", f"% of {' or '.join(sorted({name for _, name in peaks.values()}))}"]
        header += ["% of floor", "bound"] * bool(document.rooflines)
    body = []
    for row in rows:
        cells = [row.label, str(row.threads)]
        quickest = min(row.timed.values(), key=ms, default=None)
        for name in names:
            timed = row.timed.get(name)
            text = time_text(timed.median_ms, mode) if timed else _why_not(row, name)
            text = f"~{text}" if timed and is_disturbed(timed) else text
            cells.append(f"**{text}**" if timed and timed is quickest else text)
        if ours:
            cells += _our_columns(row, peaks, with_named=_PEER_ASKED_FOR_BY_NAME in names)
            if document.rooflines:
                share = row.share_of_floor()
                cells.append("-" if share is None else number(100 * share))
                cells.append(row.floor.bound if row.floor else "-")
        body.append(cells)
    text = f"{title(cell, mode)} ({unit(mode)})"
    means = _means(rows)
    return Section(text, [Grid(header, body), *([means] if means else [])])


def _is_declined(row: Row, name: str) -> bool:
    return row.untimed[name].status == "declined"


def _why_not(row: Row, name: str) -> str:
    if name not in row.untimed or _is_declined(row, name):
        return "-"
    return row.untimed[name].status


def _our_columns(row: Row, peaks: dict[int, tuple[float, str]], with_named: bool) -> list[str]:
    us, best, mode = row.timed.get(OURS), row.best_peer(), row.problem.mode
    low, high = (us.p25_ms or us.p10_ms, us.p75_ms or us.p90_ms) if us else (None, None)
    spread = f"{time_text(low, mode)} to {time_text(high, mode)}" if us else "-"
    columns = [spread, best.peer if best else "-", ratio_text(row.ratio(best))]
    if with_named:
        columns.append(ratio_text(row.ratio(row.timed.get(_PEER_ASKED_FOR_BY_NAME))))
    if us is None or us.gflops is None or row.threads not in peaks:
        return [*columns, "-", "-"]
    return [*columns, number(us.gflops), number(100 * us.gflops / peaks[row.threads][0])]


def _means(rows: list[Row]) -> str:
    """Over the shapes, per thread count: the ratio to the best peer, undisturbed rows alone."""
    sentences = []
    for mean in geometric_means(rows):
        note = f" ({mean.disturbed} disturbed left out)" if mean.disturbed else ""
        floor = (
            "" if mean.at_floor is None else f", {mean.at_floor:.2f} if fastrnn ran at the floor"
        )
        sentences.append(f"{mean.ratio:.2f} with {thread_text(mean.threads)}{floor}{note}")
    return f"Geometric mean of best/fastrnn: {', '.join(sentences)}." if sentences else ""


def _memory(document: Document) -> Section | None:
    names = list(dict.fromkeys(m.peer for m in document.memory if m.status == "timed"))
    if not names:
        return None
    rows = []
    for cell in dict.fromkeys(m.cell for m in document.memory):
        uses = {m.peer: m for m in document.memory if m.cell == cell}
        added = {
            name: f"{(m.peak_bytes - m.before_bytes) / 2**20:.0f}" if m.status == "timed" else "-"
            for name, m in uses.items()
        }
        m = next(iter(uses.values()))
        label = f"{CELL_TITLES[cell]} ({m.B},{m.T},{m.I},{m.H})"
        rows.append([label, str(m.threads), *(added.get(name, "-") for name in names)])
    text = (
        "Most memory resident during the first training step of a fresh process, less what was "
        "resident before it, that is with x, d_y and the weights in place (MiB)."
    )
    return Section("Peak memory", [text, Grid(["problem", "threads", *names], rows)])


def _losses(document: Document) -> Section:
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
                    times = [f"{time_text(m.median_ms, mode)} {unit(mode)}" for m in (peer, us)]
                    lines.append(
                        f"{title(cell, mode)}, {row.label}, {thread_text(row.threads)}: {name} "
                        f"{times[0]}, fastrnn {times[1]} ({ratio_text(ratio)}){note}"
                    )
    if not compared:
        return Section("Losses", ["Nothing to compare: fastrnn was not timed beside another peer."])
    count = f"{len(lines)} of {compared} comparisons with single peers:"
    return Section("Losses", [count, Bullets(lines) if lines else "None."])


def _not_timed(document: Document) -> Section | None:
    lines, declined = [], {}
    for key, rows in tables(document).items():
        for row in rows:
            for name, m in row.untimed.items():
                if m.status == "declined":
                    declined.setdefault((name, str(m.reason)), []).append(row)
                else:
                    where = f"{name}, {title(*key)}, {row.label}, {thread_text(row.threads)}"
                    lines.append(f"{where}: {m.status}: {m.reason}")
    for m in document.memory:
        if m.status in ("refused", "failed"):
            lines.append(f"{m.peer}, memory, {CELL_TITLES[m.cell]}: {m.status}: {m.reason}")
    lines += [
        f"{name}: {reason} ({len(rows)} problems)" for (name, reason), rows in declined.items()
    ]
    return Section("Refused, failed or not offered", [Bullets(lines)]) if lines else None


def _disturbed(document: Document) -> Section | None:
    """Problems at which something else used the machine while, or before, they were timed."""
    lines = []
    for (cell, mode), rows in tables(document).items():
        for row in rows:
            where = f"{title(cell, mode)}, {row.label}, {thread_text(row.threads)}"
            taken = [m.strangers_cpus or 0 for m in row.timed.values() if is_disturbed(m)]
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
                f"{sample.problem}, {thread_text(sample.threads)}: SGEMM beforehand only "
                f"{sample.sgemm_gflops:.0f} GFLOP/s, the run's median is {median:.0f}"
            )
    return Section("Disturbed", [Bullets(lines)]) if lines else None
