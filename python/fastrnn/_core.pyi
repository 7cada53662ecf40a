"""The compiled engine. Private: arguments are checked in Python, and again for sizes in C++.

Arrays are of the dtype of `Packed`, in native byte order and aligned. Sequences may have any
strides but the last; everything else is C-contiguous.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

_Array = npt.NDArray[Any]
_Lengths = npt.NDArray[np.int64]

class Packed:
    """Immutable snapshot of the parameters of a stack, in the kernels' layout."""

    @property
    def cell(self) -> str: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    @property
    def input_size(self) -> int: ...
    @property
    def hidden_size(self) -> int: ...
    @property
    def num_layers(self) -> int: ...
    @property
    def num_directions(self) -> int: ...
    @property
    def bias(self) -> bool: ...
    @property
    def nbytes(self) -> int: ...

class Tape:
    """What backward needs of one forward call; holds x by reference."""

    @property
    def nbytes(self) -> int: ...

class Stepper:
    """The states of S streams, and the memory of their steps; `fastrnn.Stepper` derives from it.

    Arrays that the kernels do not read as they are go through `_fit` of the subclass.
    """

    def _create(self, packed: Packed, streams: int) -> None: ...
    def step(self, x: _Array, out: _Array | None = None) -> _Array:
        """One step: x (S, I) to y (S, H); without S where S is 1."""

    def process(self, x: _Array, out: _Array | None = None) -> _Array:
        """T steps: x (T, S, I) to y (T, S, H); without S where S is 1."""

    def _set_packed(self, packed: Packed) -> None: ...
    def _get_state(self, which: int) -> _Array: ...
    def _set_state(self, which: int, values: _Array | None, mask: _Array | None = None) -> None: ...

def pack(
    cell: str,
    params: list[_Array],
    input_size: int,
    hidden_size: int,
    num_layers: int,
    num_directions: int,
    bias: bool,
    previous: Packed | None = None,
) -> Packed:
    """Pack parameters in torch's order; return `previous` itself if it holds the same weights."""

def forward(
    packed: Packed,
    x: _Array,
    h_0: _Array | None,
    c_0: _Array | None,
    lengths: _Lengths | None,
    batch_first: bool,
    training: bool,
    dropout: float,
    seed: int,
    recompute: int = 0,
) -> tuple[_Array, _Array, _Array | None, Tape | None]:
    """Return y, h_n, c_n and the tape. KeyboardInterrupt is raised within 100 ms of Ctrl-C.

    recompute: 0 keeps everything, -1 and positive numbers the states at borders of segments of the
    best or of so many steps, rounded up.
    """

def backward(
    tape: Tape, d_y: _Array | None, d_h_n: _Array | None, d_c_n: _Array | None
) -> tuple[_Array, _Array, _Array | None, list[_Array]]:
    """Return d_x, d_h_0, d_c_0 and the gradients in the order of the parameters."""

def empty(float64: bool, shape: Sequence[int]) -> _Array:
    """An array of float32 or float64; a large one in the engine's recycled memory."""

def pack_at(
    cell: str,
    dtype: Literal["float32", "float64"],
    params: tuple[int, ...],
    input_size: int,
    hidden_size: int,
    num_layers: int,
    num_directions: int,
    bias: bool,
) -> Packed:
    """`pack` of C-contiguous arrays at these addresses."""

def renew_at(packed: Packed, params: tuple[int, ...]) -> Packed:
    """Weights of the same stack at these addresses; `packed` itself if it still holds them."""

def forward_at(
    packed: Packed,
    params: tuple[int, ...],
    T: int,
    B: int,
    x: int,
    x_step: int,
    x_row: int,
    h_0: int,
    c_0: int,
    lengths: int,
    y: int,
    y_step: int,
    y_row: int,
    h_n: int,
    c_n: int,
    training: bool,
    reserve: int,
    reserve_bytes: int,
    dropout: float,
    seed: int,
) -> Packed:
    """Run into the caller's memory; return the weights used, `packed` if it is still right.

    Whether it is right is seen from the contents of params. Arrays are addresses, 0 for none;
    strides of steps and rows count elements. In training what backward reads goes into the
    reserve, `Problem.reserve_bytes` of it.
    """

def step_at(
    packed: Packed,
    params: tuple[int, ...],
    B: int,
    x: int,
    h: int,
    c: int,
    next_h: int,
    next_c: int,
    /,
) -> Packed:
    """`forward_at` for one step of one layer, in inference, over arrays in C order."""

def backward_at(
    packed: Packed,
    T: int,
    B: int,
    x: int,
    x_step: int,
    x_row: int,
    lengths: int,
    reserve: int,
    reserve_bytes: int,
    dropout: float,
    seed: int,
    d_y: int,
    d_y_step: int,
    d_y_row: int,
    d_h_n: int,
    d_c_n: int,
    d_x: int,
    d_x_step: int,
    d_x_row: int,
    d_h_0: int,
    d_c_0: int,
    d_params: tuple[int, ...],
) -> None:
    """Gradients of the `forward_at` that filled the reserve, into the caller's memory."""

# Scans on a GPU (csrc/rnn/device_scan.h); arrays by address.
def require_device() -> None:
    """Nothing; RuntimeError, one sentence, in a build without CUDA kernels."""

def device_cells() -> dict[str, dict[str, Any]]:
    """What a caller must know of each cell to do the products over time."""

def device_workspace(
    cell: str,
    dtype: str,
    T: int,
    B: int,
    H: int,
    reverse: bool,
    tier: str,
    device: int,
    backward: bool,
) -> int:
    """Bytes that a scan needs beside its arrays."""

def device_forward(
    cell: str,
    dtype: str,
    T: int,
    B: int,
    H: int,
    reverse: bool,
    tier: str,
    device: int,
    stream: int,
    workspace_bytes: int,
    arrays: dict[str, int],
    x_pre: tuple[int, int],
    y: tuple[int, int],
) -> None:
    """One direction of one layer; x_pre and y are strides of step and row, in elements."""

def device_backward(
    cell: str,
    dtype: str,
    T: int,
    B: int,
    H: int,
    reverse: bool,
    tier: str,
    device: int,
    stream: int,
    workspace_bytes: int,
    arrays: dict[str, int],
    d_y: tuple[int, int],
) -> None:
    """d_pre and the gradients of the initial states of such a scan."""

def device_plan(
    cell: str,
    dtype: str,
    T: int,
    B: int,
    H: int,
    reverse: bool,
    tier: str,
    device: int,
    backward: bool,
) -> dict[str, str]:
    """How a scan would run, and why."""

def plan(
    packed: Packed, T: int, B: int, training: bool, recompute: int = 0
) -> dict[str, str | int]:
    """What a call of this size would run, and why."""

def cells() -> dict[str, dict[Literal["gates", "states"], int]]:
    """Gate and state counts of every compiled cell."""

def strides(cell: str, float64: bool, H: int) -> tuple[int, int]:
    """Numbers that one row of one state, and of the saved values, takes in the running kernels."""

def isa() -> Literal["avx512", "avx2", "baseline"]:
    """Instruction set of the running kernels."""

def isas() -> list[str]:
    """Instruction sets that this machine can run, best first."""

def _use_isa(name: str) -> str:
    """Give later packs the kernels of another instruction set; returns the one before.

    For tests and benchmarks that compare several in one process. Packed weights, and the tapes and
    steppers that hold them, keep their kernels.
    """

MAX_THREADS: int
"""The most that a call may use, however many are asked for."""

def get_num_threads() -> int: ...
def set_num_threads(n: int) -> None: ...
def num_threads_source() -> str:
    """Where `get_num_threads` comes from: set_num_threads, OMP_NUM_THREADS, affinity, cgroup."""

def release_memory() -> int:
    """Free the workspaces kept for later calls; the number of bytes freed."""

def build_info() -> dict[str, Any]:
    """Version, compiler, and which backends were built."""

def _sigmoid(x: _Array) -> _Array: ...
def _tanh(x: _Array) -> _Array: ...
def _dropout_mask(
    n0: int, count: int, layer: int, p: float, seed: int, dtype: npt.DTypeLike
) -> _Array: ...
