"""Write docs/cells.md from the docstrings of the reference, the one place where formulas live.

    python docs/make_cells.py            rewrite docs/cells.md
    python docs/make_cells.py --check    exit with 1 if it is stale

The sources are parsed, not imported, so neither NumPy nor a build is needed. Which cells there
are, and in which order, is read from the reference's table ``CELLS``: a new cell needs no change
here.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import re
import sys
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = ROOT / "python" / "fastrnn" / "reference"
TARGET = ROOT / "docs" / "cells.md"

# What the cells stand on: heading, file, and the objects shown ("" is the docstring of the module).
SHARED = (
    ("Over time", "direction.py", ("",)),
    ("The logistic function", "activations.py", ("sigmoid",)),
    ("Dropout masks", "philox.py", ("", "dropout_mask", "philox4x32")),
)
FIELDS = {"Parameters", "Attributes", "Returns", "Raises"}  # sections made of "name : type" entries

PREAMBLE = """\
# Cells

<!-- Written by docs/make_cells.py from the docstrings of python/fastrnn/reference. Do not edit. -->

The formulas that every kernel is tested against, with their sources. The text is that of the
reference; the same arithmetic for the kernels is in `csrc/cells/`.

Sizes: T steps, B rows, I inputs, H hidden units, L layers, D directions. `x'` is x after the step,
`*` is elementwise, `d_x` is the gradient of the loss by x. `W` with two letters is one row block of
a weight: `W_ii` the rows of `weight_ih` for gate i, `W_hi` those of `weight_hh`.
"""


def docstrings(path: Path) -> dict[str, str]:
    """Docstring of the module (key "") and of its top-level classes and functions."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = {"": ast.get_docstring(tree)}
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            found[node.name] = ast.get_docstring(node)
    return {name: text for name, text in found.items() if text}


def cells() -> list[tuple[str, Path]]:
    """Class and file of every cell in the table, each once, in the table's order."""
    tree = ast.parse((REFERENCE / "arguments.py").read_text(encoding="utf-8"))
    homes: dict[str, Path] = {}
    classes: list[str] = []
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.level == 1 and node.module:
            homes |= {alias.name: REFERENCE / f"{node.module}.py" for alias in node.names}
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "CELLS":
            calls = [c for c in ast.walk(node) if isinstance(c, ast.Call)]
            classes = [ast.unparse(call.func) for call in calls]
    if not classes:
        raise SystemExit(f"make_cells: {REFERENCE / 'arguments.py'} has no table CELLS of cells")
    return [(name, homes[name]) for name in dict.fromkeys(classes)]


def inline(text: str) -> str:
    """One line of running text: code spans with one backtick, asterisks kept from emphasis."""
    parts = re.split(r"(`+[^`]+`+)", text)
    return "".join(
        f"`{part.strip('`')}`" if part.startswith("`") else part.replace("*", r"\*")
        for part in parts
    )


def body(lines: list[str]) -> list[str]:
    """Paragraphs, literal blocks (after a line that ends in ``::``) and doctests."""
    out: list[str] = []
    i = 0
    while i < len(lines):
        line = lines[i]
        if line.startswith(">>>"):
            end = next((k for k in range(i, len(lines)) if not lines[k].strip()), len(lines))
            out += ["```python", *lines[i:end], "```"]
            i = end
        elif line.endswith("::"):
            if line != "::":
                out += [inline(line[:-1]), ""]
            i += 1
            block = []
            while i < len(lines) and (not lines[i].strip() or lines[i].startswith("    ")):
                block.append(lines[i])
                i += 1
            out += ["```text", *inspect.cleandoc("\n".join(block)).split("\n"), "```", ""]
        else:
            out.append(inline(line))
            i += 1
    return out


def entries(lines: list[str]) -> list[str]:
    """A list of ``name : type`` lines, each with its indented description."""
    out: list[str] = []
    after_name = False
    for line in filter(str.strip, lines):
        described = line.startswith("    ")
        if not described:
            out.append(f"- `{line}`")
        elif after_name:
            out[-1] += f": {inline(line.strip())}"
        else:
            out.append(f"  {inline(line.strip())}")
        after_name = not described
    return out


def markdown(docstring: str) -> list[str]:
    """A numpydoc docstring as Markdown, its sections under bold words."""
    lines = docstring.split("\n")
    heads = [i for i in range(len(lines) - 1) if lines[i] and re.fullmatch("-{3,}", lines[i + 1])]
    out = body(lines[: heads[0]] if heads else lines)
    for start, end in pairwise([*heads, len(lines)]):
        name = lines[start]
        section = lines[start + 2 : end]
        out += ["", f"**{name}**", "", *(entries if name in FIELDS else body)(section)]
    return out


def page() -> str:
    """The whole of docs/cells.md."""
    out = PREAMBLE.split("\n")
    for name, path in cells():
        out += [f"## {name}", "", f"`{path.relative_to(ROOT)}`", ""]
        out += [*markdown(docstrings(path)[name]), ""]
    for heading, file, names in SHARED:
        found = docstrings(REFERENCE / file)
        out += [f"## {heading}", "", f"`{(REFERENCE / file).relative_to(ROOT)}`", ""]
        for name in names:
            out += [f"### {name}", ""] if name else []
            out += [*markdown(found[name]), ""]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(out)).rstrip() + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--check", action="store_true", help="exit with 1 if the file is stale")
    check = parser.parse_args().check
    text = page()
    current = TARGET.read_text(encoding="utf-8") if TARGET.exists() else ""
    if check and current != text:
        print("docs/cells.md is stale: run python docs/make_cells.py", file=sys.stderr)
        return 1
    if not check and current != text:
        TARGET.write_text(text, encoding="utf-8")
        print("docs/cells.md written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
