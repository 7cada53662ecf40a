"""The GPU cost model: every plan fits its device, over sizes that matter and many that do not."""

from __future__ import annotations

from typing import Any

import pytest
from emulated import STORAGES, TIERS, is_matrix

emulation = pytest.importorskip(
    "fastrnn._emulation", reason="built without FASTRNN_TESTING, so without the emulated GPU"
)
FACTS = emulation.device_cells()

# streaming multiprocessors, shared memory of a block: H100, A100, RTX 30 and 40, a slice of a GPU
DEVICES = [(132, 232448), (108, 166912), (46, 101376), (14, 101376)]
HS = [1, 7, 8, 9, 40, 64, 100, 128, 129, 256, 384, 512, 1000, 1024, 2048, 4096, 8191]
BS = [0, 1, 2, 5, 16, 33, 64, 256, 1000, 70_000, 3_000_000]


def check(plan: dict[str, Any], storage: str, B: int, H: int, terms: int, device: Any) -> None:
    tile, together = plan["tile"], {"float64": 2, "float32": 4, "tf32": 8}.get(storage, 16)
    processors, shared = device
    assert plan["clocks"] > 0
    assert plan["reason"]
    assert plan["shared_bytes"] <= shared
    assert tile["units"] % (16 if is_matrix(storage) else 8) == 0
    assert tile["threads"] % 32 == 0
    assert 32 <= tile["threads"] <= 512
    taken = 2 if is_matrix(storage) else tile["row_groups"]
    assert 1 <= taken * tile["parts"] * tile["units"] <= tile["threads"]
    assert tile["row_groups"] >= 1
    assert tile["row_groups"] <= 2 or not is_matrix(storage)
    assert tile["chunk"] >= 1
    assert tile["chunk"] % (tile["parts"] * together) == 0
    assert plan["row_tiles"] * tile["rows"] >= B
    assert plan["unit_tiles"] * tile["units"] >= H
    assert (plan["row_tiles"] - 1) * tile["rows"] < max(B, 1), "a block without rows"
    assert (plan["unit_tiles"] - 1) * tile["units"] < H, "a block without units"
    if plan["tier"] == "resident":
        assert plan["unit_tiles"] == 1
        assert tile["chunk"] >= terms, "the operand lies there as a whole"
    if plan["tier"] == "grid":
        assert plan["row_tiles"] * plan["unit_tiles"] <= processors


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("cell", FACTS)
def test_every_plan_fits_its_device(cell: str, storage: str):
    seen = set()
    for device in DEVICES:
        for H in HS:
            for B in BS:
                for backward in (False, True):
                    plan = emulation.plan(cell, storage, B, H, backward, "", *device)
                    terms = H * (FACTS[cell]["gates"] if backward else 1)
                    check(plan, storage, B, H, terms, device)
                    seen.add(plan["tier"])
    assert seen == set(TIERS), "a tier that nothing chooses"


@pytest.mark.parametrize("tier", TIERS)
def test_a_tier_can_be_asked_for(tier: str):
    for H in HS:
        for B in BS:
            plan = emulation.plan("lstm", "float32", B, H, False, tier)
            if plan["clocks"] > 0:
                check(plan, "float32", B, H, H, DEVICES[0])
                assert plan["tier"] == tier
            else:
                assert tier != "streamed", "launches per step fit every problem"


def test_the_chosen_plan_is_the_cheapest():
    for H in HS:
        for B in BS:
            best = emulation.plan("gru", "bfloat16", B, H, True)
            others = [emulation.plan("gru", "bfloat16", B, H, True, tier) for tier in TIERS]
            assert best["clocks"] == min(p["clocks"] for p in others if p["clocks"] > 0)
