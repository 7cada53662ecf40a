"""DDP and FSDP on two gloo ranks train as one process does on the joined batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from proof_subject import SUBJECT

torch = pytest.importorskip("torch", reason="the proof needs torch", exc_type=ImportError)
pytestmark = pytest.mark.skipif(
    not torch.distributed.is_available() or not torch.distributed.is_gloo_available(),
    reason="this torch is built without gloo",
)
HERE = Path(__file__).parent


def train(kind: str, world: int, folder: Path) -> dict[str, Any]:
    """What rank 0 prints; every rank must end well, within two minutes."""
    path = os.pathsep.join([str(HERE), *filter(None, sys.path)])
    environment = os.environ | {"FASTRNN_PROOF_SUBJECT": SUBJECT, "PYTHONPATH": path}
    ranks = [
        subprocess.Popen(
            [
                *(sys.executable, str(HERE / "ranks_worker.py"), kind, str(rank), str(world)),
                str(folder / f"store-{kind}-{world}"),
            ],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(world)
    ]
    try:
        outputs = [rank.communicate(timeout=120) for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
            rank.wait()
            for pipe in (rank.stdout, rank.stderr):
                assert pipe is not None
                pipe.close()  # here, not where somebody collects garbage
    for rank, (_, errors) in zip(ranks, outputs, strict=True):
        assert rank.returncode == 0, errors
    return json.loads(outputs[0][0])


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return train("ddp", 1, tmp_path_factory.mktemp("ranks"))


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_two_ranks(kind: str, alone: dict[str, Any], tmp_path: Path) -> None:
    together = train(kind, 2, tmp_path)
    assert len(alone["losses"]) == 5
    assert alone["losses"][-1] < alone["losses"][0]

    def tensor(values: Any) -> Any:
        return torch.tensor(values, dtype=torch.float64)

    torch.testing.assert_close(tensor(together["losses"]), tensor(alone["losses"]))
    assert set(together["parameters"]) == set(alone["parameters"])
    for name, values in alone["parameters"].items():
        torch.testing.assert_close(tensor(together["parameters"][name]), tensor(values))
