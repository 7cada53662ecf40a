"""Very long sequences, and more numbers than 31 bits can count."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from emulated import TIERS, Scan, decode, draw, encode, poisoned, run_reference, run_seam
from machines import Gpu
from tolerances import STORAGE_RELATIVE, relative_error

# cuDNN's limit is 65,535 steps; the emulation, which takes microseconds a step, gets a 64th
STEPS = [65_536, 131_072]
EMULATED_PART = 64
_TRUTHS: dict[tuple[str, int], dict[str, np.ndarray]] = {}


def truth(scan: Scan) -> dict[str, np.ndarray]:
    """The reference takes seconds: once for all tiers."""
    key = (scan.cell, scan.T)
    if key not in _TRUTHS:
        _TRUTHS[key] = run_reference(scan)
    return _TRUTHS[key]


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize(("cell", "steps"), [("gru", STEPS[0]), ("lstm", STEPS[1])])
def test_long_sequences_agree_with_the_reference(gpu: Gpu, cell: str, steps: int, tier: str):
    T = steps if gpu.is_real else steps // EMULATED_PART
    facts = gpu.machine.engine.device_cells()[cell]
    scan = draw(cell, "float32", T, 3, 8, facts, ragged=True, seed=5)
    got = run_seam(gpu.machine, scan, tier, gpu.to_host)
    exact = truth(scan)
    for name, found in got.items():
        assert relative_error(found, exact[name]) <= STORAGE_RELATIVE["float32"], name


@pytest.mark.parametrize("tier", TIERS)
def test_the_last_of_many_numbers_is_found(gpu: Gpu, tier: str):
    """x_pre has more than 2^31 of them on a real GPU: the last row of a batch is as it is alone.

    The row by itself is cut otherwise, so its sums round otherwise: the bound is that of 16 bits.
    """
    B, H, storage = 64, 96, "bfloat16"
    T, period = (88_064, 512) if gpu.is_real else (32, 8)
    G = gpu.machine.engine.device_cells()["lstm"]["gates"]
    assert not gpu.is_real or T * B * G * H > 2**31
    rng, xp = np.random.default_rng(6), gpu.machine.xp
    of_period = encode(storage, rng.normal(size=(period, B, G * H)).astype(np.float32))
    weights = encode(storage, (rng.uniform(-1, 1, (G * H, H)) / np.sqrt(H)).astype(np.float32))

    def run(x_pre: Any) -> np.ndarray:
        rows = x_pre.shape[1]
        sizes = ("lstm", storage, T, rows, H, False, tier, gpu.machine.device)
        size = gpu.machine.engine.device_workspace(*sizes, False)
        arrays = {"x_pre": x_pre, "weight_hh": xp.asarray(weights)}
        arrays["y"] = xp.empty((T, rows, H), np.uint16)
        arrays |= {f"{n}_n": xp.asarray(poisoned(storage, rows, H)) for n in "hc"}
        arrays["workspace"] = xp.empty(size, np.uint8)
        strides = ((rows * G * H, G * H), (rows * H, H))
        given = {n: gpu.machine.address(a) for n, a in arrays.items()}
        gpu.machine.engine.device_forward(*sizes, gpu.machine.stream(), size, given, *strides)
        return decode(storage, gpu.to_host(arrays["y"][-period:, -1]))

    together = run(xp.tile(xp.asarray(of_period), (T // period, 1, 1)))
    alone = run(xp.tile(xp.asarray(of_period[:, -1:]), (T // period, 1, 1)))
    assert relative_error(together, alone) <= STORAGE_RELATIVE[storage]
