"""How exact a GPU's scans are: step by step, over a thousand steps, and beside cuDNN's.

On the emulated GPU torch's CPU kernels stand in for cuDNN; that shows that the comparison compares.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from cases import SEED
from emulated import TIERS, Seam, decode, draw, run_seam
from machines import Gpu, torch_beside
from tolerances import STEP_ULPS, THOUSAND_STEPS, Float32Errors, sizes_of_errors, step_rounding

from fastrnn import _gpu, reference
from fastrnn._problem import Problem
from fastrnn.reference.direction import scan_forward

HALVES = ["bfloat16", "float16"]
BITS = {"float32": 24, "bfloat16": 8, "float16": 11}  # of a significand
SMALLEST = {"float32": -126, "bfloat16": -126, "float16": -14}  # exponent of a normal number


def ulp(storage: str, values: np.ndarray) -> np.ndarray:
    """The distance of the numbers of a type, at these."""
    exponent = np.frexp(values)[1] - 1  # 0 has any
    return 2.0 ** (np.maximum(exponent, SMALLEST[storage]) - BITS[storage] + 1)


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("storage", ["float32", *HALVES])
def test_a_step_from_the_stored_state_is_right_to_two_ulps(gpu: Gpu, storage: str, tier: str):
    """No step's error is another's: each starts from what the kernel itself stored before it."""
    for name, facts in gpu.machine.engine.device_cells().items():
        scan = draw(name, storage, 12, 5, 48, facts, seed=1)
        cell, d = reference.CELLS[name], scan.data
        seam = Seam(gpu.machine, scan, tier)
        seam.run()
        y = decode(storage, gpu.to_host(seam.outputs["y"]))
        before = [np.concatenate([d["h_0"][None], y[:-1]])]
        if cell.states == 2:
            before.append(gpu.to_host(seam.outputs["c_history"])[:-1].astype(np.float64))
        G, H = facts["gates"], scan.H
        weights = [np.eye(G * H), d["weight_hh"], d["bias_ih"], d["bias_hh"]]
        for t in range(scan.T):
            state = [s[t] for s in before]
            exact = cell.step_forward(d["x_pre"][t], state, weights)[0][0]
            # the state that passes by the product is not rounded, so one of either size may be off
            sizes = np.maximum(np.abs(exact), np.abs(state[0]))
            terms = np.abs(d["x_pre"][t]) + np.abs(state[0]) @ np.abs(d["weight_hh"]).T
            worst = terms.reshape(scan.B, G, H).max(axis=1)
            allowed = STEP_ULPS * ulp(storage, sizes) + step_rounding(H) * (1 + worst)
            excess = np.abs(y[t] - exact) / allowed
            assert excess.max() <= 1, f"{name}, step {t}: {excess.max():.3g} of what is allowed"


@pytest.mark.parametrize("storage", HALVES)
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn_tanh"])
def test_a_thousand_steps_in_16_bits_stay_near(gpu: Gpu, cell: str, storage: str):
    scan = draw(cell, storage, 1000, 3, 40, gpu.machine.engine.device_cells()[cell], seed=2)
    d, G, H = scan.data, scan.facts["gates"], scan.H
    weights = [np.eye(G * H), d["weight_hh"], d["bias_ih"], d["bias_hh"]]
    state = [d[n].copy() for n in ("h_0", "c_0")[: reference.CELLS[cell].states]]
    lengths = np.full(scan.B, scan.T)
    exact, _ = scan_forward(reference.CELLS[cell], weights, d["x_pre"], state, lengths, False)
    got = run_seam(gpu.machine, scan, "", gpu.to_host, training=False)["y"]
    error = np.linalg.norm(got - exact) / np.linalg.norm(exact)
    assert error <= THOUSAND_STEPS, f"{cell}, {storage}: {error:.3g}"


@dataclass(frozen=True)
class Layer:
    """One layer and its data, in float64 numbers that float32 has."""

    cell: str
    weights: list[np.ndarray]
    x: np.ndarray
    d_y: np.ndarray
    lengths: np.ndarray | None

    @classmethod
    def drawn(cls, cell: str, ragged: bool, throw: int) -> Layer:
        T, B, I, H = 60, 7, 24, 96
        rng = np.random.default_rng([SEED, throw])
        G = {"lstm": 4, "gru": 3}.get(cell, 1)
        shapes = [(G * H, I), (G * H, H), (G * H,), (G * H,)]
        weights = [rng.uniform(-1, 1, shape) / np.sqrt(H) for shape in shapes]
        x, d_y = rng.standard_normal((T, B, I)), rng.standard_normal((T, B, H))
        lengths = None
        if ragged:
            lengths = rng.integers(1, T + 1, B)  # cuDNN takes no empty rows
            lengths[0] = T
            x[np.arange(T)[:, None] >= lengths] = 0
            d_y[np.arange(T)[:, None] >= lengths] = 0
        rounded = [a.astype(np.float32).astype(np.float64) for a in [*weights, x, d_y]]
        return cls(cell, rounded[:4], *rounded[4:], lengths)


NAMES = ["y", "d_x", "d_weight_ih", "d_weight_hh", "d_bias_ih", "d_bias_hh"]


def by_fastrnn(gpu: Gpu, layer: Layer) -> list[np.ndarray]:
    machine, dtype = gpu.machine, np.dtype(np.float32)

    def there(values: np.ndarray) -> Any:
        return machine.xp.asarray(values.astype(np.float32))

    I, H = layer.x.shape[2], layer.d_y.shape[2]
    problem = Problem(layer.cell, I, H, 1, False, True, False, 0.0, dtype)
    lengths = None if layer.lengths is None else machine.xp.asarray(layer.lengths)
    given = ([there(w) for w in layer.weights], there(layer.x), None, None, lengths, [None])
    y, _, _, tape = _gpu.forward(machine, problem, *given, True)
    assert tape is not None
    d_x, _, _, grads = _gpu.backward(tape, there(layer.d_y), None, None)
    return [gpu.to_host(a) for a in (y, d_x, *grads)]


def by_torch(torch: Any, device: str, dtype: str, layer: Layer) -> list[np.ndarray]:
    from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

    options = {"nonlinearity": layer.cell[4:]} if layer.cell.startswith("rnn") else {}
    name = {"lstm": "LSTM", "gru": "GRU"}.get(layer.cell, "RNN")
    (T, _, I), H = layer.x.shape, layer.d_y.shape[2]
    module = getattr(torch.nn, name)(I, H, **options)
    with torch.no_grad():
        for parameter, values in zip(module.parameters(), layer.weights, strict=True):
            parameter.copy_(torch.from_numpy(values))
    module = module.to(device, getattr(torch, dtype))

    def there(values: np.ndarray) -> Any:
        return torch.from_numpy(values).to(device, getattr(torch, dtype))

    x = there(layer.x).requires_grad_()
    if layer.lengths is None:
        y = module(x)[0]
    else:
        packed = pack_padded_sequence(x, layer.lengths.tolist(), enforce_sorted=False)
        y = pad_packed_sequence(module(packed)[0], total_length=T)[0]
    grads = torch.autograd.grad(y, [x, *module.parameters()], there(layer.d_y))
    return [a.detach().cpu().numpy() for a in (y, *grads)]


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn_tanh"])
def test_float32_errs_at_most_twice_as_much_as_cudnn(gpu: Gpu, cell: str, ragged: bool):
    torch, device = torch_beside(gpu)
    # NumPy adds a column's numbers one after another, CuPy and cuDNN by a tree
    names = NAMES if gpu.is_real else NAMES[:4]
    errors = {name: Float32Errors() for name in names}
    for throw in range(6):
        layer = Layer.drawn(cell, ragged, throw)
        exact = by_torch(torch, "cpu", "float64", layer)
        ours = by_fastrnn(gpu, layer)
        # cuDNN would multiply in TF32: a thousand times our error, and no yardstick
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            theirs = by_torch(torch, device, "float32", layer)
        for name, one, other, truth in zip(NAMES, ours, theirs, exact, strict=True):
            if name in errors:
                errors[name].add(sizes_of_errors(one, truth), sizes_of_errors(other, truth))
    ratios = {name: f"{e.norms()[0] / e.norms()[1]:.2f}" for name, e in errors.items()}
    print(f"errors in units of cuDNN's, {cell}{', ragged' if ragged else ''}: {ratios}")
    missed = {name: miss for name, e in errors.items() if (miss := e.miss()) is not None}
    assert not missed
