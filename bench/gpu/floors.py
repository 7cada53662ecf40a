"""The least time that a recurrent step, and a layer, can take on a GPU, by a simple model.

A step is as fast as the best of these, and no faster than device memory brings what it must read
and takes what it must write:

block       one block has all weights of its rows: arithmetic, cell, no hand-over
cluster     2 to 16 blocks share the weights, and push h to each other once per step
grid        blocks of all processors share them, and hand h over through L2 once per step
product     the weights come anew at every step, from chip, L2 and memory: a launch per step

Groups of blocks split the rows between them. Weights of a block stay in registers, then in shared
memory, where they are read at every step. 16-bit types multiply on tensor cores, where rows count
by eights; float32 and float64 as FMAs, for their products are not rounded to fewer bits. The
figures in `Chip` are published ones of an H100 SXM; `measured` puts in what
bench/gpu/microbenchmarks.cu found.
This is arithmetic to judge a time by, not a law.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}
STATES = {"lstm": 2, "gru": 1, "rnn_tanh": 1, "rnn_relu": 1}
BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}
MOST_GROUPS_OF_8, MOST_GROUPS_OF_16 = 15, 7  # clusters that run at once on an H100's 132 processors


@dataclass(frozen=True)
class Chip:
    """A GPU in a few numbers. Rates are per clock and processor unless they say otherwise."""

    name: str = "H100 SXM, published figures"
    processors: int = 132
    ghz: float = 1.755
    clusters: bool = True
    register_bytes: int = 128 << 10  # of weights, in a processor's registers
    shared_bytes: int = 192 << 10  # of weights, in its shared memory
    l2_bytes: int = 40_000_000
    tensor_flops: float = 4096.0  # 16 bits
    few_rows: float = 0.64  # of tensor_flops, below 32 rows (mma)
    many_rows: float = 0.95  # from 32 rows on (wgmma)
    float_flops: float = 256.0
    double_flops: float = 128.0
    shared_rate: float = 124.0  # bytes
    l2_rate: float = 36.0  # bytes, all processors reading
    cluster_rate: float = 14.0  # bytes
    memory_gb_s: float = 3350.0
    hop_us: float = 0.6  # flag released, acquired, through L2
    cluster_us: float = 0.25  # pushed to a peer of the cluster, and seen
    cell_us: float = 0.15  # what a step does besides
    launch_us: float = 1.3  # a kernel after another

    def us(self, clocks: float) -> float:
        """Microseconds of so many clocks."""
        return clocks / (self.ghz * 1e3)


@dataclass(frozen=True)
class Floor:
    """The least microseconds, and what they are made of."""

    us: float
    how: str


def measured(chip: Chip, found: dict[str, Any]) -> Chip:
    """The chip with what the micro-benchmarks found; what they could not measure stays."""

    def least(name: str, **sizes: float) -> float | None:
        values = [
            cost["value"]
            for cost in found["costs"]
            if cost["name"] == name
            and cost["status"] == "measured"
            and cost["value"]
            and all(cost["sizes"].get(key) == value for key, value in sizes.items())
        ]
        return min(values, default=None)

    device = found["device"]
    hop, ring = least("flag hop"), least("cluster ring hop", blocks=8)
    launch, memory = least("kernel after kernel in a graph"), least("read from HBM")
    l2 = next(
        (c["value"] for c in found["costs"] if c["unit"] == "bytes/clock/processor"
         and c["name"] == "read from L2"), None,
    )  # fmt: skip
    changes = {
        "name": f"{device['name']}, measured where it could be",
        "processors": int(device["processors"]),
        "ghz": device["clock_ghz"],
        "clusters": device["compute_capability"] >= 90,
        "hop_us": hop and hop / 1e3,
        "cluster_us": ring and ring / 1e3,
        "launch_us": launch and launch / 1e3,
        "memory_gb_s": memory,
        "l2_rate": l2,
        "shared_rate": least("read from shared memory"),
    }
    return replace(chip, **{name: value for name, value in changes.items() if value is not None})


def step_floor(
    chip: Chip,
    cell: str,
    dtype: str,
    rows: int,
    H: int,
    backward: bool = False,
    train: bool = False,
) -> Floor:
    """One step of the recurrence alone, the input's product already made."""
    if rows == 0:
        return Floor(0.0, "no rows")
    G, e = GATES[cell], BYTES[dtype]
    # What a row hands over: h; backward, a sum of partial gradients, or all gates' if that is less.
    handed = min(G * e, max(e, 4)) * H if backward else e * H
    weights = G * H * H * e
    found = [
        _shared_weights(chip, dtype, G, rows, H, weights, handed, blocks, most, us, rate, how)
        for blocks, most, us, rate, how in _groups(chip)
    ]
    found.append(_product(chip, dtype, G, rows, H, weights))
    best = min((f for f in found if f is not None), key=lambda f: f.us)
    moved = rows * H * _numbers_moved(cell, dtype, backward, train)
    memory = moved / chip.memory_gb_s * 1e-3
    return Floor(memory, "device memory") if memory > best.us else best


def _groups(chip: Chip) -> list[tuple[int, int, float, float, str]]:
    """Blocks that share weights, how many such groups at once, their hand-over and its rate."""
    P = chip.processors
    groups = [(1, P, 0.0, chip.l2_rate, "block")]
    if chip.clusters:
        for blocks in (2, 4, 8, 16):
            limit = {8: MOST_GROUPS_OF_8, 16: MOST_GROUPS_OF_16}.get(blocks, P)
            most = min(P // blocks, limit)
            groups.append(
                (blocks, most, chip.cluster_us, chip.cluster_rate, f"cluster of {blocks}")
            )
    for count in range(1, 9):
        if P // count > 1:
            how = f"grid, {count} x {P // count} blocks"
            groups.append((P // count, count, chip.hop_us, chip.l2_rate, how))
    return groups


def _shared_weights(
    chip: Chip, dtype: str, G: int, rows: int, H: int, weights: int, handed: int,
    blocks: int, most: int, hand_over_us: float, rate: float, how: str,
) -> Floor | None:  # fmt: skip
    each = weights / blocks
    if each > chip.register_bytes + chip.shared_bytes:
        return None
    rows_each = -(-rows // min(most, rows))
    arithmetic = _arithmetic_us(chip, dtype, rows_each, 2 * G * H * H / blocks)
    reading = chip.us(max(0.0, each - chip.register_bytes) / chip.shared_rate)
    exchange = chip.us(rows_each * handed * (blocks - 1) / blocks / rate)
    return Floor(hand_over_us + chip.cell_us + max(arithmetic, reading) + exchange, how)


def _product(chip: Chip, dtype: str, G: int, rows: int, H: int, weights: int) -> Floor:
    P = chip.processors
    away = max(0.0, weights - P * float(chip.register_bytes + chip.shared_bytes))
    from_l2 = min(away, chip.l2_bytes)
    reading = chip.us(from_l2 / P / chip.l2_rate) + (away - from_l2) / chip.memory_gb_s * 1e-3
    if away == 0:  # nothing keeps weights from one launch to the next
        reading = chip.us(weights / P / chip.l2_rate)
    arithmetic = _arithmetic_us(chip, dtype, rows, 2 * G * H * H / P)
    return Floor(chip.launch_us + chip.cell_us + max(arithmetic, reading), "product")


def _arithmetic_us(chip: Chip, dtype: str, rows: int, flops_a_row: float) -> float:
    if BYTES[dtype] > 2:
        rate = chip.float_flops if dtype == "float32" else chip.double_flops
        return chip.us(rows * flops_a_row / rate)
    padded = -(-rows // 8) * 8
    share = chip.many_rows if padded >= 32 else chip.few_rows
    return chip.us(padded * flops_a_row / (chip.tensor_flops * share))


def _numbers_moved(cell: str, dtype: str, backward: bool, train: bool) -> float:
    """Bytes per row and unit that a step reads from and writes to device memory."""
    G, e = GATES[cell], BYTES[dtype]
    kept = G * e + e + (max(e, 4) if STATES[cell] == 2 else 0)  # saved values, h, c
    if backward:
        return kept + e + G * e  # d_y, d_pre
    return G * e + e + (kept if train else 0)  # x_pre, y


def scan_floor(
    chip: Chip, cell: str, dtype: str, lengths: list[int], H: int, backward: bool = False,
    train: bool = False,
) -> Floor:  # fmt: skip
    """All steps of a scan; in each, only the rows that are still alive count."""
    alive = Counter(
        sum(length > s for length in lengths) for s in range(max(lengths, default=0))
    )  # rows alive: number of steps
    steps = {rows: step_floor(chip, cell, dtype, rows, H, backward, train) for rows in alive}
    us = sum(steps[rows].us * count for rows, count in alive.items())
    return Floor(us, steps[max(alive)].how if alive else "no steps")


def layer_floor(
    chip: Chip, cell: str, dtype: str, lengths: list[int], T: int, I: int, H: int, train: bool
) -> Floor:
    """A layer's forward pass, or with `train` forward and backward, products over time included."""
    scan = scan_floor(chip, cell, dtype, lengths, H, False, train)
    G, e, rows = GATES[cell], BYTES[dtype], T * len(lengths)
    us = scan.us + _matrix_us(chip, dtype, rows, I, G * H, e)
    if train:
        us += scan_floor(chip, cell, dtype, lengths, H, True).us
        us += 2 * _matrix_us(chip, dtype, rows, I, G * H, e)  # d_x, d_weight_ih
        us += _matrix_us(chip, dtype, rows, H, G * H, e)  # d_weight_hh
    return Floor(us, scan.how)


def _matrix_us(chip: Chip, dtype: str, rows: int, inner: int, columns: int, e: int) -> float:
    """A product of (rows, inner) and (inner, columns), or one with the same numbers elsewhere."""
    flops = 2.0 * rows * inner * columns
    rate = {2: chip.tensor_flops * chip.many_rows, 4: chip.float_flops, 8: chip.double_flops}[e]
    arithmetic = chip.us(flops / chip.processors / rate)
    moved = (rows * (inner + columns) + inner * columns) * e
    return max(arithmetic, moved / chip.memory_gb_s * 1e-3)
