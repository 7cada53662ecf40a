"""A report as data, and the two ways to write it down: Markdown and HTML.

Texts are Markdown of which ``**bold**`` and ```` `code` ```` are used.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass, field


@dataclass
class Grid:
    """A table; every column but the first is of numbers."""

    header: list[str]
    rows: list[list[str]]


@dataclass
class Bullets:
    """A list of lines."""

    lines: list[str]


@dataclass
class Figure:
    """A drawing, shown in HTML only."""

    title: str
    png: bytes


Block = str | Grid | Bullets | Figure


@dataclass
class Section:
    """A heading and what stands below it."""

    title: str
    blocks: list[Block] = field(default_factory=list)
    level: int = 2


def to_markdown(sections: list[Section]) -> str:
    """All sections, figures left out."""
    parts = []
    for section in sections:
        parts.append(f"{'#' * section.level} {section.title}")
        for block in section.blocks:
            if isinstance(block, Grid):
                parts.append(_markdown_grid(block))
            elif isinstance(block, Bullets):
                parts.append("\n".join(f"- {line}" for line in block.lines))
            elif isinstance(block, str):
                parts.append(block)
    return "\n\n".join(parts) + "\n"


def _markdown_grid(grid: Grid) -> str:
    right = "|".join([" --- ", *([" ---: "] * (len(grid.header) - 1))])
    lines = [f"| {' | '.join(grid.header)} |", f"|{right}|"]
    lines += [f"| {' | '.join(row)} |" for row in grid.rows]
    return "\n".join(lines)


_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; }}
table {{ border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }}
th, td {{ padding: .15rem .6rem; border-bottom: 1px solid #ddd; text-align: right; }}
th:first-child, td:first-child {{ text-align: left; white-space: nowrap; }}
tr.loss td {{ background: #fde8e8; }}
img {{ max-width: 100%; }}
.wide {{ overflow-x: auto; }}
</style>
<body>
{body}
</body>
</html>
"""


def to_html(sections: list[Section]) -> str:
    """One page that needs nothing else: figures are inside it."""
    parts = []
    for section in sections:
        parts.append(f"<h{section.level}>{_inline(section.title)}</h{section.level}>")
        for block in section.blocks:
            if isinstance(block, Grid):
                parts.append(_html_grid(block))
            elif isinstance(block, Bullets):
                items = "".join(f"<li>{_inline(line)}</li>" for line in block.lines)
                parts.append(f"<ul>{items}</ul>")
            elif isinstance(block, Figure):
                parts.append(_html_figure(block))
            else:
                parts.append(f"<p>{_inline(block)}</p>")
    return _PAGE.format(title=html.escape(sections[0].title), body="\n".join(parts))


def _html_figure(figure: Figure) -> str:
    from base64 import b64encode

    data = b64encode(figure.png).decode()
    alt = html.escape(figure.title, quote=True)
    return f'<figure><img alt="{alt}" src="data:image/png;base64,{data}"></figure>'


def _html_grid(grid: Grid) -> str:
    head = "".join(f"<th>{_inline(cell)}</th>" for cell in grid.header)
    column = grid.header.index("best/fastrnn") if "best/fastrnn" in grid.header else None
    lines = []
    for row in grid.rows:
        found = re.match(r"([\d.]+)x", row[column]) if column is not None else None
        loss = ' class="loss"' if found and float(found[1]) < 1 else ""
        lines.append(f"<tr{loss}>{''.join(f'<td>{_inline(cell)}</td>' for cell in row)}</tr>")
    body = "\n".join(lines)
    return f'<div class="wide"><table><tr>{head}</tr>\n{body}</table></div>'


def _inline(text: str) -> str:
    escaped = html.escape(text, quote=False)
    escaped = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", escaped)
    return re.sub(r"`(.+?)`", r"<code>\1</code>", escaped)
