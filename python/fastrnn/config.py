"""What runs here: `info` for the machine, `explain` for one call, and the number of threads."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from . import _core
from ._check import arrays, calls, numbers
from ._form import CELL_FORMS, layer_forms
from ._parameters import Parameterized
from .cells import Cell

_FORCED = os.environ.get("FASTRNN_ISA")  # while the engine was loaded; later changes do nothing

# What `explain` asks about modules of other libraries, by their base class; entered by adapters
# when they are imported, so that nothing here imports them.
explained_by_adapters: dict[type, Callable[[Any, Any], Report]] = {}

__all__ = ["Report", "explain", "get_num_threads", "info", "set_num_threads"]


class Report(Mapping[str, Any]):
    """Named facts: a read-only mapping that prints as a table, one fact a line."""

    def __init__(self, title: str, facts: Mapping[str, Any]) -> None:
        self._title = title
        self._facts = dict(facts)

    def __getitem__(self, name: str) -> Any:
        return self._facts[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._facts)

    def __len__(self) -> int:
        return len(self._facts)

    def __repr__(self) -> str:
        width = max(map(len, self._facts), default=0)
        lines = [self._title]
        for name, value in self._facts.items():
            several = value if isinstance(value, (list, tuple)) else [value]
            for index, part in enumerate(several or ["none"]):
                lines.append(f"  {'' if index else name:<{width}}  {part}")
        return "\n".join(lines)


def info() -> Report:
    """Say what is installed and what it runs on.

    Returns
    -------
    Report
        A mapping that prints as a table. Keys: ``version``, ``isa`` (of the running kernels),
        ``isa_from``, ``isas`` (all that this machine can run, best first), ``threads`` (the most
        that a call may use now), ``threads_from``, ``cpus``, ``backends``, ``compiler``,
        ``numpy``, ``python``, ``machine``.

    Examples
    --------
    >>> import fastrnn
    >>> report = fastrnn.info()
    >>> report["isa"] in report["isas"], report["threads"] == fastrnn.get_num_threads()
    (True, True)
    """
    build = _core.build_info()
    facts = {
        "version": _version(),
        "isa": _core.isa(),
        "isa_from": _isa_source(),
        "isas": _core.isas(),
        "threads": _core.get_num_threads(),
        "threads_from": _core.num_threads_source(),
        "cpus": _cpus(),
        "backends": [
            "cpu",
            "cuda" if build["cuda"] else "cuda: this build has no CUDA kernels; pass NumPy arrays",
        ],
        "compiler": build["compiler"],
        "numpy": np.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
    }
    return Report("fastrnn", facts)


def explain(
    layer: Parameterized, x: Any, training: bool = False, recompute: bool | int = False
) -> Report:
    """Say how the engine would run a call, and why: kernel, partition, threads, copies.

    Parameters
    ----------
    layer : LSTM, GRU, RNN or a cell
        Or a module of fastrnn.torch, as `fastrnn.torch.explain` explains it.
    x : array, or a tuple of int
        The input of the call, or its shape.
    training : bool
        Explain `forward` and its `backward` instead of inference.
    recompute : bool or int
        As in `forward`, with all rows of T steps; says what the tape keeps.

    Returns
    -------
    Report
        A mapping that prints as a table: the problem (``call``, ``cell``, ``dtype``, ``T``,
        ``B``, ``I``, ``H``, ``L``, ``D``), the engine's plan, and ``notes`` on this call.

    Raises
    ------
    ValueError, TypeError
        The call itself would raise it.

    Examples
    --------
    >>> import numpy as np, fastrnn
    >>> report = fastrnn.explain(fastrnn.LSTM(3, 8, rng=0), np.zeros((5, 2, 3), ">f4"))
    >>> report["T"], report["B"], report["dtype"]
    (5, 2, 'float32')
    >>> report["notes"]
    ['x is copied because it is byte-swapped (>f4)']
    """
    for base, adapted in explained_by_adapters.items():
        if isinstance(layer, base):
            return adapted(layer, x)
    if not isinstance(layer, Parameterized):
        raise TypeError(
            f"explain: layer is {numbers.describe(layer)}, expected an LSTM, GRU, RNN or cell; "
            f"pass the layer first and its input second"
        )
    training = numbers.flag("explain", "training", training)
    segments = numbers.recompute("explain", recompute)
    problem = layer._problem
    forms = CELL_FORMS if isinstance(layer, Cell) else layer_forms(problem.batch_first)
    notes: list[str] = []
    if isinstance(x, tuple):
        shape = tuple(
            numbers.integer("explain", f"x[{axis}]", size, 0) for axis, size in enumerate(x)
        )
    else:
        found = arrays.array("explain", "x", x, problem.dtype)
        shape = found.shape
    form = calls.input_form("explain", problem, forms, shape)
    sizes = dict(zip(form.outer, shape, strict=False))
    steps, rows = sizes.get("T", 1), sizes.get("B", 1)
    calls.room("explain", problem, steps, rows, training, recompute=segments)
    if not isinstance(x, tuple):
        notes += arrays.copy_reasons("x", form.enter_sequence(found), problem.dtype)
    facts = {
        "call": type(layer).__name__ + (".forward" if training else ""),
        "cell": problem.cell,
        "dtype": str(problem.dtype),
        "T": steps,
        "B": rows,
        "I": problem.input_size,
        "H": problem.hidden_size,
        "L": problem.num_layers,
        "D": problem.num_directions,
    }
    plan = _core.plan(layer._pack("explain"), steps, rows, training, segments)
    return Report(f"{layer!r}, x {shape}", facts | plan | {"notes": notes})


def get_num_threads() -> int:
    """Most threads that a call may use now; 1 in a forked child and inside a parallel region.

    Examples
    --------
    >>> import fastrnn
    >>> fastrnn.get_num_threads() >= 1
    True
    """
    return _core.get_num_threads()


def set_num_threads(n: int) -> None:
    """Set the most threads that a call may use; results are the same bits for any number.

    Parameters
    ----------
    n : int in [1, 1024]
        For every thread of this process. It replaces the number at start: OMP_NUM_THREADS if set
        (above 1024 it counts as 1024), else the smaller of the CPU affinity and the cgroup quota.

    Raises
    ------
    ValueError
        `n` is out of range.
    TypeError
        `n` is no integer.

    Examples
    --------
    >>> import fastrnn
    >>> before = fastrnn.get_num_threads()
    >>> fastrnn.set_num_threads(1)
    >>> fastrnn.get_num_threads()
    1
    >>> fastrnn.set_num_threads(before)
    """
    _core.set_num_threads(numbers.integer("set_num_threads", "n", n, 1, _core.MAX_THREADS))


def _isa_source() -> str:
    if _core.isa() != (_FORCED or _core.isas()[0]):
        return "_core._use_isa"
    return f"FASTRNN_ISA={_FORCED}" if _FORCED else "the best that this machine can run"


def _version() -> str:
    from . import __version__

    return __version__


def _cpus() -> str:
    total = os.cpu_count()
    try:
        return f"{len(os.sched_getaffinity(0))} allowed of {total}"
    except AttributeError:  # not every system has affinities
        return str(total)
