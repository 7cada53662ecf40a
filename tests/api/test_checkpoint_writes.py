"""Writing checkpoints: atomic, under failures and kill -9."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastrnn import training as tr

pytest.importorskip("safetensors", reason="checkpoints need safetensors (extra demo)")


def test_failed_writes_leave_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.safetensors"
    model = tr.Linear(3, 3, rng=0)
    tr.save_checkpoint(path, model)
    before = path.read_bytes()
    model.weight += 1
    for name in ("fsync", "replace"):

        def fail(*arguments: Any) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(os, name, fail)
            with pytest.raises(OSError, match="No space left"):
                tr.save_checkpoint(path, model)
        assert path.read_bytes() == before
        assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]
    tr.save_checkpoint(path, model)
    assert path.read_bytes() != before


def test_the_order_of_the_system_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The data is on the disk before the rename, the rename before the return: power loss."""
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace

    def noted_fsync(handle: int) -> None:
        calls.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        fsync(handle)

    def noted_replace(source: Any, target: Any) -> None:
        calls.append("rename")
        assert Path(source).parent == Path(target).parent
        replace(source, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "replace", noted_replace)
    tr.save_checkpoint(tmp_path / "a.safetensors", tr.Linear(3, 3))
    assert calls == ["file", "rename", "folder"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    target, link = tmp_path / "target.safetensors", tmp_path / "link.safetensors"
    tr.save_checkpoint(target, tr.Linear(3, 3, rng=0))
    link.symlink_to(target)
    tr.save_checkpoint(link, tr.Linear(3, 3, rng=1))
    assert link.is_symlink()
    assert np.array_equal(tr.load_checkpoint(target).model["weight"], tr.Linear(3, 3, rng=1).weight)


KILLER = """
import json, os, random, signal, sys, time
from pathlib import Path
import numpy as np
from fastrnn.training import Linear, load_checkpoint, save_checkpoint

path, kills = Path(sys.argv[1]), int(sys.argv[2])
model = Linear(90, 90)
clock = random.Random(7)


def save(number):
    model.weight[...] = number
    save_checkpoint(path, model, extra={"number": number})


started = time.perf_counter()
for number in range(10):
    save(number)
duration = (time.perf_counter() - started) / 10
for kill in range(kills):
    reader, writer = os.pipe()
    child = os.fork()  # a process of its own, without 60 times the import
    if child == 0:
        while True:
            number += 1
            save(number)
            os.write(writer, number.to_bytes(8, "little"))
    os.close(writer)
    os.read(reader, 8)  # it is running
    time.sleep(clock.uniform(0, 2 * duration))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    acknowledged = number + 1
    while data := os.read(reader, 8):
        acknowledged = int.from_bytes(data, "little")
    os.close(reader)
    leftovers = list(path.parent.glob(".*.tmp"))
    for leftover in leftovers:
        leftover.unlink()
    checkpoint = load_checkpoint(path)
    number = checkpoint.extra["number"]
    whole = bool((checkpoint.model["weight"] == number).all())
    print(json.dumps([acknowledged, number, whole, len(leftovers)]))
"""


def test_kill_9_never_loses_a_checkpoint(tmp_path: Path) -> None:
    """100 processes that save in a loop, each killed at another moment.

    After each kill the file loads, is whole, and is at least as new as the last save that
    returned.
    """
    done = subprocess.run(
        [sys.executable, "-c", KILLER, str(tmp_path / "a.safetensors"), "100"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=300,
    )
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(records) == 100
    for acknowledged, number, whole, leftovers in records:
        assert number in (acknowledged, acknowledged + 1)
        assert whole
        assert leftovers <= 1
    inside = sum(leftovers for *_, leftovers in records)
    assert inside >= 10, f"only {inside} of 100 kills fell into a save: too few to show anything"
