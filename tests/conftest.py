"""What every test shares: the seed in the header, the engine's thread count put back afterwards."""

from __future__ import annotations

import os
from collections.abc import Iterator

import machines
import pytest
from cases import SEED
from hypothesis import settings
from tolerances import measured

from fastrnn import _core

# the same examples on every run and every machine
settings.register_profile("fastrnn", derandomize=True, deadline=None, print_blob=True)
settings.load_profile("fastrnn")


def pytest_report_header() -> list[str]:
    forced = os.environ.get("FASTRNN_ISA")
    return [
        f"fastrnn: seed {SEED}, isa {_core.isa()} ({'forced' if forced else 'chosen'}) of "
        f"{', '.join(_core.isas())}, {_core.get_num_threads()} threads",
    ]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in measured():
        terminalreporter.write_line(line)


@pytest.fixture(params=["emulated", "real"])
def gpu(request: pytest.FixtureRequest) -> machines.Gpu:
    """The emulated GPU, and a real one where there is one."""
    return machines.emulated() if request.param == "emulated" else machines.real()


@pytest.fixture
def threads() -> Iterator[None]:
    """For tests that set the number of threads."""
    before = _core.get_num_threads()
    yield
    _core.set_num_threads(before)
