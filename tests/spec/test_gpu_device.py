"""The kernels behind their seam: on the emulated GPU here, on a real one where CuPy finds it.

On a GPU this is the whole chain but the array library's products: compiled kernels, cooperative
launches, flags between blocks, the caller's stream. Without one those tests are skipped.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from emulated import STORAGES, TIERS, Scan, draw, run_reference, run_seam
from machines import Gpu
from tolerances import KINKED_RELATIVE, STORAGE_RELATIVE, relative_error

SIZES: list[tuple[int, int, int, dict[str, Any]]] = [
    (0, 2, 3, {}),
    (5, 3, 7, {"ragged": True}),
    (6, 9, 33, {"ragged": True, "reverse": True}),
    (4, 5, 64, {"bias": False, "states": False, "arriving": False}),
]


def check(scan: Scan, got: dict[str, np.ndarray]) -> None:
    exact = run_reference(scan)
    bound = STORAGE_RELATIVE[scan.storage]
    for name, found in got.items():
        truth = exact[name]
        if scan.cell == "rnn_relu" and scan.storage in KINKED_RELATIVE:
            size = max(float(np.linalg.norm(truth)), 1.0)
            assert np.linalg.norm(found - truth) <= KINKED_RELATIVE[scan.storage] * size, name
        else:
            assert relative_error(found, truth) <= bound, f"{name} of {scan.cell}, {scan.storage}"


@pytest.mark.parametrize("tier", ["", *TIERS])
@pytest.mark.parametrize("storage", STORAGES)
def test_every_cell_agrees_with_the_reference(gpu: Gpu, storage: str, tier: str):
    machine = gpu.machine
    for cell, facts in machine.engine.device_cells().items():
        for T, B, H, options in SIZES:
            scan = draw(cell, storage, T, B, H, facts, **options)
            check(scan, run_seam(machine, scan, tier, gpu.to_host))


def test_the_same_call_gives_the_same_bits(gpu: Gpu):
    machine = gpu.machine
    scan = draw("gru", "float32", 7, 9, 40, machine.engine.device_cells()["gru"], ragged=True)
    for tier in TIERS:
        one, two = (run_seam(machine, scan, tier, gpu.to_host) for _ in range(2))
        assert all(one[name].tobytes() == two[name].tobytes() for name in one), tier


def test_a_workspace_that_is_too_small_is_refused(gpu: Gpu):
    machine = gpu.machine
    engine, room = machine.engine, machine.xp.empty(16, np.uint8)
    arrays = {"workspace": machine.address(room)}
    with pytest.raises(ValueError, match=r"^fastrnn: workspace has 16 bytes, expected \d+$"):
        engine.device_forward(
            "lstm", "float32", 1, 1, 8, False, "", 0, 0, 16, arrays, (32, 32), (8, 8)
        )
