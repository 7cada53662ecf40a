"""Skips this folder, with the reason, where torch is not installed."""

from __future__ import annotations

import importlib.util

import pytest

HAS_TORCH = importlib.util.find_spec("torch") is not None
collect_ignore_glob = [] if HAS_TORCH else ["test_*.py"]


def pytest_report_header() -> list[str]:
    return [] if HAS_TORCH else ["tests/adapters/torch: not collected, torch is not installed"]


@pytest.fixture(autouse=True)
def _seed() -> None:
    import torch

    torch.manual_seed(0)
