"""What a forward run keeps for the backward run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .arguments import Cell
from .direction import Steps


@dataclass(frozen=True)
class Tape:
    """What `backward` needs from `forward`; may be used for several backward calls.

    Attributes
    ----------
    weights : list
        Per scan (index ``layer*D + direction``): [weight_ih, weight_hh, bias_ih, bias_hh].
    steps : list
        Per scan: its steps in the order they were computed.
    masks : list
        Per layer: the dropout mask (T, B, D*H) on its input, or None.
    """

    cell: Cell
    num_directions: int
    bias: bool
    batch_first: bool
    x_shape: tuple[int, int, int]
    weights: list[list[np.ndarray]]
    steps: list[Steps]
    masks: list[np.ndarray | None]
