"""The CUDA kernels, emulated on the CPU, against the float64 reference.

Logic, indexing and layout are those of the GPU: the source is the same, only a barrier is the end
of a loop over the threads. Every cell, storage type and tier; odd sizes; rows of length 0; both
directions of time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from emulated import (
    STORAGES,
    TIERS,
    Scan,
    decoded,
    draw,
    round_to,
    run_kernels,
    run_reference,
    tile,
)
from tolerances import KINKED_RELATIVE, STORAGE_RELATIVE, relative_error

emulation = pytest.importorskip(
    "fastrnn._emulation", reason="built without FASTRNN_TESTING, so without the emulated GPU"
)
FACTS = emulation.device_cells()

# (T, B, H, options): nothing; one of each; tails of tiles and vectors; rows that end
PROBLEMS: list[tuple[int, int, int, dict[str, Any]]] = [
    (0, 2, 3, {}),
    (3, 0, 5, {}),
    (1, 1, 1, {}),
    (5, 3, 7, {"ragged": True}),
    (6, 9, 17, {"ragged": True, "reverse": True}),
    (4, 5, 33, {"reverse": True, "bias": False, "states": False}),
    (5, 4, 65, {"arriving": False}),
    (2, 19, 130, {"ragged": True}),  # several blocks, parts and passes of matrix instructions
]

every_cell = pytest.mark.parametrize("cell", FACTS)
every_storage = pytest.mark.parametrize("storage", STORAGES)
every_tier = pytest.mark.parametrize("tier", TIERS)


def planned(scan: Scan, tier: str) -> tuple[dict[str, int], dict[str, int]] | None:
    """The tiles that the cost model cuts, forward and backward; None if a block has no room."""
    plans = [
        emulation.plan(scan.cell, scan.storage, scan.B, scan.H, b, tier) for b in (False, True)
    ]
    if any(plan["clocks"] == 0 for plan in plans):
        assert tier == "resident"
        assert scan.H > 100
        return None
    forward, backward = (plan["tile"] for plan in plans)
    return forward, backward


def by_hand(scan: Scan, units: int, *cut: int) -> tuple[dict[str, int], dict[str, int]]:
    """Tiles of given `units, rows, row_groups, parts, chunks`."""
    terms = scan.facts["gates"] * scan.H
    return tile(scan.storage, scan.H, units, *cut), tile(scan.storage, terms, units, *cut)


def norm_error(got: np.ndarray, exact: np.ndarray) -> float:
    return float(np.linalg.norm(got - exact)) / max(float(np.linalg.norm(exact)), 1.0)


def assert_agrees(scan: Scan, got: dict[str, np.ndarray], exact: dict[str, np.ndarray]) -> None:
    found = decoded(scan, got)
    assert found.keys() == exact.keys()
    misses = {n: relative_error(found[n], exact[n]) for n in exact}
    bound = STORAGE_RELATIVE[scan.storage]
    if scan.cell == "rnn_relu" and scan.storage in KINKED_RELATIVE:
        bound = KINKED_RELATIVE[scan.storage]
        misses = {n: norm_error(found[n], exact[n]) for n in exact}
    assert all(error <= bound for error in misses.values()), (
        f"{misses}, allowed {bound} in {scan.cell}, {scan.storage}, {(scan.T, scan.B, scan.H)}"
    )


@every_tier
@every_storage
@every_cell
def test_a_scan_and_its_gradients_agree_with_the_reference(cell: str, storage: str, tier: str):
    for T, B, H, options in PROBLEMS:
        scan = draw(cell, storage, T, B, H, FACTS[cell], **options)
        tiles = planned(scan, tier)
        if tiles is None:
            continue
        got = run_kernels(emulation, scan, tier, tiles)
        assert_agrees(scan, got, run_reference(scan))
        inference = run_kernels(emulation, scan, tier, tiles, training=False)
        for name, array in inference.items():
            assert array.tobytes() == got[name].tobytes(), f"{name} differs without a tape: {scan}"


# units, rows, row groups, parts, chunks: passes over rows, parts that do not divide, many chunks
CUTS = [(8, 3, 1, 3, 3), (16, 7, 1, 2, 2), (8, 9, 2, 5, 4), (40, 1, 1, 1, 1), (24, 12, 3, 1, 9)]


@pytest.mark.parametrize("cut", CUTS, ids=str)
@pytest.mark.parametrize("tier", ["grid", "streamed"])
@every_cell
def test_any_tile_gives_the_results(cell: str, tier: str, cut: tuple[int, ...]):
    for storage in STORAGES:
        scan = draw(cell, storage, 5, 10, 37, FACTS[cell], ragged=True, reverse=cut[0] == 8)
        got = run_kernels(emulation, scan, tier, by_hand(scan, *cut))
        assert_agrees(scan, got, run_reference(scan))


@every_storage
@every_cell
def test_every_tier_gives_the_same_bits_for_the_same_tile(cell: str, storage: str):
    scan = draw(cell, storage, 6, 7, 21, FACTS[cell], ragged=True)
    results = [run_kernels(emulation, scan, t, by_hand(scan, 24, 5, 1, 3)) for t in TIERS]
    for name, expected in results[0].items():
        for tier, other in zip(TIERS[1:], results[1:], strict=True):
            assert other[name].tobytes() == expected.tobytes(), f"{name}: {tier} in {scan}"


@every_tier
@every_storage
@every_cell
def test_threads_and_blocks_in_any_order_give_the_same_bits(cell: str, storage: str, tier: str):
    """A thread that reads in a phase what another writes in it would see it in one order alone."""
    scan = draw(cell, storage, 4, 6, 21, FACTS[cell], ragged=True, reverse=True)
    cut = by_hand(scan, 24 if tier == "resident" else 8, 5, 1, 3)
    upwards, downwards = (
        run_kernels(emulation, scan, tier, cut, backwards=b) for b in (False, True)
    )
    for name, expected in upwards.items():
        assert downwards[name].tobytes() == expected.tobytes(), f"{name} in {scan}"


def test_padding_is_never_read_and_holds_zeros():
    """NaN in x_pre and d_y past the rows' ends changes no result."""
    for reverse in (False, True):
        scan = draw("gru", "float32", 6, 5, 9, FACTS["gru"], ragged=True, reverse=reverse)
        exact = run_kernels(emulation, scan, "grid", by_hand(scan, 8, 3, 1, 2))
        past = np.arange(scan.T)[:, None] >= scan.lengths
        for name in ("x_pre", "d_y"):
            scan.data[name][past] = np.nan
        got = run_kernels(emulation, scan, "grid", by_hand(scan, 8, 3, 1, 2))
        for name, expected in exact.items():
            assert got[name].tobytes() == expected.tobytes(), name
        assert not got["y"][past].any()
        assert not got["d_x_pre"][past].any()


@pytest.mark.parametrize("storage", ["bfloat16", "float16"])
def test_storage_rounds_to_nearest_even(storage: str):
    """All exponents, ties, subnormals, overflow and NaN, against NumPy's float16 or integers."""
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**32, 200_000, dtype=np.uint32)
    halves = np.arange(2**16, dtype=np.uint32)  # every number of the type, its ties and neighbours
    numbers = halves << 16 if storage == "bfloat16" else (
        halves.astype(np.uint16).view(np.float16).astype(np.float32).view(np.uint32)
    )  # fmt: skip
    half_ulp = 0x8000 if storage == "bfloat16" else 0x1000
    every = np.concatenate([bits, numbers, numbers + half_ulp, numbers + half_ulp - 1])
    values = every.astype(np.uint32).view(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        expected = round_to(storage, values).astype(np.float32)
    expected[np.isnan(values)] = np.nan
    got = emulation.rounded(values, storage == "bfloat16")
    np.testing.assert_array_equal(got, expected)
