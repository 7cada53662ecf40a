"""What the CUDA compiler makes of the kernels, without a GPU: no spills, bounded registers."""

from __future__ import annotations

import pytest
from bench.gpu.resources import KERNELS, MOST_REGISTERS, TIERS, Resources, measure, nvcc, parse

SAMPLE = """\
ptxas info    : Compiling entry function '_ZN7fastrnn4cuda12scan_forwardINS_5cells3RnnINS2_\
14TanhActivationEEENS0_8Bfloat16ELNS0_4TierE1EEEvNS0_11ForwardScanIT0_EEll' for 'sm_90'
ptxas info    : Function properties for _ZN7fastrnn
    8 bytes stack frame, 4 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 70 registers, used 1 barriers, 576 bytes cmem[0]
ptxas info    : Compiling entry function '_ZN7fastrnn4cuda13scan_backwardINS_5cells4LstmEd\
LNS0_4TierE0EEEvNS0_12BackwardScanIT0_EEll' for 'sm_90'
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 96 registers, used 1 barriers, 32 bytes smem
"""


def test_the_compilers_words_are_read() -> None:
    assert parse(SAMPLE) == [
        Resources("forward", "rnn_tanh", "bfloat16", "grid", 70, 8, 16, 0),
        Resources("backward", "lstm", "float64", "resident", 96, 0, 0, 32),
    ]


@pytest.mark.skipif(nvcc() is None, reason="no nvcc on the PATH")
@pytest.mark.parametrize("name", ["forward_float32", "backward_bfloat16"])
def test_no_kernel_spills(name: str) -> None:
    """Two of the ten files; `python -m bench gpu-resources` compiles all."""
    found = measure(90, [KERNELS / f"{name}.cu"])
    assert {(r.cell, r.tier) for r in found} == {
        (cell, tier) for cell in ("lstm", "gru", "rnn_tanh", "rnn_relu") for tier in TIERS
    }
    assert [r for r in found if r.spilled or r.stack or r.registers > MOST_REGISTERS] == []
