"""The 192 models of the recurrent matrix in PyTorch's ONNX export tests, against torch.nn.

Four models x layers x directions x initial state x rows (one length; lengths; lengths with the
batch first) x dropout. Weights are torch's own, float64 to its last digits and float32 to
assert_close's defaults. Where dropout acts (several layers, training) torch's masks come from
torch's generator and cannot be ours: there, outputs and gradients are compared in eval mode, and
training is checked by replaying the masks.
"""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import pytest
from proof_subject import cls, torch_cls
from tolerances import ASSERT_CLOSE, TORCH_PARITY_FLOAT64

torch = pytest.importorskip("torch", reason="the proof needs torch", exc_type=ImportError)
from torch.nn.utils import rnn  # noqa: E402

T, B, I, H = 11, 5, 4, 6
LENGTHS = [7, 11, 3, 11, 1]  # in no order, with a tie
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "elman-tanh": ("RNN", {"nonlinearity": "tanh"}),
    "elman-relu": ("RNN", {"nonlinearity": "relu"}),
    "lstm": ("LSTM", {}),
    "gru": ("GRU", {}),
}


class Model(NamedTuple):
    """One of the 192."""

    name: str
    num_layers: int
    bidirectional: bool
    initial_state: bool
    rows: str
    dropout: float

    def __str__(self) -> str:
        state = "state" if self.initial_state else "zeros"
        sides = "bi" if self.bidirectional else "uni"
        return f"{self.name}-L{self.num_layers}-{sides}-{state}-{self.rows}-p{self.dropout}"

    @property
    def batch_first(self) -> bool:
        return self.rows == "lengths_batch_first"

    @property
    def masks_act(self) -> bool:
        return self.dropout > 0 and self.num_layers > 1

    def make(self, kind: Any, dtype: Any) -> Any:
        torch.manual_seed(0)
        return kind(MODELS[self.name][0])(
            I,
            H,
            num_layers=self.num_layers,
            bidirectional=self.bidirectional,
            batch_first=self.batch_first,
            dropout=self.dropout,
            dtype=dtype,
            **MODELS[self.name][1],
        )


CASES = [
    Model(*row)
    for row in itertools.product(
        MODELS,
        (1, 3),
        (False, True),
        (False, True),
        ("one_length", "lengths", "lengths_batch_first"),
        (0.0, 0.5),
    )
]
pytestmark = pytest.mark.filterwarnings("ignore:dropout option adds dropout after all but last")


def test_there_are_192() -> None:
    assert len(CASES) == len({str(case) for case in CASES}) == 192


def run(case: Model, module: Any, dtype: Any) -> list[Any]:
    """y padded with zeros, final states, and the gradient of x, of the states, of every weight."""
    generator = torch.Generator().manual_seed(1)

    def normal(*shape: int) -> Any:
        return torch.randn(shape, dtype=torch.float64, generator=generator).to(dtype)

    x = normal(*((B, T) if case.batch_first else (T, B)), I).requires_grad_()
    leaves = [x]
    if case.initial_state:
        rows = case.num_layers * (1 + case.bidirectional)
        count = 2 if case.name == "lstm" else 1
        leaves += [normal(rows, B, H).requires_grad_() for _ in range(count)]
    state = None if len(leaves) == 1 else tuple(leaves[1:]) if len(leaves) == 3 else leaves[1]
    given = x
    if case.rows != "one_length":
        given = rnn.pack_padded_sequence(x, LENGTHS, case.batch_first, enforce_sorted=False)
    y, last = module(given, state)
    if case.rows != "one_length":
        assert isinstance(y, rnn.PackedSequence)
        y, lengths = rnn.pad_packed_sequence(y, case.batch_first)
        assert lengths.tolist() == LENGTHS
    outputs = [y, *(last if isinstance(last, tuple) else (last,))]
    value = sum((o * normal(*o.shape)).sum() for o in outputs)
    grads = torch.autograd.grad(value, [*leaves, *module.parameters()])
    return [*(o.detach() for o in outputs), *grads]


def assert_close(ours: list[Any], theirs: list[Any], dtype: Any) -> None:
    bounds = TORCH_PARITY_FLOAT64 if dtype is torch.float64 else ASSERT_CLOSE["float32"]
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        size = max(1.0, float(b.abs().max()))  # a sum that cancels rounds like its largest terms
        torch.testing.assert_close(a, b, rtol=bounds[0], atol=bounds[1] * size)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_like_torch_nn(case: Model) -> None:
    for dtype in (torch.float64, torch.float32):
        ours, theirs = case.make(cls, dtype), case.make(torch_cls, dtype)
        theirs.load_state_dict(ours.state_dict())
        for training in (False, True):
            if case.masks_act and training:
                continue
            found = run(case, ours.train(training), dtype)
            assert_close(found, run(case, theirs.train(training), dtype), dtype)
    if case.masks_act:
        replayed(case)


def replayed(case: Model) -> None:
    """In training the seed gives the masks: the same twice, others without it, none in eval."""
    module = case.make(cls, torch.float64)
    plain = run(case, module.eval(), torch.float64)
    module.train()
    results = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        results.append(run(case, module, torch.float64))
    assert all(torch.equal(a, b) for a, b in zip(results[0], results[1], strict=True))
    assert not torch.equal(results[0][0], results[2][0])
    assert not torch.equal(results[0][0], plain[0])


def test_a_small_mistake_is_noticed() -> None:
    case = next(c for c in CASES if str(c) == "gru-L3-bi-state-lengths-p0.0")
    ours, theirs = case.make(cls, torch.float64), case.make(torch_cls, torch.float64)
    with torch.no_grad():
        theirs.weight_hh_l1_reverse[0, 0] += 1e-9
    with pytest.raises(AssertionError, match="not close"):
        assert_close(
            run(case, ours, torch.float64), run(case, theirs, torch.float64), torch.float64
        )
