"""Reading checkpoints: bit for bit, and every damage found."""

from __future__ import annotations

import json
import os
import signal
import stat
import struct
from pathlib import Path

import numpy as np
import pytest
from checkpoint_runs import PLATEAU_LR, assert_equal, run, small_model

import fastrnn
from fastrnn import training as tr

pytest.importorskip("safetensors", reason="checkpoints need safetensors (extra demo)")


@pytest.mark.parametrize("at", [1, 7, 21, 22, 43])  # validation every 7, an epoch has 21 windows
def test_resume_is_bitwise(tmp_path: Path, at: int) -> None:
    """Ctrl-C in step `at`, continued from the file: as if it had never stopped.

    Dropout masks of both kinds, Adam's moments, the plateau schedule, the carried state and the
    place in the epoch all have to come back for that.
    """
    path = tmp_path / "a.safetensors"

    def interrupt(history: tr.History, loss: float) -> None:
        if history.steps == at:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(steps=60, checkpoint=path, callbacks=[interrupt])
    checkpoint = tr.load_checkpoint(path)
    assert checkpoint.loop["history"]["steps"] == at
    whole, resumed = run(steps=60), run(steps=60, resume=checkpoint)
    assert_equal(whole, resumed)
    assert resumed[1].lr < PLATEAU_LR / 2, "the schedule hardly acted: the test sees too little"


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    model = small_model()
    adam = tr.Adam(model.parameters(), 3e-3)
    grads = {k: np.ones_like(v) for k, v in model.parameters().items()}
    adam.step(grads)
    model.pieces["dropout"].forward(np.ones(3, np.float32))
    state = ((np.arange(6.0).reshape(1, 2, 3), None), np.float32([[1]]))
    extra = {"text": "é\n\u2028", "number": 0.1, "list": [1, None, True]}
    tr.save_checkpoint(path, model, adam, state=state, loop={"x": 1}, extra=extra)
    found = tr.load_checkpoint(path)
    assert (found.extra, found.loop, found.rng) == (extra, {"x": 1}, model.rng_state())
    assert np.array_equal(found.state[0][0], state[0][0])
    assert found.state[0][1] is None
    assert found.state[1].dtype == np.float32
    other = small_model()
    for array in other.parameters().values():
        array[...] = 7
    other_adam = tr.Adam(other.parameters())
    found.restore(other, other_adam)
    assert_equal((model, adam), (other, other_adam))
    # any safetensors reader gets the weights
    from safetensors.numpy import load_file

    weights = load_file(path)
    assert np.array_equal(weights["model.head.weight"], model.parameters()["head.weight"])
    # rights are those of any new file, not those of a private temporary one
    plain = tmp_path / "plain"
    plain.write_text("")
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.safetensors", "plain"]


def test_a_bare_layer_can_be_saved(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    gru = fastrnn.GRU(3, 4, dtype=np.float64, rng=1)
    tr.save_checkpoint(path, gru)
    other = fastrnn.GRU(3, 4, dtype=np.float64, rng=2)
    tr.load_checkpoint(path).restore(other)
    assert all(np.array_equal(v, other.parameters()[k]) for k, v in gru.parameters().items())


def test_other_models_are_refused_and_nothing_changes(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    model = small_model()
    tr.save_checkpoint(path, model, tr.Adam(model.parameters()))
    checkpoint = tr.load_checkpoint(path)
    for other in (
        small_model(hidden=5),
        small_model(dtype=np.float64),
        tr.Sequential(tr.Linear(2, 2)),
        tr.Sequential(embedding=tr.Embedding(6, 3)),
    ):
        before = other.state_dict()
        with pytest.raises(ValueError, match=r"a\.safetensors is of another model: it .*"):
            checkpoint.restore(other)
        assert all(np.array_equal(before[k], v) for k, v in other.parameters().items())
    with pytest.raises(ValueError, match="expected 'sgd'"):
        checkpoint.restore(model, tr.SGD(model.parameters()))
    tr.save_checkpoint(path, model)
    with pytest.raises(ValueError, match="no optimizer state"):
        tr.load_checkpoint(path).restore(model, tr.Adam(model.parameters()))
    with pytest.raises(ValueError, match="no training loop"):
        run(steps=1, resume=tr.load_checkpoint(path))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"x",
        b"\x00" * 8,
        b"\xff" * 100,
        b"PK\x03\x04" + b"\x00" * 400,
        b"\x80\x04\x95" + b"\x00" * 60,  # the start of a pickle
        struct.pack("<Q", 2) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 1 << 60) + b"{}",
        struct.pack("<Q", 20) + b'{"__metadata__": 1 } ',
    ],
)
def test_foreign_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.safetensors is "):
        tr.load_checkpoint(path)


def test_a_safetensors_file_of_another_program_is_refused(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    path = tmp_path / "a.safetensors"
    save_file({"model.w": np.zeros(3)}, path)
    with pytest.raises(ValueError, match="neither fastrnn train nor save_checkpoint wrote it"):
        tr.load_checkpoint(path)


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"load_checkpoint: .*nope does not exist, expect"):
        tr.load_checkpoint(tmp_path / "nope")


def test_every_truncation_and_bit_flip_is_found(tmp_path: Path) -> None:
    """Every 64th length, and a flip in every byte: refused with one sentence, or identical."""
    path = tmp_path / "a.safetensors"
    model = tr.Linear(7, 5, rng=0)
    adam = tr.Adam(model.parameters())
    adam.step({k: np.ones_like(v) for k, v in model.parameters().items()})
    tr.save_checkpoint(path, model, adam, extra={"note": "x" * 20})
    whole = path.read_bytes()
    (header,) = struct.unpack("<Q", whole[:8])
    assert json.loads(whole[8 : 8 + header])  # 8 bytes of length, a header, the tensors
    found = identical = 0

    def check(data: bytes) -> None:
        nonlocal found, identical
        path.write_bytes(data)
        try:
            checkpoint = tr.load_checkpoint(path)
        except ValueError as error:
            message = str(error)
        else:
            message = ""
        if message:
            assert message.count("\n") == 0
            found += 1
            return
        for name, array in model.parameters().items():
            assert np.array_equal(checkpoint.model[name], array)
        assert checkpoint.optimizer is not None
        assert checkpoint.optimizer["steps"] == 1
        assert np.array_equal(
            checkpoint.optimizer["state"]["exp_avg"]["bias"], adam.state["exp_avg"]["bias"]
        )
        assert checkpoint.extra == {"note": "x" * 20}
        identical += 1

    for size in (*range(0, len(whole), 64), len(whole) - 1):
        check(whole[:size])
    assert identical == 0
    check(whole + b"\x00")
    for byte in range(len(whole)):
        damaged = bytearray(whole)
        damaged[byte] ^= 1 << (byte % 8)
        check(bytes(damaged))
    assert found > 0.95 * len(whole)
    assert identical < 0.05 * len(whole)  # flips in the padding of the header
