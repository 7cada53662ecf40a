"""Every example in the package's docstrings runs, and every public object has one."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
from typing import Any

import pytest

import fastrnn

FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def modules() -> list[str]:
    """Every Python module of the package but the entry point, which runs when imported."""
    found = pkgutil.walk_packages(fastrnn.__path__, "fastrnn.")
    names = [module.name for module in found]
    skipped = ("fastrnn._core", "fastrnn.__main__")
    return ["fastrnn", *(name for name in names if name not in skipped)]


def examples(module: Any) -> list[doctest.DocTest]:
    return [test for test in doctest.DocTestFinder().find(module) if test.examples]


@pytest.mark.parametrize("name", modules())
def test_examples(name: str) -> None:
    if name.startswith("fastrnn.torch"):
        pytest.importorskip("torch", reason="fastrnn.torch needs torch")
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    said: list[str] = []
    for test in examples(importlib.import_module(name)):
        runner.run(test, out=said.append)
    assert not runner.summarize(verbose=False).failed, "".join(said)


def test_a_wrong_example_is_noticed() -> None:
    test = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3\n", {}, "wrong", None, None)
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    runner.run(test, out=lambda text: None)
    assert runner.summarize(verbose=False).failed == 1


def public() -> dict[str, Any]:
    """Classes and functions that a user calls."""
    holders = {"fastrnn": fastrnn, "fastrnn.functional": fastrnn.functional}
    return {
        f"{path}.{name}": getattr(holder, name)
        for path, holder in holders.items()
        for name in holder.__all__
        if inspect.isclass(getattr(holder, name)) or inspect.isfunction(getattr(holder, name))
    }


@pytest.mark.parametrize("name", [name for name in public() if not name.endswith("Tape")])
def test_every_public_object_has_an_example(name: str) -> None:
    """A tape has none: it is only ever made by the others."""
    text = inspect.getdoc(public()[name]) or ""
    assert ">>>" in text, f"{name} has no example"


def test_every_public_method_is_documented() -> None:
    missing = []
    for path, found in public().items():
        for name in dir(found) if inspect.isclass(found) else []:
            member = getattr(found, name)
            documented = inspect.getdoc(member) or ""
            if (not name.startswith("_") or name == "__call__") and not documented.strip():
                missing.append(f"{path}.{name}")
    assert not missing
