"""The shapes that are timed, with the reason for each."""

from __future__ import annotations

from dataclasses import dataclass

LAYER = ("inference", "training")
STREAM = ("stream",)


@dataclass(frozen=True)
class Shape:
    """A shape that is timed, with the reason it was chosen."""

    name: str
    B: int
    T: int
    I: int
    H: int
    why: str
    L: int = 1
    D: int = 1
    modes: tuple[str, ...] = LAYER
    axis: str = ""  # in a sweep: the size that it varies

    @property
    def label(self) -> str:
        return size_label(self.B, self.T, self.I, self.H, self.L, self.D)


def size_label(B: int, T: int, I: int, H: int, L: int = 1, D: int = 1) -> str:
    """Sizes as one word, layers and directions only where there are several.

    Examples
    --------
    >>> size_label(1, 2, 3, 4), size_label(1, 2, 3, 4, L=2, D=2)
    ('1x2x3x4', '1x2x3x4xL2xD2')
    """
    layers = f"xL{L}" if L > 1 else ""
    return f"{B}x{T}x{I}x{H}{layers}" + ("xD2" if D > 1 else "")


GRID = (
    Shape(
        "one-stream", 1, 100, 64, 64,
        "one sequence, weights within L1/L2: per-step overhead decides, threads rarely help",
    ),
    Shape(
        "one-stream-256", 1, 100, 256, 256,
        "one sequence, LSTM weights just past one core's 2 MB L2: latency, then bandwidth",
    ),
    Shape(
        "one-stream-1024", 1, 100, 1024, 1024,
        "one sequence, 16 MB of recurrent weights read at every step: the L3 bound alone",
    ),
    Shape(
        "small-batch", 32, 64, 64, 128,
        "a small model in training: microseconds per step, so barriers show",
    ),
    Shape(
        "char-lm", 64, 128, 128, 256,
        "a character language model: recurrent weights fill half of a 2 MB L2",
    ),
    Shape(
        "hydrology", 256, 365, 32, 256,
        "a year of daily forcings per row: narrow input, long T, hundreds of MB saved for backward",
    ),
    Shape(
        "char-lm-512", 64, 100, 128, 512,
        "a larger character model: weights past L2, enough rows to use each of them often",
    ),
    Shape(
        "deepbench-512", 32, 50, 512, 512,
        "512 units as in DeepBench: LSTM weights (4 MB recurrent) stream from L3 at every step",
    ),
    Shape(
        "deepbench-512-b16", 16, 25, 512, 512,
        "few rows per weight read: where blocking for registers and caches shows most",
    ),
    Shape(
        "deepbench-512-b128", 128, 25, 512, 512,
        "many rows per weight read: close to one large matrix product",
    ),
    Shape(
        "deepbench-1024", 32, 25, 1024, 1024,
        "16 MB of recurrent weights and few rows: between the L3 bound and the FMA peak",
    ),
    Shape(
        "deepbench-1792", 64, 25, 1792, 1792,
        "DeepBench's widest LSTM size: 49 MB of recurrent weights",
    ),
    Shape(
        "audio", 16, 8192, 1, 32,
        "samples of sound: 8192 dependent steps of almost no work, one input each",
    ),
    Shape(
        "rl", 1024, 32, 64, 256,
        "reinforcement learning: many environments, short unrolls",
    ),
    Shape(
        "forecasting", 32, 96, 8, 64,
        "two small layers over four days of hours: overhead per layer",
        L=2,
    ),
    Shape(
        "bidirectional", 8, 200, 64, 128,
        "tagging: two layers, both directions, few rows; directions may run side by side",
        L=2, D=2,
    ),
)  # fmt: skip

STREAMS = tuple(
    Shape(f"step-{H}", 1, 100, H, H, why, modes=STREAM)
    for H, why in (
        (64, "a sensor or audio frame at a time: the price of a call"),
        (128, "weights within L2: call and arithmetic weigh the same"),
        (256, "LSTM weights just past one core's 2 MB L2"),
        (512, "weights read from L3 at every step"),
    )
)

SHAPES = (*GRID, *STREAMS)
"""What ``python -m bench run`` times."""


def _sweep() -> tuple[Shape, ...]:
    """(32,64,128,128) with one size varied at a time; I goes along with H."""
    values = {
        "T": (16, 64, 256, 1024),
        "B": (1, 8, 32, 128, 512),
        "H": (32, 64, 128, 256, 512, 1024),
    }
    shapes = []
    for axis, sizes in values.items():
        for size in sizes:
            B, T, H = (size if axis == other else base for other, base in
                       (("B", 32), ("T", 64), ("H", 128)))  # fmt: skip
            why = f"time against {axis}"
            shapes.append(Shape(f"{axis}-{size}", B, T, H, H, why, axis=axis))
    return tuple(shapes)


SWEEP = _sweep()
"""What ``python -m bench run --sweep`` times."""
