"""Models of torch.nn, and the same after fastrnn.torch.convert: loss curves and time per epoch."""

from __future__ import annotations

import copy
import statistics
import time
from typing import Any

from bench.probes.base import Probing, Rows, say
from bench.sections import Grid, Section
from bench.tables import number, thread_text
from bench.torch_models import Task, tasks

# float32 sums in another order differ in their last digits, and Adam's steps carry that on
AGREEMENT = 1e-3
EPOCHS = {False: 4, True: 2}  # the first is not timed: it allocates, packs and wakes threads


def run(probing: Probing) -> Rows:
    """Both versions train in turn, an epoch at a time, from the same weights on the same data."""
    torch, converted = _modules()
    threads = probing.thread_count()
    before = torch.get_num_threads()
    import fastrnn

    torch.set_num_threads(threads)
    fastrnn.set_num_threads(threads)
    try:
        rows: Rows = []
        for task in tasks(probing.quick):
            if not probing.cells or task.cell in probing.cells:
                row = measure(task, converted, EPOCHS[probing.quick]) | {"threads": threads}
                say(f"{task.name}: {_ratio(row):.2f}x, losses within {row['difference']:.1e}")
                rows.append(row)
        return rows
    finally:
        torch.set_num_threads(before)


def _modules() -> tuple[Any, Any]:
    try:
        import torch

        import fastrnn.torch
    except ImportError as error:
        raise RuntimeError(f"bench: torch-epochs needs fastrnn.torch ({error})") from error
    return torch, fastrnn.torch.convert


def measure(task: Task, converted: Any, epochs: int) -> dict[str, Any]:
    """Times and losses of one task.

    Raises
    ------
    RuntimeError
        When the loss curves differ by more than rounding explains.
    """
    import torch

    torch.manual_seed(0)
    plain = task.build()
    models = {"torch": plain, "fastrnn": converted(copy.deepcopy(plain))}
    optimizers = {key: torch.optim.Adam(m.parameters(), lr=1e-3) for key, m in models.items()}
    seconds: dict[str, list[float]] = {key: [] for key in models}
    losses: dict[str, list[float]] = {key: [] for key in models}
    for turn in range(epochs):
        for key in list(models)[:: 1 if turn % 2 else -1]:
            start = time.perf_counter()
            found = task.epoch(models[key], optimizers[key])
            took = time.perf_counter() - start
            losses[key] += [float(value) for value in found]
            if turn:
                seconds[key].append(took)
    pairs = list(zip(losses["torch"], losses["fastrnn"], strict=True))
    difference = max(abs(a - b) / max(abs(a), abs(b)) for a, b in pairs)
    if not difference <= AGREEMENT:  # also when it is NaN
        raise RuntimeError(
            f"bench: {task.name}: losses differ by {difference:.1e}, expected {AGREEMENT:g} at most"
        )
    return {
        "task": task.name,
        "sizes": task.sizes,
        "steps": len(pairs),
        "seconds": seconds,
        "losses": losses,
        "difference": difference,
    }


def _ratio(row: dict[str, Any]) -> float:
    """Median of the ratios of neighbouring epochs."""
    pairs = zip(row["seconds"]["torch"], row["seconds"]["fastrnn"], strict=True)
    return statistics.median(a / b for a, b in pairs)


def section(rows: Rows) -> Section:
    """A line for each task."""
    lines = [
        [
            f"{row['task']} ({row['sizes']})",
            number(1e3 * statistics.median(row["seconds"]["torch"])),
            number(1e3 * statistics.median(row["seconds"]["fastrnn"])),
            f"{_ratio(row):.2f}x",
            f"{row['losses']['torch'][0]:.4f} -> {row['losses']['torch'][-1]:.4f}",
            f"{row['losses']['fastrnn'][0]:.4f} -> {row['losses']['fastrnn'][-1]:.4f}",
            f"{row['difference']:.1e}",
        ]
        for row in rows
    ]
    header = ["model", "torch.nn, ms", "converted, ms", "ratio", "loss", "loss, converted"]
    text = (
        f"{thread_text(rows[0]['threads']) if rows else 'No peer was timed'}, an epoch of Adam, "
        "float32, medians; the whole epoch is timed, not the layers alone. Both train from the "
        "same weights on the same data, an epoch in turn. The last column is the largest relative "
        "difference of any two losses."
    )
    return Section("Models before and after convert", [text, Grid([*header, "difference"], lines)])
