"""A pytest plugin: Keras' own tests on our kernels, with what each test computed and declined.

`FASTRNN_KERAS_REPORT=FILE KERAS_BACKEND=torch python -m pytest -p keras_plugin .../lstm_test.py`
writes a JSON list, an entry for each test: its name, outcome, and the two counters.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras_backend
import pytest

entries: dict[str, dict[str, Any]] = {}


def pytest_configure() -> None:
    keras_backend.install()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    keras_backend.computed.clear()
    keras_backend.declined.clear()
    result = yield
    entry = entries.setdefault(item.nodeid.split("::", 1)[1], {"outcome": "none"})
    entry["computed"] = dict(keras_backend.computed)
    entry["declined"] = dict(keras_backend.declined)
    return result


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call" or report.outcome != "passed":
        reason = report.longrepr[2] if report.skipped else str(report.longrepr or "")
        name = report.nodeid.split("::", 1)[1]
        entries.setdefault(name, {}).update(outcome=report.outcome, reason=reason)


def pytest_sessionfinish() -> None:
    Path(os.environ["FASTRNN_KERAS_REPORT"]).write_text(json.dumps(entries, indent=1))
