"""Take weights to torch.nn and back: the same names, shapes and outputs, no conversion.

Baseline: an untrained twin's outputs differ; after load_state_dict they agree to rounding.
"""

from __future__ import annotations

import sys

import numpy as np

import fastrnn


def main() -> int:
    """Both ways, and the largest differences."""
    try:
        import torch
    except ImportError:
        print("this example needs torch: pip install 'fastrnn[torch]'", file=sys.stderr)
        return 1
    torch.manual_seed(0)
    x = np.random.default_rng(0).standard_normal((20, 4, 8), dtype=np.float32)
    ours = fastrnn.LSTM(8, 32, num_layers=2, bidirectional=True, rng=0)
    theirs = torch.nn.LSTM(8, 32, num_layers=2, bidirectional=True)

    def difference() -> float:
        with torch.no_grad():
            y, _ = theirs(torch.from_numpy(x))
        return float(np.abs(ours(x)[0] - y.numpy()).max())

    print(f"baseline (different weights)       largest difference {difference():.1e}")
    weights = {name: torch.from_numpy(array) for name, array in ours.state_dict().items()}
    theirs.load_state_dict(weights)
    print(f"score    (fastrnn's into torch)    largest difference {difference():.1e}")
    theirs.reset_parameters()
    ours.load_state_dict(theirs.state_dict())
    print(f"score    (torch's into fastrnn)    largest difference {difference():.1e}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
