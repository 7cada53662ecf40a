"""The one path of every call: check, prepare, run the engine, give back in the caller's form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from . import _core, _device, _gpu
from ._check import calls, memory, numbers, parameters
from ._check.arrays import HOST, Door, on_gpu
from ._form import CELL_FORMS, Form, layer_forms
from ._problem import Problem

Array = npt.NDArray[Any]
_INITIAL, _FINAL_GRADIENT = ("h_0", "c_0"), ("d_h_n", "d_c_n")
State = Any  # h, or (h, c) for cells with two states
Grads = dict[str, Array] | list[Array]


@dataclass(frozen=True, eq=False, repr=False)
class Tape:
    """What backward needs of one training call. It can be used any number of times.

    The tape holds x by reference: do not change x in place before backward. Everything else,
    the weights included, is a snapshot: changing the parameters does not change the gradients.
    """

    core: _core.Tape | _gpu.DeviceTape
    problem: Problem
    form: Form
    steps: int
    rows: int
    names: tuple[str, ...] | None  # of the parameters; None gives gradients as a list
    module: object | None  # the module that made it; None for the functional interface

    @property
    def nbytes(self) -> int:
        """Memory kept, without x and the weights."""
        return self.core.nbytes

    def __repr__(self) -> str:
        p = self.problem
        return (
            f"Tape({p.cell}, T={self.steps}, B={self.rows}, I={p.input_size}, H={p.hidden_size}, "
            f"L={p.num_layers}, D={p.num_directions}, {p.dtype}, {memory.human(self.nbytes)})"
        )

    def __reduce__(self) -> Any:
        raise TypeError(
            "Tape: a tape holds memory of the engine and cannot be pickled or copied; "
            "run backward in the process that ran forward"
        )


def forward(
    call: str,
    problem: Problem,
    pack: Callable[[], _core.Packed],
    upload: Callable[[_gpu.Machine], list[Array]],
    x: Any,
    state: State,
    lengths: Any,
    *,
    place: tuple[_gpu.Machine | None, Door] | None = None,
    training: bool,
    recompute: int = 0,
    draw_seed: Callable[[], int] = lambda: 0,
    names: tuple[str, ...] | None,
    module: object | None = None,
    one_step: bool = False,
) -> tuple[Array, State, Tape | None]:
    """Run the stack over x: (y, state, tape); the tape is None unless training.

    `pack` or, on a GPU, `upload` (given where, the parameters there) and `draw_seed` are called
    after every check has passed, so that a refused call changes nothing. `recompute` is what
    `numbers.recompute` returned.
    """
    masked = training and problem.dropout > 0 and problem.num_layers > 1
    machine, door = place or place_of(x)
    if machine is not None:
        if recompute:
            raise ValueError(
                f"{call}: recompute is {recompute}, expected False for arrays on a GPU, where "
                f"everything is kept; split x along T and carry the state to keep less"
            )
        lengths = machine.xp.asarray(lengths).get() if on_gpu(lengths) else lengths
    forms = CELL_FORMS if one_step else layer_forms(problem.batch_first)
    x, form = calls.sequence(call, problem, forms, x, door)
    steps, rows = form.time_and_rows(x)
    h_0, c_0 = calls.state(call, problem, form, _INITIAL[: problem.states], state, rows, door)
    lengths = calls.lengths(call, form, lengths, steps, rows)
    if machine is not None:
        dropout, seed = (problem.dropout, draw_seed()) if masked else (0.0, 0)
        with machine.here():
            arrays = (upload(machine), x, h_0, c_0, lengths)
            options_there = (form.batch_first, training, dropout, seed)
            y, h_n, c_n, kept = _device.forward(machine, problem, *arrays, *options_there)
        tape = None if kept is None else Tape(kept, problem, form, steps, rows, names, module)
        return form.leave_sequence(y), _leave_state(form, h_n, c_n), tape
    calls.room(call, problem, steps, rows, training, lengths, recompute)
    try:
        # only now: a copy of what cannot exist would fail
        x = door.rows_contiguous(x, problem.dtype)
        dropout, seed = (problem.dropout, draw_seed()) if masked else (0.0, 0)
        options = (form.batch_first, training, dropout, seed, recompute)
        y, h_n, c_n, core_tape = _core.forward(pack(), x, h_0, c_0, lengths, *options)
    except MemoryError:
        needed = problem.forward_bytes(steps, rows, steps * rows, training, recompute)
        raise calls.shortage(call, "x", steps, rows, needed) from None
    tape = None
    if core_tape is not None:
        tape = Tape(core_tape, problem, form, steps, rows, names, module)
    return form.leave_sequence(y), _leave_state(form, h_n, c_n), tape


def forward_once(
    call: str,
    cell: str,
    x: Any,
    params: Any,
    state: State,
    lengths: Any,
    seed: Any,
    training: Any,
    recompute: Any,
    *stack: Any,
) -> tuple[Array, State, Tape | None]:
    """`forward` of a stack that is known by its parameters alone, packed for this one call."""
    training = numbers.flag(call, "training", training)
    recompute = numbers.recompute(call, recompute)
    seed = numbers.integer(call, "seed", seed, 0, 2**64 - 1)
    place = place_of(x)
    problem, arrays, names = parameters.infer(call, cell, params, *stack, door=place[1])
    return forward(
        call,
        problem,
        lambda: problem.pack(arrays, None),
        lambda _: arrays,
        x,
        state,
        lengths,
        place=place,
        training=training,
        recompute=recompute,
        draw_seed=lambda: seed,
        names=names,
    )


def backward(
    call: str,
    tape: Any,
    d_y: Any,
    d_state: State,
    *,
    cells: tuple[str, ...],
    module: object | None = None,
) -> tuple[Array, State, Grads]:
    """Back-propagate through time: (d_x, d_state_0, grads)."""
    if not isinstance(tape, Tape):
        raise TypeError(
            f"{call}: tape is {numbers.describe(tape)}, expected the Tape that a training forward "
            f"returned last; pass the results of forward in the order tape, d_y, d_state"
        )
    if tape.problem.cell not in cells:
        raise ValueError(
            f"{call}: tape was made by the cell {tape.problem.cell}, expected "
            f"{' or '.join(cells)}; use the backward that belongs to its forward"
        )
    if module is not None and tape.module is not module:
        raise ValueError(
            f"{call}: tape was made by {'another module' if tape.module else 'a function'}, "
            f"expected one of this module; call backward of the module that ran forward"
        )
    problem, form, rows = tape.problem, tape.form, tape.rows
    door = HOST
    if isinstance(tape.core, _gpu.DeviceTape):
        door = _device.door_of(tape.core.machine)
    else:
        calls.backward_room(call, problem, tape.steps, rows)
    d_y = calls.output_gradient(call, problem, form, d_y, tape.steps, rows, door)
    names = _FINAL_GRADIENT[: problem.states]
    d_h_n, d_c_n = calls.state(call, problem, form, names, d_state, rows, door)
    try:
        if isinstance(tape.core, _gpu.DeviceTape):
            arriving = (d_h_n, d_c_n)
            with tape.core.machine.here():
                found = _device.backward(tape.core, form.batch_first, d_y, *arriving)
        else:
            found = _core.backward(tape.core, d_y, d_h_n, d_c_n)
        d_x, d_h_0, d_c_0, grads = found
    except MemoryError:
        needed = problem.backward_bytes(tape.steps, rows)
        raise calls.shortage(call, "tape", tape.steps, rows, needed) from None
    return (
        form.leave_sequence(d_x),
        _leave_state(form, d_h_0, d_c_0),
        grads if tape.names is None else dict(zip(tape.names, grads, strict=True)),
    )


def place_of(x: Any) -> tuple[_gpu.Machine | None, Door]:
    """Where x lies: the machine, None for the CPU, and how the other arguments come there."""
    return _device.door(x) if on_gpu(x) else (None, HOST)


def _leave_state(form: Form, h: Array, c: Array | None) -> State:
    return form.leave_state(h) if c is None else (form.leave_state(h), form.leave_state(c))
