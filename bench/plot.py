"""Speed-up bars as a PNG, from a result file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.record import Document
from bench.report import Row, tables

_COLOURS = ("#4c78a8", "#72b7b2", "#b279a2", "#eeca3b")  # one per thread count
_LOSS = "#e45756"


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
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise RuntimeError(
            "bench: drawing needs matplotlib, which is not installed; pip install 'fastrnn[bench]'"
        ) from error

    modes = list(dict.fromkeys(mode for _, mode in groups))
    cells = list(dict.fromkeys(cell for cell, _ in groups))
    figure = Figure(figsize=(4.8 * len(cells), 3.8 * len(modes)), layout="constrained")
    axes = figure.subplots(len(modes), len(cells), sharey=True, squeeze=False)
    for i, mode in enumerate(modes):
        for j, cell in enumerate(cells):
            panel = axes[i][j]
            if (cell, mode) not in groups:
                panel.set_axis_off()
                continue
            _draw_panel(panel, groups[cell, mode])
            handles, labels = panel.get_legend_handles_labels()
            panel.set_title(f"{cell.upper()}, {mode}")
        axes[i][0].set_ylabel("time of the best peer / time of fastrnn")
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=8)
    figure.suptitle(f"{document.machine_name}, {document.date[:10]}: above 1, fastrnn is quicker")
    figure.savefig(path, dpi=130)


def _draw_panel(panel: Any, rows: list[Row]) -> None:
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
        loss = {"edgecolor": _LOSS, "linewidth": 2} if ratio < 1 else {}
        colour = _COLOURS[k % len(_COLOURS)]
        panel.bar(at, ratio - 1, width * 0.92, bottom=1, color=colour, **loss)
        panel.annotate(
            f"{ratio:.2f}\n{best.peer}",
            (at, ratio),
            xytext=(0, 2 if ratio >= 1 else -2),
            textcoords="offset points",
            ha="center",
            va="bottom" if ratio >= 1 else "top",
            fontsize=6,
        )
    panel.margins(y=0.25)
    panel.set_xticks(range(len(shapes)), shapes, rotation=20, fontsize=7)
    for k, count in enumerate(threads):
        panel.bar(
            0, 0, color=_COLOURS[k % len(_COLOURS)], label=f"{count} thread{'s' * (count > 1)}"
        )
    panel.bar(0, 0, color="white", edgecolor=_LOSS, linewidth=2, label="slower than the best peer")
