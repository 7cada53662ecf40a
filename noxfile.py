"""One session per habit; `nox` alone runs lint, docs and tests, `nox -l` lists all.

Each session builds the package into an environment of its own, as a user would.
"""

from __future__ import annotations

import shutil
import subprocess
from collections import defaultdict
from pathlib import Path

import nox

ISAS = ["avx2", "baseline"]  # narrower than what most machines choose by themselves

nox.needs_version = ">=2024.3.2"
nox.options.sessions = ["lint", "docs", "tests"]
nox.options.default_venv_backend = "venv"
nox.options.reuse_existing_virtualenvs = True


@nox.session
def lint(session: nox.Session) -> None:
    """Every hook of .pre-commit-config.yaml over every file."""
    session.install("pre-commit")
    session.run("pre-commit", "run", "--all-files", "--show-diff-on-failure", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """The test suite; arguments go to pytest."""
    session.install(".[test]")
    session.run("python", "-m", "pytest", *session.posargs)


@nox.session
@nox.parametrize("isa", ISAS)
def tests_isa(session: nox.Session, isa: str) -> None:
    """The test suite on another kernel table than this machine would choose."""
    session.install(".[test]")
    session.run("python", "-m", "pytest", *session.posargs, env={"FASTRNN_ISA": isa})


@nox.session
def tests_long(session: nox.Session) -> None:
    """The tests marked slow: minutes."""
    session.install(".[test]")
    session.run("python", "-m", "pytest", "-m", "slow", *session.posargs)


@nox.session
def tests_torch(session: nox.Session) -> None:
    """fastrnn.torch by its own, torch's and Keras' tests, the slow ones too: half an hour.

    Arguments replace the choice of all of them: `nox -s tests_torch -- -m "not slow"`.
    """
    session.install(".[test,proof]")
    given = session.posargs or ["-m", "slow or not slow"]
    session.run("python", "-m", "pytest", "tests/adapters", *given)


@nox.session
def docs(session: nox.Session) -> None:
    """docs/cells.md follows the docstrings, and the docs name files that exist."""
    session.run("python", "docs/make_cells.py", "--check")
    session.run("python", "docs/check_paths.py")


@nox.session
def bench(session: nox.Session) -> None:
    """A small part of the benchmark, torch and ONNX Runtime; arguments replace `run --quick`."""
    session.install(".[bench]")
    session.run("python", "-m", "bench", *(session.posargs or ["run", "--quick"]))


@nox.session
def wheel(session: nox.Session) -> None:
    """Build sdist and wheel, install the wheel alone, run one training call from it."""
    session.install("build")
    dist = Path(session.create_tmp()) / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    session.run("python", "-m", "build", "--outdir", str(dist))
    (built,) = dist.glob("*.whl")
    session.install("--force-reinstall", str(built))
    session.chdir(session.create_tmp())  # not the source tree
    code = (
        "import numpy, fastrnn; lstm = fastrnn.LSTM(3, 8, rng=0); "
        "y, _, tape = lstm.forward(numpy.ones((5, 2, 3), 'f')); "
        "lstm.backward(tape, numpy.ones_like(y)); print(fastrnn.info())"
    )
    session.run("python", "-c", code)
    session.run("fastrnn", "info")


@nox.session
def asan(session: nox.Session) -> None:
    """The spec tests under the sanitizers of the preset asan (GCC); minutes to compile."""
    build = ["cmake.args=--preset=asan", "cmake.build-type=RelWithDebInfo"]
    session.install(".[test]", *(f"--config-settings={setting}" for setting in build))
    libraries = [  # the interpreter is not linked with them; libasan looks for C++ throws at start
        session.run("g++", f"-print-file-name={name}", silent=True, external=True)
        for name in ("libasan.so", "libstdc++.so")
    ]
    env = {
        "LD_PRELOAD": " ".join(str(path).strip() for path in libraries),
        "ASAN_OPTIONS": "detect_leaks=0",  # the interpreter itself does not free everything
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }
    session.run("python", "-m", "pytest", *(session.posargs or ["tests/spec"]), env=env)


@nox.session
def symbols(session: nox.Session) -> None:
    """No function is defined in the objects of two ISAs (docs/decisions/0003)."""
    session.install("pybind11", "cmake", "ninja")
    build = Path(session.create_tmp()).resolve() / "build"
    found = session.run("python", "-m", "pybind11", "--cmakedir", silent=True)
    options = [f"-Dpybind11_DIR={str(found).strip()}", "-DFASTRNN_CUDA=OFF"]
    session.run("cmake", "--preset=default", f"-B{build}", *options)
    session.run("cmake", "--build", str(build), "--target", "fastrnn_isa")
    owners: dict[str, set[str]] = defaultdict(set)
    for built in build.rglob("csrc/cpu/isa/*.o"):
        isa = built.name.split("_")[0]
        command = ["nm", "--defined-only", "--extern-only", str(built)]
        for line in subprocess.run(command, capture_output=True, text=True).stdout.splitlines():
            _, kind, name = line.split(maxsplit=2)
            if kind in "TWViu" and not name.endswith(("x_gateE", "h_gateE")):  # constant tables
                owners[name].add(isa)
    shared = sorted(name for name, isas in owners.items() if len(isas) > 1)
    if not owners or shared:
        session.error(f"{len(owners)} symbols, in the objects of several ISAs: {shared}")
    session.log(f"{len(owners)} symbols, none in the objects of two ISAs")
