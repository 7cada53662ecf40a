"""A stack of layers on a GPU: the array library's products over time around the kernels' scans.

Nothing here names a library: `Machine` holds what is used of one, so that the tests run the same
code with NumPy and the emulated kernels. Arrays are C-contiguous, of the problem's dtype, and on
the machine's device.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from ._problem import Problem

Array = Any  # of the machine's library
# Makes an array of so many numbers of a storage type, by name.
Room = Callable[[tuple[Any, ...], str], Any]


def _numpy_strides(array: Array) -> tuple[int, ...]:
    return tuple(stride // array.dtype.itemsize for stride in array.strides)


@dataclass(frozen=True)
class Machine:
    """An array library, the kernels for its memory, and where they run."""

    xp: Any  # NumPy's functions: empty (dtypes by name), multiply, concatenate
    engine: Any  # the calls of csrc/bindings_device.cpp
    address: Callable[[Array], int]
    stream: Callable[[], int]  # the library's current one
    device: int
    strides: Callable[[Array], tuple[int, ...]] = _numpy_strides  # in elements
    allows_tf32: Callable[[], bool] = lambda: False  # to products of float32
    # Where the library would take another device: inside, it takes this one.
    here: Callable[[], AbstractContextManager[Any]] = nullcontext
    wait: Callable[[], None] = lambda: None  # until the current stream is through

    def numbers(self, dtype: str) -> str:
        """What the kernels compute with for arrays of this dtype."""
        return "tf32" if dtype == "float32" and self.allows_tf32() else dtype


@dataclass(frozen=True, eq=False)
class _Scan:
    """What one direction of one layer keeps for backward."""

    h_history: Array  # (T + 1, B, H)
    c_history: Array | None
    keep: Array  # (T, B, saved*H)


def kept(
    problem: Problem, facts: dict[str, Any], T: Any, B: Any, room: Room
) -> tuple[list[Array], list[_Scan]]:
    """What a training forward keeps: the inputs of upper layers, and what each scan does.

    Everything comes from `room`, always in this order, so that one block of memory can be cut into
    it again by backward, and measured by a room that only counts; T and B may be symbols.
    """
    p, H, storage = problem, problem.hidden_size, str(problem.dtype)
    inputs = [room((T, B, p.output_size), storage) for _ in range(p.num_layers - 1)]
    scans = [
        _Scan(
            room((T + 1, B, H), storage),
            room((T + 1, B, H), _compute(storage)) if p.states == 2 else None,
            room((T, B, facts["saved"] * H), storage),
        )
        for _ in range(p.num_scans)
    ]
    return inputs, scans


def _compute(storage: str) -> str:
    return "float64" if storage == "float64" else "float32"


@lru_cache(maxsize=4096)
def _workspace_bytes(engine: Any, *scan: Any) -> int:
    """Asked once for each shape: planning a scan takes longer than launching one."""
    size: int = engine.device_workspace(*scan)
    return size


@dataclass(frozen=True, eq=False)
class DeviceTape:
    """What backward reads. It is never written, so backward may run any number of times."""

    machine: Machine
    problem: Problem
    params: list[Array]
    inputs: list[Array]  # of each layer, (T, B, I), after dropout
    masks: list[Array | None]
    scans: list[_Scan]
    lengths: Array | None
    plan: str

    @property
    def nbytes(self) -> int:
        """Memory kept, without x and the weights."""
        kept = [a for s in self.scans for a in (s.h_history, s.c_history, s.keep)]
        return sum(a.nbytes for a in kept + self.inputs[1:] + self.masks if a is not None)


class _Call:
    """One scan's sizes, and running it."""

    def __init__(self, m: Machine, p: Problem, T: int, B: int, reverse: bool, plan: str) -> None:
        self.m, self.p, self.T, self.B = m, p, T, B
        self.scan = (p.cell, m.numbers(str(p.dtype)), T, B, p.hidden_size, reverse, plan, m.device)

    def run(self, backward: bool, arrays: dict[str, Any], *strides: tuple[int, int]) -> None:
        """`arrays` are arrays, addresses, or None for absent ones."""
        m = self.m
        size = _workspace_bytes(m.engine, *self.scan, backward)
        workspace = m.xp.empty(size, "uint8")
        # Freed while the kernels may still run: what takes it next on this stream comes after.
        arrays["workspace"] = workspace
        given = {
            name: a if isinstance(a, int) else m.address(a)
            for name, a in arrays.items()
            if a is not None
        }
        call = m.engine.device_backward if backward else m.engine.device_forward
        call(*self.scan, m.stream(), size, given, *strides)


def _half(m: Machine, whole: Array, direction: int, H: int) -> tuple[int, tuple[int, int]]:
    """Address and strides of one direction's part of a (T, B, D*H) array, dense along D*H."""
    step, row, _ = m.strides(whole)
    return m.address(whole) + direction * H * whole.dtype.itemsize, (step, row)


def _row_blocks(m: Machine, found: Array, order: list[int], H: int) -> Array:
    """(G*H, ...) with its gates in the parameters' order: `order` says where each one lies."""
    if order == sorted(order):
        return found
    return m.xp.concatenate([found[place * H : (place + 1) * H] for place in order])


def forward(
    machine: Machine,
    problem: Problem,
    params: list[Array],
    x: Array,
    h_0: Array | None,
    c_0: Array | None,
    lengths: Array | None,
    masks: list[Array | None],
    training: bool,
    plan: str = "",
    y: Array | None = None,
    room: Room | None = None,
) -> tuple[Array, Array, Array | None, DeviceTape | None]:
    """Run the stack: y (T, B, D*H), h_n and c_n (L*D, B, H), and the tape if training.

    `x` is (T, B, I), `lengths` (B,) int64 in [0, T], `masks` one array (T, B, D*H) or None for the
    input of each layer, of which the first has none. The kernels add the biases, in the compute
    type. `y` is where the last layer's outputs go, dense along D*H; `room` makes what is kept.
    """
    m, p, xp = machine, problem, machine.xp
    facts = m.engine.device_cells()[p.cell]
    (T, B, _), H, storage = x.shape, p.hidden_size, str(p.dtype)
    states = [xp.empty((p.num_scans, B, H), storage) for _ in range(p.states)]
    initial = [h_0, c_0][: p.states]
    per_scan, gates = 4 if p.bias else 2, p.gates * H
    inputs, scans = kept(p, facts, T, B, room or xp.empty) if training else ([], [])
    layer_input = x
    for layer in range(p.num_layers):
        last = layer == p.num_layers - 1
        mask = None if last else masks[layer + 1]
        out = y if last else inputs[layer] if training and mask is None else None
        if out is None:
            out = xp.empty((T, B, p.output_size), storage)
        rows = layer_input.reshape(T * B, layer_input.shape[2])
        for direction in range(p.num_directions):
            scan = layer * p.num_directions + direction
            w_ih, w_hh, *biases = params[scan * per_scan : (scan + 1) * per_scan]
            half, y_strides = _half(m, out, direction, H)
            arrays = {"x_pre": rows @ w_ih.T, "weight_hh": w_hh, "lengths": lengths, "y": half}
            arrays |= dict(zip(("bias_ih", "bias_hh"), biases, strict=False))
            for name, given, final in zip("hc", initial, states, strict=False):
                arrays[f"{name}_0"] = None if given is None else given[scan]
                arrays[f"{name}_n"] = final[scan]
            if training:
                arrays |= vars(scans[scan])
            _Call(m, p, T, B, direction == 1, plan).run(
                False, arrays, (B * gates, gates), y_strides
            )
        if not last:
            layer_input = out
            if mask is not None:
                layer_input = xp.multiply(out, mask, out=inputs[layer] if training else None)
    tape = None
    if training:
        everything = (list(params), [x, *inputs], masks, scans, lengths, plan)
        tape = DeviceTape(m, p, *everything)
    return out, states[0], states[1] if p.states == 2 else None, tape


def backward(
    tape: DeviceTape, d_y: Array | None, d_h_n: Array | None, d_c_n: Array | None
) -> tuple[Array, Array, Array | None, list[Array]]:
    """Gradients of `forward`: d_x (T, B, I), d_h_0, d_c_0, and one for each parameter.

    `d_y` is dense along D*H.
    """
    m, p, xp = tape.machine, tape.problem, tape.machine.xp
    facts = m.engine.device_cells()[p.cell]
    (T, B, _), H, D, storage = tape.inputs[0].shape, p.hidden_size, p.num_directions, str(p.dtype)
    G, slots, per_scan = p.gates, facts["slots"], 4 if p.bias else 2
    x_first, h_first = facts["x_slot"] * H, facts["h_slot"] * H
    order = np.argsort(facts["h_gate"]).tolist()  # slot block of each row block
    d_states = [xp.empty((p.num_scans, B, H), storage) for _ in range(p.states)]
    arriving = [d_h_n, d_c_n][: p.states]
    grads: list[Array] = [None] * len(tape.params)
    d_out: Any = d_y
    for layer in reversed(range(p.num_layers)):
        layer_input = tape.inputs[layer]
        rows = layer_input.reshape(T * B, layer_input.shape[2])
        d_rows: Any = None
        for direction in range(D):
            scan = layer * D + direction
            first = scan * per_scan
            saved = tape.scans[scan]
            w_ih, w_hh = tape.params[first : first + 2]
            d_pre = xp.empty((T * B, slots * H), storage)
            source, strides = (None, (0, 0)) if d_out is None else _half(m, d_out, direction, H)
            arrays = {"weight_hh": w_hh, "lengths": tape.lengths, "d_pre": d_pre, "d_y": source}
            arrays |= vars(saved)
            for name, given, initial in zip("hc", arriving, d_states, strict=False):
                arrays[f"d_{name}_n"] = None if given is None else given[scan]
                arrays[f"d_{name}_0"] = initial[scan]
            _Call(m, p, T, B, direction == 1, tape.plan).run(True, arrays, strides)
            # Two windows of columns; the recurrent one has the cell's order of row blocks.
            of_x, of_h = d_pre[:, x_first : x_first + G * H], d_pre[:, h_first : h_first + G * H]
            before = saved.h_history[direction : direction + T].reshape(T * B, H)
            share = of_x @ w_ih
            d_rows = share if d_rows is None else d_rows + share
            grads[first : first + 2] = [of_x.T @ rows, _row_blocks(m, of_h.T @ before, order, H)]
            if p.bias:
                sums = _row_blocks(m, of_h.sum(axis=0), order, H)
                grads[first + 2 : first + 4] = [of_x.sum(axis=0), sums]
        d_out = d_rows.reshape(layer_input.shape)
        mask = tape.masks[layer]
        if mask is not None:
            d_out = d_out * mask
    return d_out, d_states[0], d_states[1] if p.states == 2 else None, grads
