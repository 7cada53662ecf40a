"""Drawings of a result file: speed-ups, the roofline, time against T, B and H."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.record import Document, Roofline
from bench.tables import OURS, Row, ms, tables

_COLOURS = ("#4c78a8", "#72b7b2", "#b279a2", "#eeca3b")  # one per thread count
_LOSS = "#e45756"
_CELL_COLOURS = {"lstm": "#4c78a8", "gru": "#f58518", "rnn": "#54a24b"}
_MODE_MARKERS = {"inference": "o", "training": "s", "stream": "^"}


def draw_speedups(document: Document, path: Path) -> None:
    """One panel per cell and mode: how many times quicker than the best peer, for each shape.

    Raises
    ------
    RuntimeError
        When matplotlib is not installed.
    ValueError
        When fastrnn was not timed beside another peer.
    """
    groups = {
        key: rows
        for key, rows in tables(document).items()
        if any(row.ratio(row.best_peer()) is not None for row in rows)
    }
    if not groups:
        raise ValueError("bench: nothing to draw, fastrnn was not timed beside another peer")
    modes = list(dict.fromkeys(mode for _, mode in groups))
    cells = list(dict.fromkeys(cell for cell, _ in groups))
    most = max(len({row.label for row in rows}) for rows in groups.values())
    figure = _figure(max(4.8, 0.55 * most) * len(cells), 4.2 * len(modes))
    axes = figure.subplots(len(modes), len(cells), sharey="row", squeeze=False)
    for i, mode in enumerate(modes):
        for j, cell in enumerate(cells):
            panel = axes[i][j]
            if (cell, mode) not in groups:
                panel.set_axis_off()
                continue
            _draw_bars(panel, groups[cell, mode])
            handles, labels = panel.get_legend_handles_labels()
            panel.set_title(f"{cell.upper()}, {mode}")
        axes[i][0].set_ylabel("time of the best peer / time of fastrnn")
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=8)
    figure.suptitle(
        f"{document.machine_name}, {document.date[:10]}: above 1, fastrnn is quicker", fontsize=9
    )
    figure.savefig(path, dpi=110)


def _draw_bars(panel: Any, rows: list[Row]) -> None:
    shapes = list(dict.fromkeys(row.label for row in rows))
    threads = sorted({row.threads for row in rows})
    width = 0.8 / len(threads)
    panel.set_yscale("log", base=2)  # a loss hangs down as far as an equal win stands up
    panel.yaxis.set_major_formatter("{x:g}")
    panel.axhline(1, color="black", linewidth=1)
    for row in rows:
        best = row.best_peer()
        ratio = row.ratio(best)
        if ratio is None or best is None:
            continue
        k = threads.index(row.threads)
        at = shapes.index(row.label) + (k - (len(threads) - 1) / 2) * width
        colour = _LOSS if ratio < 1 else _COLOURS[k % len(_COLOURS)]
        panel.bar(at, ratio - 1, width * 0.92, bottom=1, color=colour)
        panel.annotate(
            f"{ratio:.2f}\n{best.peer}",
            (at, ratio),
            xytext=(0, 2 if ratio >= 1 else -2),
            textcoords="offset points",
            ha="center",
            va="bottom" if ratio >= 1 else "top",
            fontsize=5,
        )
    panel.margins(y=0.25)
    panel.set_xticks(range(len(shapes)), shapes, rotation=40, fontsize=6, ha="right")
    for k, count in enumerate(threads):
        panel.bar(
            0, 0, color=_COLOURS[k % len(_COLOURS)], label=f"{count} thread{'s' * (count > 1)}"
        )
    panel.bar(0, 0, color=_LOSS, label="slower than the best peer")


def draw_roofline(document: Document, path: Path) -> None:
    """GFLOP/s against operations per byte of weights read, under the measured roofs.

    Filled marks are fastrnn, hollow ones the best peer, a line joins the two.

    Raises
    ------
    RuntimeError
        When matplotlib is not installed.
    ValueError
        When the file has no roofline or nothing timed.
    """
    if not document.rooflines:
        raise ValueError("bench: no roofline in the file, nothing to draw it with")
    found = [row for rows in tables(document).values() for row in rows if row.timed and row.floor]
    by_roof = [(r, [row for row in found if row.threads == r.threads]) for r in document.rooflines]
    by_roof = [(roof, rows) for roof, rows in by_roof if rows]
    if not by_roof:
        raise ValueError("bench: nothing was timed, no roofline to draw")
    figure = _figure(8 * len(by_roof), 6)
    axes = figure.subplots(1, len(by_roof), squeeze=False)[0]
    for panel, (roof, rows) in zip(axes, by_roof, strict=True):
        _draw_roof(panel, roof, rows)
    figure.suptitle(f"{document.machine_name}, {document.date[:10]}", fontsize=9)
    figure.savefig(path, dpi=110)


def _draw_roof(panel: Any, roof: Roofline, rows: list[Row]) -> None:
    """One thread count: roofs, marks and legend."""
    intensities = [row.problem.flops / row.floor.weight_bytes for row in rows if row.floor]
    left, right = min(intensities) / 2, max(intensities) * 2
    for level in roof.levels:
        knee = roof.fma_gflops / level.gbytes_per_s
        if knee > left:
            ends = [left, min(knee, right)]
            panel.plot(ends, [x * level.gbytes_per_s for x in ends], color="grey", linewidth=1)
            panel.annotate(
                f"{level.name} {level.gbytes_per_s:.0f} GB/s",
                (left, left * level.gbytes_per_s),
                fontsize=7,
                va="bottom",
            )
    panel.axhline(roof.fma_gflops, color="black", linewidth=1)
    panel.annotate(
        f"FMA {roof.fma_gflops:.0f} GFLOP/s",
        (right, roof.fma_gflops),
        fontsize=7,
        ha="right",
        va="bottom",
    )
    for row, x in zip(rows, intensities, strict=True):
        _draw_point(panel, row, x)
    for cell, colour in _CELL_COLOURS.items():
        panel.plot([], [], "o", color=colour, label=cell.upper())
    for mode, marker in _MODE_MARKERS.items():
        panel.plot([], [], marker, color="black", label=mode)
    panel.plot([], [], "o", color="black", markerfacecolor="none", label="best peer")
    panel.set(
        xscale="log", yscale="log", xlim=(left, right),
        xlabel="operations per byte of weights that a step has to read again",
        ylabel="GFLOP/s",
        title=f"{roof.threads} thread{'s' * (roof.threads > 1)}",
    )  # fmt: skip
    panel.legend(fontsize=7, loc="lower right")


def _draw_point(panel: Any, row: Row, x: float) -> None:
    best, us = row.best_peer(), row.timed.get(OURS)
    style = {"marker": _MODE_MARKERS[row.problem.mode], "color": _CELL_COLOURS[row.problem.cell]}
    rates = []
    for measurement, face in ((us, style["color"]), (best, "none")):
        if measurement is not None:
            rates.append(row.problem.flops / ms(measurement) * 1e-6)
            panel.plot(x, rates[-1], markerfacecolor=face, markersize=5, **style)
    if len(rates) == 2:
        lost = rates[0] < rates[1]
        colour = _LOSS if lost else style["color"]
        panel.plot([x, x], rates, color=colour, linewidth=2 if lost else 0.5)


def draw_sweep(document: Document, path: Path) -> None:
    """Time against T, B and H on logarithmic axes, every peer a line; a row per cell and mode.

    Raises
    ------
    RuntimeError
        When matplotlib is not installed.
    ValueError
        When the run was no sweep.
    """
    shapes = [s for s in document.settings.get("shapes", []) if s.get("axis")]
    if not shapes:
        raise ValueError("bench: no sweep in the file (python -m bench run --sweep makes one)")
    threads = max(m.threads for m in document.measurements)
    groups = tables(document)
    axes_names = list(dict.fromkeys(s["axis"] for s in shapes))
    figure = _figure(4.6 * len(axes_names), 3.4 * len(groups))
    axes = figure.subplots(len(groups), len(axes_names), squeeze=False)
    names = [p.name for p in document.peers if not p.unavailable]
    for i, ((cell, mode), rows) in enumerate(groups.items()):
        for j, axis in enumerate(axes_names):
            panel = axes[i][j]
            sizes = {tuple(s[k] for k in "BTIH") for s in shapes if s["axis"] == axis}
            chosen = [
                row for row in rows
                if row.threads == threads
                and tuple(getattr(row.problem, k) for k in "BTIH") in sizes
            ]  # fmt: skip
            chosen.sort(key=lambda row: getattr(row.problem, axis))
            for name in names:
                points = [
                    (getattr(r.problem, axis), ms(r.timed[name])) for r in chosen if name in r.timed
                ]
                style = {"linewidth": 2.5, "color": "black"} if name == OURS else {"linewidth": 1}
                if points:
                    panel.plot(*zip(*points, strict=True), marker=".", label=name, **style)
            floors = [(getattr(r.problem, axis), r.floor.ms) for r in chosen if r.floor]
            if floors:
                panel.plot(*zip(*floors, strict=True), ":", color="grey", label="floor")
            panel.set(xscale="log", yscale="log", xlabel=axis)
            panel.set_title(f"{cell.upper()}, {mode}, time against {axis}", fontsize=9)
        axes[i][0].set_ylabel("ms")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=8)
    figure.suptitle(f"{document.machine_name}, {document.date[:10]}, {threads} threads", fontsize=9)
    figure.savefig(path, dpi=110)


DRAWINGS: dict[str, Callable[[Document, Path], None]] = {
    "speedup": draw_speedups,
    "roofline": draw_roofline,
    "sweep": draw_sweep,
}
"""By the word that goes into the file's name."""


def _figure(width: float, height: float) -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise RuntimeError(
            "bench: drawing needs matplotlib, which is not installed; pip install 'fastrnn[bench]'"
        ) from error
    return Figure(figsize=(width, height), layout="constrained")
