"""Which algorithm torch asks cuDNN for, by torch's own rules. It does not say so itself.

The rules are those of `get_algo` in torch's cudnn/RNN.cpp, for GPUs of compute capability 8.0 and
9.0 with 98 processors or more. Forward and backward are asked for apart, so they may differ. What
is named here is inferred, never read back from cuDNN.
"""

from __future__ import annotations

STANDARD, STATIC, SMALL = "STANDARD", "PERSIST_STATIC", "PERSIST_STATIC_SMALL_H"


def algorithm(
    cell: str,
    dtype: str,
    B: int,
    I: int,
    H: int,
    *,
    packed: bool,
    backward: bool,
    layers: int = 1,
    bidirectional: bool = False,
) -> str:
    """What torch.nn's LSTM, GRU or RNN asks for on an A100 or H100, in one of its two passes."""
    if packed:
        return STANDARD
    gated = cell in ("lstm", "gru")
    forward, back = (192, 128) if gated else (384, 256)
    if dtype != "float64" and (back if backward else forward) >= H:
        return SMALL
    aligned = H <= 1024 and H % 128 == 0 and I % 128 == 0
    if dtype == "float16" and layers == 1 and not bidirectional and aligned:
        few = B % 8 == 0 and B <= 128 and (B < 96 or H < 896 or cell == "lstm")
        if few and cell != "gru":
            return STATIC
    return STANDARD
