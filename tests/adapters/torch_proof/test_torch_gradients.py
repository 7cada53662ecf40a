"""Derivatives against numerical ones, float64: first and second, whichever gradients arrive.

Cases in which every pair of options occurs run always; the whole product is marked slow.
"""

from __future__ import annotations

from typing import Any

import pytest
from gradient_cases import (
    FACTORS,
    KINDS,
    GradientCase,
    covering_cases,
    every_case,
    function_of_leaves,
    is_sensible,
    torch,
)
from proof_subject import beyond_torch, cls
from tolerances import GRADCHECK
from torch.autograd import gradcheck, gradgradcheck

PAIRS = covering_cases(2)
EVERY = every_case()
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")


def test_the_product_is_counted() -> None:
    """(layers x directions x rows x dropout, less one layer with dropout) x gradients arriving."""
    options = 3 * 2 * 2 * 2 - 2 * 2
    assert len(EVERY) == options * (2 * 5 + 3 * 4) == 440
    assert len(set(EVERY)) == 440
    assert len(PAIRS) > 5 * 2 * len(FACTORS["arriving"])
    assert all(is_sensible(case) and case in set(EVERY) for case in PAIRS)
    for kind in KINDS:
        for factor, levels in FACTORS.items():
            seen = {getattr(case, factor) for case in PAIRS if case.kind == kind}
            assert seen == set(levels) - ({"c_n"} if "LSTM" not in kind else set())


def check_first(case: GradientCase) -> None:
    function, leaves = function_of_leaves(case)
    assert gradcheck(function, leaves, **GRADCHECK)
    if case.arriving == "none":
        grads = torch.autograd.grad(function(*leaves), leaves)
        assert all((g == 0).all() for g in grads)


@pytest.mark.parametrize("case", PAIRS, ids=str)
def test_gradcheck(case: GradientCase) -> None:
    check_first(case)


@pytest.mark.parametrize("case", PAIRS, ids=str)
def test_gradgradcheck(case: GradientCase) -> None:
    function, leaves = function_of_leaves(case)
    assert gradgradcheck(function, leaves, fast_mode=True, **GRADCHECK)


@pytest.mark.slow
@pytest.mark.parametrize("case", EVERY, ids=str)
def test_gradcheck_of_the_whole_product(case: GradientCase) -> None:
    check_first(case)


@pytest.mark.slow
@pytest.mark.parametrize("case", EVERY, ids=str)
def test_gradgradcheck_of_the_whole_product(case: GradientCase) -> None:
    function, leaves = function_of_leaves(case)
    assert gradgradcheck(function, leaves, fast_mode=True, **GRADCHECK)


@pytest.mark.slow
@pytest.mark.parametrize("case", PAIRS, ids=str)
def test_gradgradcheck_of_every_element(case: GradientCase) -> None:
    function, leaves = function_of_leaves(case)
    assert gradgradcheck(function, leaves, **GRADCHECK)


def test_gradcheck_notices_a_small_mistake() -> None:
    (case,) = [c for c in EVERY if str(c) == "LSTM-L2-bi-ragged-p0.5-all"]
    function, leaves = function_of_leaves(case)

    def wrong(*values: Any) -> Any:
        outputs = function(*values)
        return (outputs[0] * (1 + 1e-5) - outputs[0].detach() * 1e-5, *outputs[1:])

    with pytest.raises(Exception, match="Jacobian mismatch"):
        gradcheck(wrong, leaves, **GRADCHECK)


def test_masks_are_replayed_by_the_seed_and_only_by_it() -> None:
    (case,) = [c for c in EVERY if str(c) == "LSTM-L3-bi-dense-p0.5-y"]
    function, leaves = function_of_leaves(case)
    assert torch.equal(function(*leaves)[0], function(*leaves)[0])
    layer, x = case.layer(), case.leaves()[0]
    assert not torch.equal(layer(x)[0], layer(x)[0])
    layer.eval()
    assert torch.equal(layer(x)[0], layer(x)[0])


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_a_loss_that_needs_nothing(kind: str) -> None:
    """No output arrives: the layer's gradients are absent, not zeros."""
    name, options = KINDS[kind]
    layer = cls(name)(2, 3, **options)
    layer(torch.randn(4, 2, 2))
    other = torch.ones((), requires_grad=True)
    (other * 2).backward()
    assert all(p.grad is None for p in layer.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_a_second_backward_needs_the_graph(kind: str) -> None:
    name, options = KINDS[kind]
    layer = cls(name)(2, 3, **options)
    x = torch.randn(4, 2, 2, requires_grad=True)
    y = layer(x)[0].sum()
    y.backward(retain_graph=True)
    first = x.grad.clone()
    y.backward()
    torch.testing.assert_close(x.grad, 2 * first)
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        y.backward()


@beyond_torch("argument lengths=")
@pytest.mark.parametrize("kind", KINDS)
def test_lengths_are_those_of_a_packed_sequence(kind: str) -> None:
    """Unsorted, as a tensor; the same outputs, states and gradients as torch's own packing."""
    name, options = KINDS[kind]
    rnn = torch.nn.utils.rnn
    torch.manual_seed(0)
    layer = cls(name)(5, 7, num_layers=2, bidirectional=True, dtype=torch.float64, **options)
    lengths = torch.tensor([4, 9, 1, 6])
    x = torch.randn(9, 4, 5, dtype=torch.float64)
    results = []
    for packed in (False, True):
        given = x.clone().requires_grad_()
        layer.zero_grad()
        if packed:
            y, last = layer(rnn.pack_padded_sequence(given, lengths, enforce_sorted=False))
            y, _ = rnn.pad_packed_sequence(y)
        else:
            y, last = layer(given, lengths=lengths)
        outputs = [y, *(last if isinstance(last, tuple) else (last,))]
        sum(o.square().sum() for o in outputs).backward()
        results.append([*outputs, given.grad, *(p.grad.clone() for p in layer.parameters())])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs)
