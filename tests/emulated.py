"""The CUDA kernels on the CPU (`fastrnn._emulation`), driven as their caller on a GPU drives them.

A problem is one scan: x_pre stands for x W_ih^T, so the reference runs with W_ih = identity and its
d_x is the gradient of x_pre. Every array holds numbers of the storage type exactly, so both sides
start from the same data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastrnn import reference
from fastrnn.reference.direction import scan_backward, scan_forward

STORAGES = ["float32", "float64", "bfloat16", "float16", "tf32"]
TIERS = ["resident", "grid", "streamed"]
INPUTS = ("x_pre", "weight_hh", "bias_ih", "bias_hh", "h_0", "c_0", "d_y", "d_h_n", "d_c_n")


def memory_of(storage: str) -> str:
    """The dtype of arrays whose numbers have a dtype of NumPy's."""
    return "float32" if storage == "tf32" else storage


def round_to(storage: str, values: np.ndarray) -> np.ndarray:
    """The nearest numbers of the storage type, in float64."""
    if storage == "bfloat16":
        bits = np.ascontiguousarray(values, np.float32).view(np.uint32).astype(np.uint64)
        bits = (bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000
        return bits.astype(np.uint32).view(np.float32).astype(np.float64)
    return values.astype(memory_of(storage)).astype(np.float64)


def encode(storage: str, values: np.ndarray) -> np.ndarray:
    """As the kernels read them; bfloat16 as the upper halves of float32."""
    if storage == "bfloat16":
        bits = np.ascontiguousarray(values, np.float32).view(np.uint32) >> 16
        return np.ascontiguousarray(bits.astype(np.uint16))
    return np.ascontiguousarray(values.astype(memory_of(storage)))


def decode(storage: str, array: np.ndarray) -> np.ndarray:
    if storage == "bfloat16":
        return (array.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    return array.astype(np.float64)


def poisoned(storage: str, *shape: int) -> np.ndarray:
    """Memory that nobody has written: NaN."""
    if storage == "bfloat16":
        return np.full(shape, 0xFFFF, np.uint16)
    return np.full(shape, np.nan, memory_of(storage))


def is_matrix(storage: str) -> bool:
    """Whether the kernels multiply this type by matrix instructions."""
    return storage in ("bfloat16", "float16", "tf32")


@dataclass
class Scan:
    """One scan and its data in float64, every number one of the storage type."""

    cell: str
    storage: str
    T: int
    B: int
    H: int
    reverse: bool
    lengths: np.ndarray | None
    data: dict[str, np.ndarray | None]
    facts: dict[str, Any]

    @property
    def compute(self) -> str:
        return "float64" if self.storage == "float64" else "float32"


def draw(
    cell: str,
    storage: str,
    T: int,
    B: int,
    H: int,
    facts: dict[str, Any],
    *,
    reverse: bool = False,
    ragged: bool = False,
    bias: bool = True,
    states: bool = True,
    arriving: bool = True,
    seed: int = 0,
) -> Scan:
    """Random data: torch's initialisation, unit inputs."""
    rng = np.random.default_rng([seed, T, B, H])
    G = facts["gates"]

    def uniform(*shape: int) -> np.ndarray:
        return round_to(storage, rng.uniform(-1, 1, shape) / np.sqrt(H))

    def normal(*shape: int) -> np.ndarray:
        return round_to(storage, rng.normal(size=shape))

    has_c = facts["states"] == 2
    data: dict[str, np.ndarray | None] = {
        "x_pre": normal(T, B, G * H),
        "weight_hh": uniform(G * H, H),
        "bias_ih": uniform(G * H) if bias else None,
        "bias_hh": uniform(G * H) if bias else None,
        "h_0": normal(B, H) if states else None,
        "c_0": normal(B, H) if states and has_c else None,
        "d_y": normal(T, B, H),
        "d_h_n": normal(B, H) if arriving else None,
        "d_c_n": normal(B, H) if arriving and has_c else None,
    }
    lengths = None
    if ragged:
        lengths = rng.integers(0, T + 1, B)
        lengths[rng.permutation(B)[:2]] = [0, T][:B]
    return Scan(cell, storage, T, B, H, reverse, lengths, data, facts)


def run_reference(scan: Scan) -> dict[str, np.ndarray]:
    """Outputs and every gradient of the plain float64 loop."""
    d, G, H = scan.data, scan.facts["gates"], scan.H
    cell, zeros = reference.CELLS[scan.cell], np.zeros(G * H)
    bias_ih, bias_hh = (zeros if d[n] is None else d[n] for n in ("bias_ih", "bias_hh"))
    weights = [np.eye(G * H), d["weight_hh"], bias_ih, bias_hh]
    lengths = np.full(scan.B, scan.T) if scan.lengths is None else scan.lengths

    def pair(h: str, c: str) -> list[np.ndarray]:
        names = [h, c][: cell.states]
        return [np.zeros((scan.B, H)) if d[n] is None else d[n].copy() for n in names]

    state = pair("h_0", "c_0")
    y, steps = scan_forward(cell, weights, d["x_pre"], state, lengths, scan.reverse)
    d_state = pair("d_h_n", "d_c_n")
    d_x, d_weights = scan_backward(cell, weights, steps, d["d_y"], d_state)
    result = {"y": y, "h_n": state[0], "d_x_pre": d_x, "d_h_0": d_state[0]}
    if cell.states == 2:
        result |= {"c_n": state[1], "d_c_0": d_state[1]}
    return result | {
        "d_weight_hh": d_weights[1], "d_bias_ih": d_weights[2], "d_bias_hh": d_weights[3]
    }  # fmt: skip


def run_kernels(
    emulation: Any,
    scan: Scan,
    tier: str,
    tiles: tuple[dict[str, int], dict[str, int]],
    *,
    training: bool = True,
    backwards: bool = False,
) -> dict[str, np.ndarray]:
    """Outputs and gradients of the kernels, undecoded but for those that the caller multiplies."""
    T, B, H, facts, storage = scan.T, scan.B, scan.H, scan.facts, scan.storage
    G, slots = facts["gates"], facts["slots"]
    given = {n: None if a is None else encode(storage, a) for n, a in scan.data.items()}
    arrays = given | {"lengths": scan.lengths, "y": poisoned(storage, T, B, H)}
    names = ["h", "c"][: facts["states"]]
    arrays |= {f"{n}_n": poisoned(storage, B, H) for n in names}
    if training:
        arrays["h_history"] = poisoned(storage, T + 1, B, H)
        arrays["keep"] = poisoned(storage, T, B, max(facts["saved"], 1) * H)
        if facts["states"] == 2:
            arrays["c_history"] = poisoned(scan.compute, T + 1, B, H)
    call = (scan.cell, storage, tier, T, B, H, scan.reverse)
    emulation.forward(*call, tiles[0], arrays, backwards)
    results = {n: arrays[n] for n in ["y"] + [f"{n}_n" for n in names]}
    if not training:
        return results
    arrays |= {f"d_{n}_0": poisoned(storage, B, H) for n in names}
    arrays["d_pre"] = poisoned(storage, T, B, slots * H)
    emulation.backward(*call, tiles[1], arrays, backwards)
    results |= {f"d_{n}_0": arrays[f"d_{n}_0"] for n in names}
    # what the array library does: both windows are pieces of d_pre, the recurrent one reordered
    d_pre = arrays["d_pre"]
    x_first, h_first = facts["x_slot"] * H, facts["h_slot"] * H
    results["d_x_pre"] = d_pre[..., x_first : x_first + G * H]
    window = decode(storage, d_pre[..., h_first : h_first + G * H])
    first = 1 if scan.reverse else 0
    h_before = decode(storage, arrays["h_history"][first : first + T])
    blocks = np.einsum("tbk,tbh->kh", window, h_before).reshape(G, H, H)
    sums = window.sum(axis=(0, 1)).reshape(G, H)
    d_weight, d_bias = np.empty_like(blocks), np.empty_like(sums)
    d_weight[facts["h_gate"]], d_bias[facts["h_gate"]] = blocks, sums
    x_window = decode(storage, results["d_x_pre"])
    results["d_weight_hh"], results["d_bias_hh"] = d_weight.reshape(G * H, H), d_bias.reshape(-1)
    results["d_bias_ih"] = x_window.sum(axis=(0, 1))
    return results


def decoded(scan: Scan, results: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """All results in float64; those that the caller multiplied are already."""
    sums = ("d_weight_hh", "d_bias_hh", "d_bias_ih")
    return {n: a if n in sums else decode(scan.storage, a) for n, a in results.items()}


def tile(
    storage: str, terms: int, units: int, rows: int, row_groups: int, parts: int, chunks: int = 1
) -> dict[str, int]:
    """A tile by hand; the terms come in so many chunks.

    Matrix instructions want units by sixteens and at most two row groups.
    """
    together = {"float64": 2, "float32": 4, "tf32": 8}.get(storage, 16)
    threads = -(-units * row_groups * parts // 32) * 32
    if is_matrix(storage):
        units, row_groups = -(-units // 16) * 16, min(row_groups, 2)
        threads = units * 2 * parts
    step = parts * together
    whole = -(-terms // step)
    chunk = -(-whole // chunks) * step
    return {
        "units": units, "rows": rows, "row_groups": row_groups, "parts": parts,
        "threads": threads, "chunk": chunk,
    }  # fmt: skip


class Seam:
    """A scan through the seam of a GPU (`fastrnn._gpu.Machine`): all its memory, and running it.

    `inputs` are never written; `outputs` and `workspaces` are, by every run. Arrays stay in the
    machine's memory; `results` brings the interesting ones back.
    """

    def __init__(self, machine: Any, scan: Scan, tier: str, training: bool = True) -> None:
        T, B, H, facts, storage = scan.T, scan.B, scan.H, scan.facts, scan.storage
        G, slots, xp = facts["gates"], facts["slots"], machine.xp
        self.machine, self.scan, self.training = machine, scan, training
        self.sizes = (scan.cell, storage, T, B, H, scan.reverse, tier, machine.device)
        self.inputs: dict[str, Any] = {
            n: xp.asarray(encode(storage, a)) for n, a in scan.data.items() if a is not None
        }
        if scan.lengths is not None:
            self.inputs["lengths"] = xp.asarray(scan.lengths)
        states = ["h", "c"][: facts["states"]]
        shapes = {"y": (T, B, H)} | {f"{n}_n": (B, H) for n in states}
        if training:
            shapes |= {"h_history": (T + 1, B, H), "keep": (T, B, facts["saved"] * H)}
            shapes |= {f"d_{n}_0": (B, H) for n in states} | {"d_pre": (T, B, slots * H)}
        unwritten = {n: poisoned(storage, *shape) for n, shape in shapes.items()}
        if training and facts["states"] == 2:
            unwritten["c_history"] = poisoned(scan.compute, T + 1, B, H)
        self.unwritten = {n: xp.asarray(a) for n, a in unwritten.items()}
        self.outputs = {n: a.copy() for n, a in self.unwritten.items()}
        self.workspaces = [
            xp.empty(machine.engine.device_workspace(*self.sizes, backward), np.uint8)
            for backward in ([False, True] if training else [False])
        ]
        self.strides = {
            False: ((B * G * H, G * H), (B * H, H)),
            True: ((B * H, H),),
        }

    def run(self) -> None:
        """Forward and, in training, backward, on the machine's current stream; nothing else."""
        self._call(False)
        if self.training:
            self._call(True)

    def _call(self, backward: bool) -> None:
        engine = self.machine.engine
        arrays = self.inputs | self.outputs | {"workspace": self.workspaces[backward]}
        given = {n: self.machine.address(a) for n, a in arrays.items()}
        call = engine.device_backward if backward else engine.device_forward
        size = self.workspaces[backward].nbytes
        call(*self.sizes, self.machine.stream(), size, given, *self.strides[backward])

    def poison(self) -> None:
        """As if nobody had written the outputs; workspaces get garbage."""
        for name, array in self.outputs.items():
            array[...] = self.unwritten[name]
        for workspace in self.workspaces:
            workspace[...] = 0xA5

    def results(self, to_host: Any) -> dict[str, np.ndarray]:
        """Outputs and the gradients that the kernels themselves write, in float64."""
        scan, facts = self.scan, self.scan.facts
        states = ["h", "c"][: facts["states"]]
        found = {n: self.outputs[n] for n in ["y", *(f"{n}_n" for n in states)]}
        if self.training:
            found |= {f"d_{n}_0": self.outputs[f"d_{n}_0"] for n in states}
            first, G, H = facts["x_slot"] * scan.H, facts["gates"], scan.H
            found["d_x_pre"] = self.outputs["d_pre"][..., first : first + G * H]
        return {n: decode(scan.storage, to_host(a)) for n, a in found.items()}


def run_seam(
    machine: Any, scan: Scan, tier: str, to_host: Any, training: bool = True
) -> dict[str, np.ndarray]:
    """The results of one run."""
    seam = Seam(machine, scan, tier, training)
    seam.run()
    return seam.results(to_host)
