"""CUDA graphs and streams: captured calls replay the same bits, and calls stay on their stream.

The emulated GPU has neither; on it the bodies run without them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from emulated import TIERS, Scan, Seam, draw, poisoned
from machines import Gpu

from fastrnn import _gpu
from fastrnn._problem import Problem

CELLS = [("lstm", "float32"), ("gru", "bfloat16"), ("rnn_tanh", "float16")]
REPLAYS = 20
ROUNDS = 8
STRANGERS = 3


def bits(results: dict[str, np.ndarray]) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in results.items()}


def drawn(gpu: Gpu, cell: str, storage: str) -> Scan:
    facts = gpu.machine.engine.device_cells()[cell]
    return draw(cell, storage, 9, 10, 72, facts, ragged=True, seed=3)


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize(("cell", "storage"), CELLS)
def test_a_captured_call_replays_the_same_bits(gpu: Gpu, cell: str, storage: str, tier: str):
    """The grid tier's cooperative launches too: zeroing the flags is part of the graph."""
    seam = Seam(gpu.machine, drawn(gpu, cell, storage), tier)
    seam.run()
    expected = bits(seam.results(gpu.to_host))
    replay = gpu.capture(seam.run)
    for _ in range(REPLAYS):
        seam.poison()
        gpu.wait()
        replay()
        assert bits(seam.results(gpu.to_host)) == expected


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize(("cell", "storage"), CELLS)
def test_a_call_stays_on_its_stream(gpu: Gpu, cell: str, storage: str, tier: str):
    """Its inputs arrive late, after a delay on its stream, and are overwritten right behind it.

    A kernel on another stream would read NaN on either side. Meanwhile other streams delay and
    scribble.
    """
    scan = drawn(gpu, cell, storage)
    seam = Seam(gpu.machine, scan, tier)
    seam.run()
    expected = bits(seam.results(gpu.to_host))
    xp = gpu.machine.xp
    given = {name: array.copy() for name, array in seam.inputs.items()}
    garbage = {
        name: xp.asarray(np.zeros(array.shape, np.int64) if name == "lengths"
                         else poisoned(storage, *array.shape))
        for name, array in seam.inputs.items()
    }  # fmt: skip
    gpu.wait()
    stream, strangers = gpu.stream(), [gpu.stream() for _ in range(STRANGERS)]
    for _ in range(ROUNDS):
        for stranger in strangers:
            with gpu.on(stranger):
                gpu.delay()
                scribble(gpu, seam)
        with gpu.on(stream):
            seam.poison()
            fill(seam.inputs, garbage)
            gpu.delay()
            fill(seam.inputs, given)
            seam.run()
            fill(seam.inputs, garbage)
            kept = {name: array.copy() for name, array in seam.outputs.items()}
            seam.poison()
        gpu.wait(stream)
        fill(seam.outputs, kept)
        gpu.wait()
        assert bits(seam.results(gpu.to_host)) == expected


def fill(arrays: dict[str, Any], values: dict[str, Any]) -> None:
    for name, array in arrays.items():
        array[...] = values[name]


def scribble(gpu: Gpu, seam: Seam) -> None:
    """Takes memory of the sizes that a call takes and has just freed, fills it, lets it go."""
    for array in [*seam.workspaces, *seam.outputs.values()]:
        taken = gpu.machine.xp.empty(array.nbytes, np.uint8)
        taken[...] = 0xFF


@pytest.mark.parametrize("plan", TIERS)
def test_what_a_stack_frees_may_be_taken_while_it_runs(gpu: Gpu, plan: str):
    """x W_ih^T and the workspaces go back to the pool before the kernels have run."""
    machine, xp = gpu.machine, gpu.machine.xp
    T, B, I, H = 9, 6, 5, 40
    rng = np.random.default_rng(4)
    problem = Problem("lstm", I, H, 2, True, True, False, 0.0, np.dtype(np.float32))
    shapes = [
        shape
        for layer in range(2)
        for _ in range(2)
        for shape in ((4 * H, 2 * H if layer else I), (4 * H, H), (4 * H,), (4 * H,))
    ]

    def there(*shape: int) -> Any:
        return xp.asarray(rng.uniform(-0.3, 0.3, shape).astype(np.float32))

    params, x, d_y = [there(*shape) for shape in shapes], there(T, B, I), there(T, B, 2 * H)
    gpu.wait()

    def both() -> list[Any]:
        y, h_n, c_n, tape = _gpu.forward(
            machine, problem, params, x, None, None, None, [None, None], True, plan
        )
        assert tape is not None
        d_x, d_h_0, d_c_0, grads = _gpu.backward(tape, d_y, None, None)
        return [y, h_n, c_n, d_x, d_h_0, d_c_0, *grads]

    expected = [gpu.to_host(a).tobytes() for a in both()]
    sizes = [T * B * 4 * H * 4, T * B * 2 * H * 4] + [
        machine.engine.device_workspace(
            "lstm", "float32", T, B, H, False, plan, machine.device, backward
        )
        for backward in (False, True)
    ]
    stream, strangers = gpu.stream(), [gpu.stream() for _ in range(STRANGERS)]
    for _ in range(ROUNDS):
        with gpu.on(stream):
            gpu.delay()
            got = both()
        for other in [stream, *strangers]:
            with gpu.on(other):
                for size in sizes * 4:
                    taken = xp.empty(size, np.uint8)
                    taken[...] = 0xFF
        gpu.wait(stream)
        assert [gpu.to_host(a).tobytes() for a in got] == expected
        gpu.wait()
