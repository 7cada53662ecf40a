"""The floors of the house: dependencies go down only (docs/architecture.md draws them).

C++: cells <- rnn <- {cpu, cuda} <- entry <- bindings; cpu and cuda know nothing of each other.
Python: the checked face stands on `_core`, the training on the face, the command line on all;
the reference stands alone. Importing the package loads NumPy and nothing else.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import fastrnn

PACKAGE = Path(fastrnn.__file__).parent
CSRC = Path(__file__).parents[2] / "csrc"

# which floors a floor may include; its own is always allowed
BELOW = {
    "cells": set(),
    "rnn": {"cells"},
    "cpu": {"cells", "rnn"},
    "cuda": {"cells", "rnn"},
    "entry": {"cells", "rnn", "cpu", "cuda"},
    "gil": {"cells", "rnn"},
    "bindings": {"cells", "rnn", "cpu", "cuda", "entry", "gil", "bindings_device"},
    "step_arguments": {"cells", "rnn", "cpu", "cuda", "entry", "gil", "bindings"},
    "bindings_address": {"cells", "rnn", "cpu", "cuda", "entry", "gil", "bindings"},
    "bindings_device": {"cells", "rnn"},
    "bindings_emulation": {"cells", "rnn", "cuda", "bindings_device"},
    "bindings_stepper": {
        "cells",
        "rnn",
        "cpu",
        "cuda",
        "entry",
        "gil",
        "bindings",
        "step_arguments",
    },
}

# which parts of the package a part may import when it is itself imported
FACE = {"_core", "_check", "_form", "_problem", "_scan", "_parameters"}
LAYERS = FACE | {"_recurrent"}
PUBLIC = {"__init__", "layers", "cells", "config", "functional", "stepper"}
ABOVE_CORE = {
    "reference": set(),
    "_engine": set(),
    "_form": set(),
    "_problem": {"_core"},
    "_check": {"_form", "_problem"},
    "_gpu": {"_problem"},
    "_device": {"_core", "_check", "_gpu", "_problem"},
    "_scan": {"_core", "_check", "_device", "_form", "_gpu", "_problem"},
    "_parameters": {"_core", "_check", "_gpu", "_problem"},
    "functional": FACE,
    "_recurrent": FACE,
    "layers": LAYERS,
    "cells": FACE,
    "stepper": LAYERS,
    "config": LAYERS | {"cells", "layers"},
    # beside the public names: the one loader of parameters, the one mask, the one set of checks
    "training": PUBLIC | {"_check", "_core", "_parameters"},
    "cli": PUBLIC | {"training", "reference", "_check", "_engine"},
    "__main__": {"cli"},
    "torch": {"_core", "_gpu", "_problem", "config"},
}
# an adapter stands on its framework
FRAMEWORKS = {"torch": "torch"}


def included(text: str) -> list[str]:
    return re.findall(r'^\s*#\s*include\s*"([^"]+)"', text, re.MULTILINE)


def floor(path: Path, root: Path) -> str:
    first = path.relative_to(root).parts[0]
    return first if "." not in first else first.split(".")[0]


def wrong_includes(root: Path) -> list[str]:
    """Every include of csrc that goes up, sideways or nowhere."""
    wrong = []
    for file in sorted(p for p in root.rglob("*") if p.suffix in (".h", ".cuh", ".cpp", ".cu")):
        own = floor(file, root)
        for name in included(file.read_text()):
            target = (file.parent / name).resolve()
            if not target.is_file():
                target = (root / name).resolve()
            if not target.is_file() or root.resolve() not in target.parents:
                wrong.append(f"{file.relative_to(root)} includes {name}, which is not in csrc")
                continue
            other = floor(target, root.resolve())
            if other != own and other not in BELOW[own]:
                wrong.append(f"{file.relative_to(root)} ({own}) includes {name} ({other})")
            if own == "cells" and file.name not in ("list.h", "math.h") and name != "math.h":
                wrong.append(f"{file.relative_to(root)} includes {name}, a cell needs math.h alone")
    return wrong


def imported(tree: ast.AST, at_import_only: bool) -> list[tuple[str, int]]:
    """(module, level) of each import; those inside functions only on demand."""
    found: list[tuple[str, int]] = []
    for node in ast.iter_child_nodes(tree):
        function = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        typing = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        if isinstance(node, ast.Import):
            found += [(alias.name, 0) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module] if node.module else [alias.name for alias in node.names]
            found += [(name, node.level) for name in names]
        elif not (at_import_only and (function or typing)):
            found += imported(node, at_import_only)
    return found


def part(file: Path, root: Path) -> str:
    return file.relative_to(root).parts[0].removesuffix(".py")


def own_import(name: str, level: int, file: Path, root: Path) -> str | None:
    """The part of the package that this import names, None if it is another package."""
    if level:
        base = file.parent
        for _ in range(level - 1):
            base = base.parent
        return part(base / name.split(".")[0], root)
    parts = name.split(".")
    return (parts[1] if len(parts) > 1 else "__init__") if parts[0] == "fastrnn" else None


def wrong_imports(root: Path) -> list[str]:
    """Every import of the package that goes up, or needs more than NumPy when it is imported."""
    wrong = []
    for file in sorted(root.rglob("*.py")):
        own = part(file, root)
        if file == root / "__init__.py":
            continue
        tree = ast.parse(file.read_text())
        for name, level in imported(tree, at_import_only=True):
            other = own_import(name, level, file, root)
            top = name.split(".")[0]
            where = file.relative_to(root)
            if other is None:
                allowed = {"numpy", FRAMEWORKS.get(own), *sys.stdlib_module_names}
                if top not in allowed:
                    wrong.append(f"{where} imports {name} when it is itself imported")
            elif other != own and other not in ABOVE_CORE[own]:
                wrong.append(f"{where} ({own}) imports {other}")
        if own == "reference":  # not even on demand
            for name, level in imported(tree, at_import_only=False):
                other = own_import(name, level, file, root)
                if other not in (None, "reference"):
                    wrong.append(f"{file.relative_to(root)} imports {other}")
    return wrong


@pytest.mark.skipif(not CSRC.is_dir(), reason="the C++ sources are not beside these tests")
def test_includes_go_down_only() -> None:
    assert {p.name for p in CSRC.iterdir() if p.is_dir()} == {"cells", "rnn", "cpu", "cuda"}
    assert not wrong_includes(CSRC)


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("cells/a.h", '#include "../rnn/r.h"'),
        ("cells/a.h", '#include "b.h"'),
        ("rnn/r.h", '#include "../cpu/p.h"'),
        ("cpu/p.h", '#include "../cuda/d.cuh"'),
        ("cuda/d.cuh", '  #  include "../cpu/p.h"'),
        ("cpu/p.h", '#include "../entry.h"'),
        ("entry.h", '#include "bindings.cpp"'),
        ("cpu/p.h", '#include "nowhere.h"'),
    ],
)
def test_a_wrong_include_is_noticed(tmp_path: Path, file: str, text: str) -> None:
    for name in ("cells/b.h", "rnn/r.h", "cpu/p.h", "cuda/d.cuh", "entry.h", "bindings.cpp"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("")
    assert not wrong_includes(tmp_path)
    (tmp_path / file).write_text(text)
    assert len(wrong_includes(tmp_path)) >= 1


def test_imports_go_down_only() -> None:
    assert {"reference", "training", "_check", "_scan"} <= {p.stem for p in PACKAGE.iterdir()}
    assert not wrong_imports(PACKAGE)


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("functional.py", "from . import layers"),
        ("_check/arrays.py", "from .._scan import Tape"),
        ("layers.py", "import fastrnn.training"),
        ("training/fit.py", "import tqdm"),
        ("training/fit.py", "from ..cli import main"),
        ("reference/lstm.py", "from .. import _core"),
        ("reference/lstm.py", "def f():\n    from fastrnn import LSTM"),
        ("_scan.py", "if True:\n    import torch"),
        ("config.py", "from . import torch"),
        ("torch/_ops.py", "import jax"),
        ("torch/_ops.py", "from ..layers import LSTM"),
    ],
)
def test_a_wrong_import_is_noticed(tmp_path: Path, file: str, text: str) -> None:
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.write_text("import numpy\nimport os\n")
    assert not wrong_imports(tmp_path)
    path.write_text(text)
    assert wrong_imports(tmp_path)


def test_imports_on_demand_are_allowed(tmp_path: Path) -> None:
    (tmp_path / "training").mkdir()
    text = "def f():\n    import tqdm\nif TYPE_CHECKING:\n    import torch\n"
    (tmp_path / "training" / "fit.py").write_text(text)
    assert not wrong_imports(tmp_path)


@pytest.mark.parametrize("name", ["fastrnn", "fastrnn.training", "fastrnn.reference"])
def test_importing_loads_numpy_alone(name: str) -> None:
    code = f"""
import sys
import numpy.random, importlib.metadata  # compiled parts of NumPy register modules of their own
before = set(sys.modules)
import {name}
import fastrnn.functional
tops = {{module.split(".")[0] for module in set(sys.modules) - before}}
print(sorted(tops - set(sys.stdlib_module_names) - {{"fastrnn", "numpy"}}))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert ast.literal_eval(done.stdout) == []
