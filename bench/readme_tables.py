"""The README's tables: a mode each, all cells side by side, with the most threads of the run."""

from __future__ import annotations

from bench.record import Document
from bench.sections import Grid, Section, to_markdown
from bench.tables import (
    CELL_TITLES,
    MODE_TITLES,
    OURS,
    Row,
    geometric_means,
    ms,
    ratio_text,
    tables,
    thread_text,
    time_text,
    title,
    unit,
)


def markdown(document: Document) -> str:
    """A table for each mode, then the means and every loss to a best peer.

    Raises
    ------
    ValueError
        When nothing was timed.
    """
    found = tables(document)
    groups = {}
    for key, rows in found.items():
        most = max(row.threads for row in rows)
        groups[key] = [row for row in rows if row.threads == most and row.ratio(row.best_peer())]
    groups = {key: rows for key, rows in groups.items() if rows}
    if not groups:
        raise ValueError("bench: fastrnn was not timed beside another peer, so there is no table")
    sections = []
    for mode in dict.fromkeys(mode for _, mode in groups):
        cells = {cell: rows for (cell, other), rows in groups.items() if other == mode}
        threads = thread_text(next(iter(cells.values()))[0].threads)
        text = f"{MODE_TITLES[mode].capitalize()}, {unit(mode)}, {threads}"
        sections.append(Section(text, [_grid(mode, cells)], level=3))
    means = [
        f"{title(*key)} {mean.ratio:.2f}x"
        for key, rows in groups.items()
        for mean in geometric_means(rows)
    ]
    sections[-1].blocks.append(f"Geometric means of best peer over fastrnn: {', '.join(means)}.")
    sections[-1].blocks.append(_losses(groups))
    peers = [f"{p.name} {p.version}" for p in document.peers if p.version and p.name != OURS]
    sections[-1].blocks.append(f"Peers: {', '.join(peers)}.")
    return to_markdown(sections)


def _grid(mode: str, cells: dict[str, list[Row]]) -> Grid:
    header = ["shape"]
    for cell in cells:
        header += [CELL_TITLES[cell], "best peer", "ratio"]
    lines: dict[str, dict[str, list[str]]] = {}
    for cell, rows in cells.items():
        for row in rows:
            best = row.best_peer()
            assert best is not None, "only compared rows come here"
            texts = [
                time_text(ms(row.timed[OURS]), mode),
                f"{time_text(ms(best), mode)} {best.peer}",
                ratio_text(row.ratio(best)),
            ]
            quicker = 0 if (row.ratio(best) or 0) >= 1 else 1
            texts[quicker] = f"**{texts[quicker]}**"
            lines.setdefault(row.label, {})[cell] = texts
    body = [
        [label, *(text for cell in cells for text in found.get(cell, ["-", "-", "-"]))]
        for label, found in lines.items()
    ]
    return Grid(header, body)


def _losses(groups: dict[tuple[str, str], list[Row]]) -> str:
    lost, count = [], 0
    for key, rows in groups.items():
        for row in rows:
            best = row.best_peer()
            ratio = row.ratio(best)
            count += 1
            if ratio is not None and best is not None and ratio < 1:
                lost.append(f"{title(*key)} {row.label} behind {best.peer} ({ratio_text(ratio)})")
    return f"Losses, of {count} comparisons with the best peer: {'; '.join(lost) or 'none'}."
