"""torch's module database: every input x dtype x mode through every check of a drop-in class."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import pytest
from module_database import (
    ERROR_INPUTS,
    INPUTS,
    PACKED_INPUTS,
    Case,
    cases,
    error_inputs,
    label,
    module_inputs,
    packed_inputs,
    torch,
)
from proof_subject import CELLS, IS_CONTROL, LAYERS, cls, torch_cls
from tolerances import ASSERT_CLOSE, GRADCHECK, TORCH_PARITY_FLOAT64
from torch.autograd import gradcheck, gradgradcheck
from trees import apply, floating, loss, noncontiguous, tensors

ALL = cases()
DOUBLE = cases(dtypes=("float64",))  # a numerical derivative needs float64
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
every = pytest.mark.parametrize("case", ALL, ids=label)


def close(got: Any, expected: Any, case: Case, what: str) -> None:
    """Equal to rounding, tensor by tensor; sums that cancel, to that of the tensor's largest."""
    rtol, atol = TORCH_PARITY_FLOAT64 if case.dtype == "float64" else ASSERT_CLOSE["float32"]
    found, wanted = tensors(got), tensors(expected)
    assert len(found) == len(wanted), what
    for a, b in zip(found, wanted, strict=True):
        size = max(1.0, float(b.detach().abs().max())) if b.numel() else 1.0
        torch.testing.assert_close(a, b, rtol=rtol, atol=atol * size, msg=lambda m: f"{what}: {m}")


def passes(module: Any, arguments: Any, mix: Any = None) -> tuple[Any, list[torch.Tensor]]:
    """Outputs, and the gradient of every argument and parameter (zero where none came)."""
    args, kwargs = arguments
    outputs = module(*args, **kwargs)
    value = loss(outputs, mix)
    leaves = [t for t in floating([args, kwargs]) if t.requires_grad] + list(module.parameters())
    grads = torch.autograd.grad(value, leaves, allow_unused=True, materialize_grads=True)
    return outputs, list(grads)


def test_the_database_holds_what_is_counted_here() -> None:
    for name in LAYERS + CELLS:
        for dtype in ("float32", "float64"):
            for training in (True, False):
                assert len(module_inputs(name, dtype, training)) == INPUTS[name]
                assert len(error_inputs(name, dtype, training)) == ERROR_INPUTS[name]
                if name in PACKED_INPUTS:
                    found = packed_inputs(name, dtype, training)
                    assert len(found) == PACKED_INPUTS[name]
    assert sum(INPUTS.values()) == 87
    assert (len(ALL), len(DOUBLE), len(set(ALL))) == (4 * 87, 2 * 87, 4 * 87)


def test_the_classes_are_the_subjects() -> None:
    for name in LAYERS + CELLS:
        assert isinstance(cls(name)(2, 3), torch_cls(name))
        assert (cls(name) is torch_cls(name)) == IS_CONTROL


@every
def test_forward(case: Case) -> None:
    """What the database compares with: the same input with a batch axis of one."""
    module = case.module()
    args, kwargs = case.arguments()
    outputs = module(*args, **kwargs)
    reference = case.given.reference_fn(module, *case.arguments()[0], **kwargs)
    close(outputs, reference, case, "with a batch axis of one")


@every
def test_like_torch_nn(case: Case) -> None:
    """The same seed gives torch's parameters, outputs, states and gradients."""
    ours, theirs = case.module(), case.torch_module()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for key, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[key], value), key
    found, expected = passes(ours, case.arguments()), passes(theirs, case.arguments())
    close(found[0], expected[0], case, "outputs")
    close(found[1], expected[1], case, "gradients")


@every
def test_factory_kwargs(case: Case) -> None:
    for device in ("cpu", "meta"):
        for kind in (torch.float32, torch.float64):
            module = case.construct(cls(case.name), device=device, dtype=kind)
            for tensor in module.state_dict().values():
                assert (tensor.device.type, tensor.dtype) == (device, kind)
    with torch.device("meta"):
        assert all(p.is_meta for p in case.construct(cls(case.name)).parameters())
    assert all(p.dtype == torch.float32 for p in case.construct(cls(case.name)).parameters())


@every
def test_repr(case: Case) -> None:
    ours, theirs = case.module(), case.torch_module()
    assert repr(ours) == repr(theirs)
    assert str(ours) == str(theirs)


@every
def test_pickle_and_deepcopy(case: Case) -> None:
    module = case.module()
    expected = passes(module, case.arguments())  # whatever is kept from a call is there now
    for twin in (pickle.loads(pickle.dumps(module)), copy.deepcopy(module)):
        assert type(twin) is type(module)
        assert repr(twin) == repr(module)
        found = passes(twin, case.arguments())
        for a, b in zip(tensors(found), tensors(expected), strict=True):
            assert torch.equal(a, b)
        with torch.no_grad():  # the twin has parameters of its own
            next(twin.parameters()).add_(1.0)
    again = passes(module, case.arguments())
    for a, b in zip(tensors(again), tensors(expected), strict=True):
        assert torch.equal(a, b)


@every
def test_save_and_load(case: Case) -> None:
    """A state dict goes through a file into a new module, into torch's, and back."""
    module = case.module()
    expected = module(*case.arguments()[0], **case.arguments()[1])
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    twin = case.construct(cls(case.name)).to(case.kind).train(case.training)
    theirs = case.construct(torch_cls(case.name)).to(case.kind).train(case.training)
    for other in (twin, theirs):
        with torch.no_grad():
            for parameter in other.parameters():
                parameter.zero_()
        other(*case.arguments()[0], **case.arguments()[1])  # with other weights, now stale
        other.load_state_dict(state)
        close(other(*case.arguments()[0], **case.arguments()[1]), expected, case, "loaded")
    twin.load_state_dict(theirs.state_dict())
    close(twin(*case.arguments()[0], **case.arguments()[1]), expected, case, "and back")


@every
def test_non_contiguous(case: Case) -> None:
    """Gaps in the inputs, in the parameters and in the arriving gradients, in every combination."""
    module = case.module()
    outputs, expected = passes(module, case.arguments())
    gappy = case.module()
    with torch.no_grad():
        for parameter in gappy.parameters():
            parameter.data = noncontiguous(parameter.data)
    for chosen in (module, gappy):
        for given in (case.arguments(), apply(noncontiguous, case.arguments())):
            plain = [torch.ones_like(t) for t in floating(outputs)]
            for mix in (None, [t.new_ones(()).expand(t.shape) for t in plain]):
                found = passes(chosen, fresh_like(given), mix)
                close(found[0], outputs, case, "outputs")
                wanted = expected if mix is None else passes(module, case.arguments(), plain)[1]
                close(found[1], wanted, case, "gradients")


def fresh_like(tree: Any) -> Any:
    """New leaves with the strides of the old."""
    return apply(lambda t: t.detach().requires_grad_(t.requires_grad), tree)


@every
def test_moves(case: Case) -> None:
    """To the other dtype and back, to meta and into new memory."""
    module = case.module()
    expected = module(*case.arguments()[0], **case.arguments()[1])
    other = torch.float32 if case.dtype == "float64" else torch.float64
    moved = module.to(other)
    assert moved is module
    outputs = moved(*(apply(lambda t: t.to(other), part) for part in case.arguments()[0]))
    assert all(t.dtype == other for t in tensors(outputs))
    if case.dtype == "float32":  # nothing was lost on the way
        outputs = module.to(case.kind)(*case.arguments()[0], **case.arguments()[1])
        close(outputs, expected, case, "there and back")
    state = copy.deepcopy(module.state_dict())
    ghost = module.to("meta")
    on_meta = [apply(lambda t: t.detach().to("meta", other), part) for part in case.arguments()[0]]
    shapes = [t.shape for t in tensors(ghost.to(other)(*on_meta))]
    assert shapes == [t.shape for t in tensors(expected)]
    back = ghost.to_empty(device="cpu").to(next(iter(state.values())).dtype)
    back.load_state_dict(state)
    kind = next(back.parameters()).dtype
    arguments = [apply(lambda t: t.to(kind), part) for part in case.arguments()[0]]
    assert [t.shape for t in tensors(back(*arguments))] == shapes


@every
def test_training_flag(case: Case) -> None:
    """Cells do not look at the flag; layers do, and without dropout it changes nothing."""
    module = case.module()
    expected = module(*case.arguments()[0], **case.arguments()[1])
    if case.name in CELLS:
        delattr(module, "training")
        found = module(*case.arguments()[0], **case.arguments()[1])
    else:
        found = module.train(not case.training)(*case.arguments()[0], **case.arguments()[1])
    close(found, expected, case, "without the flag")


def function_of_leaves(case: Case) -> tuple[Any, list[torch.Tensor]]:
    """The module as a function of its arguments and parameters, and those."""
    module = case.module()
    args, _ = case.arguments()
    leaves = floating(args)
    names = [name for name, _ in module.named_parameters()]
    parameters = [p.detach().clone().requires_grad_() for p in module.parameters()]

    def function(*values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        given = iter(values[: len(leaves)])
        rebuilt = apply(lambda t: next(given) if t.is_floating_point() else t, args)
        weights = dict(zip(names, values[len(leaves) :], strict=True))
        return tuple(floating(torch.func.functional_call(module, weights, tuple(rebuilt))))

    return function, [*(leaf.detach().requires_grad_() for leaf in leaves), *parameters]


@pytest.mark.parametrize("case", DOUBLE, ids=label)
def test_grad(case: Case) -> None:
    function, leaves = function_of_leaves(case)
    assert gradcheck(function, leaves, **GRADCHECK)


@pytest.mark.parametrize("case", DOUBLE, ids=label)
def test_gradgrad(case: Case) -> None:
    """Along random directions (gradgradcheck's fast mode); in full it is marked slow, below."""
    function, leaves = function_of_leaves(case)
    assert gradgradcheck(function, leaves, fast_mode=True, **GRADCHECK)


@pytest.mark.slow
@pytest.mark.parametrize("case", DOUBLE, ids=label)
def test_gradgrad_in_full(case: Case) -> None:
    function, leaves = function_of_leaves(case)
    assert gradgradcheck(function, leaves, **GRADCHECK)


@pytest.mark.parametrize("case", cases(packed=True), ids=label)
def test_packed_sequences(case: Case) -> None:
    """The database's PackedSequences: outputs packed alike, states and gradients torch's."""
    found = passes(case.module(), case.arguments())
    expected = passes(case.torch_module(), case.arguments())
    packed, theirs = found[0][0], expected[0][0]
    assert isinstance(packed, torch.nn.utils.rnn.PackedSequence)
    assert torch.equal(packed.batch_sizes, theirs.batch_sizes)
    close(found[0], expected[0], case, "outputs")
    close(found[1], expected[1], case, "gradients")


def test_none_of_the_classes_works_in_place() -> None:
    """torch's check of `inplace=` has no case here: no class has that argument."""
    for name in LAYERS + CELLS:
        with pytest.raises(TypeError, match="inplace"):
            cls(name)(2, 3, inplace=True)
