"""The short way of a call that is like the one before: that it is taken, and when it is not."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch_twins import assert_close, every_layer, hx, run, state, tensors, twins

import fastrnn.torch as ft
from fastrnn.torch import _lengths, _modules, _weights

N = 4  # of everything, so that swapped axes have the same shapes
NAMES = ["LSTM", "GRU", "RNN"]


class Taken(list[bool]):
    """Whether each call since the last look went the short way."""

    def look(self) -> list[bool]:
        found = [*self]
        self.clear()
        return found


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Taken:
    found, quick_scan = Taken(), _modules.quick_scan

    def spy(*call: Any) -> Any:
        after = quick_scan(*call)
        found.append(after is not None)
        return after

    monkeypatch.setattr(_modules, "quick_scan", spy)
    return found


def warm(name: str = "LSTM", **options: Any) -> tuple[Any, Any, Any, Any]:
    """torch.nn's and ours, an input and states; ours has run over them."""
    theirs, ours = twins(name, N, N, **options)
    x, states = torch.randn(N, N, N), state(name, options.get("num_layers", 1), N, N)
    with torch.no_grad():
        ours(x, hx(name, states))
    return theirs, ours, x, states


@pytest.mark.parametrize("more", [{}, {"batch_first": True}, {"bias": False, "num_layers": 2}])
@every_layer
def test_taken_and_right(name: str, options: Any, more: Any, taken: Taken) -> None:
    theirs, ours, x, states = warm(name, **options, **more)
    taken.look()
    wanted = [torch.randn(N, N, N), *(torch.randn_like(s) for s in states)]
    for given in (states, None, states):
        assert_close(run(ours, x, given, wanted), run(theirs, x, given, wanted))
        with torch.no_grad():
            assert_close(ours(x, hx(name, given)), theirs(x, hx(name, given)))
    assert taken.look() == [True] * 6


@pytest.mark.parametrize("shape", [(N, N, N), (64, 32, 64)])
def test_the_same_bits_in_the_same_memory(shape: tuple[int, ...], taken: Taken) -> None:
    lstm, x = ft.LSTM(shape[-1], 64), torch.randn(shape)
    for recorded in (False, True):
        with torch.set_grad_enabled(recorded):
            held = lstm.__dict__.pop("_held_weights", None)
            long = tensors(lstm(x))
            assert held is None or lstm._held_weights is not held
            short = tensors(lstm(x))
        assert taken.look() == [True]
        for a, b in zip(long, short, strict=True):
            assert torch.equal(a, b)
            assert a.untyped_storage().resizable() == b.untyped_storage().resizable()
            assert a.requires_grad == b.requires_grad == recorded
    assert short[0].untyped_storage().resizable() == (shape == (N, N, N))  # large: recycled


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_asked_for_anew(name: str, taken: Taken) -> None:
    _, ours, x, states = warm(name)
    taken.look()
    assert ours(x)[0].requires_grad
    ours.requires_grad_(False)
    assert not ours(x)[0].requires_grad
    assert ours(x.clone().requires_grad_())[0].requires_grad
    for number in range(len(states)):
        given = [s.clone().requires_grad_(i == number) for i, s in enumerate(states)]
        assert ours(x, hx(name, given))[0].requires_grad
    with torch.no_grad():
        assert not ours(x.clone().requires_grad_())[0].requires_grad
    with torch.inference_mode():
        assert ours(x)[0].is_inference()
    assert all(taken.look())


def test_further_derivatives(taken: Taken) -> None:
    theirs, ours, x, _ = warm("GRU")
    found = []
    for module in (ours, theirs):
        leaf = x.clone().requires_grad_()
        y = module(leaf)[0]
        first = torch.autograd.grad(y.pow(2).sum(), leaf, create_graph=True)[0]
        found.append((first, *torch.autograd.grad(first.pow(2).sum(), [*module.parameters()])))
        y = module(leaf)[0]
        many = torch.randn(3, *y.shape, generator=torch.Generator().manual_seed(1))
        found[-1] += torch.autograd.grad(y, leaf, many, is_grads_batched=True)
    assert all(taken.look())
    assert_close(*found)


class Renamed(torch.Tensor):
    """A subclass that says nothing new."""


def every_second(t: torch.Tensor) -> torch.Tensor:
    return torch.stack([t, t], -1)[..., 0]


def negated(t: torch.Tensor) -> torch.Tensor:
    found = torch._neg_view(-t)
    assert found.is_neg()
    assert found.is_contiguous()
    return found


OTHER_TENSORS: list[Callable[[Any], Any]] = [
    every_second,
    negated,
    lambda t: t.transpose(0, 1) if t.shape[0] == t.shape[1] else every_second(t),
    lambda t: t.as_subclass(Renamed),
]


@pytest.mark.parametrize("change", OTHER_TENSORS)
@pytest.mark.parametrize("which", ["x", "h_0", "c_0"])
def test_other_memory(which: str, change: Callable[[Any], Any], taken: Taken) -> None:
    theirs, ours, x, (h, c) = warm()
    given = {"x": x, "h_0": h, "c_0": c}
    for recorded in (False, True):
        ours(x, (h, c))
        taken.look()
        changed = given | {which: change(given[which])}
        call = (changed["x"], (changed["h_0"], changed["c_0"]))
        with torch.set_grad_enabled(recorded):
            found = ours(*call)
            assert_close([t.as_subclass(torch.Tensor) for t in tensors(found)], theirs(*call))
        assert taken.look() == [False]


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_wrong_and_absent_tensors(name: str, recorded: bool, taken: Taken) -> None:
    theirs, ours, x, states = warm(name)

    def emptied(t: torch.Tensor) -> torch.Tensor:
        found = t.clone()
        found.untyped_storage().resize_(0)
        return found

    wrong: list[Callable[[Any], Any]] = [
        lambda t: t.double(),
        lambda t: t[..., :3].contiguous(),
        lambda t: t.int(),
        lambda t: t.to("meta"),
        emptied,
        lambda t: None,
        lambda t: [*t],
    ]
    with torch.set_grad_enabled(recorded):
        for change in wrong:
            for number in range(1 + len(states)):
                call = [x, *states]
                call[number] = change(call[number])
                ours(x, hx(name, states))
                taken.look()
                if name != "LSTM" and number == 1 and call[1] is None:
                    assert_close(ours(call[0], None), theirs(x))
                    continue
                if change is not emptied:
                    with pytest.raises(Exception):  # noqa: B017, PT011 - whatever torch says
                        theirs(call[0], hx(name, call[1:]))
                with pytest.raises((RuntimeError, TypeError, ValueError, AttributeError)):
                    ours(call[0], hx(name, call[1:]))
                assert True not in taken.look()
        pair = [*states, states[0]][:2]
        for given in ((*pair, pair[0]), pair[:1], torch.stack(pair)):
            found = []
            for module in (theirs, ours):
                try:
                    found.append(tensors(module(x, given)))
                except Exception as error:  # whatever torch says
                    found.append(type(error))
            if isinstance(found[0], list):
                assert_close(*found)
            else:
                assert found[0] is found[1]


def test_a_sequence_without_rows_between_batches(taken: Taken) -> None:
    """It runs as (T, 1, I) whatever batch_first says."""
    for batch_first in (False, True):
        theirs, ours = twins("LSTM", N, N, batch_first=batch_first)
        for x in (torch.randn(N, N), torch.randn(N, 1, N), torch.randn(1, N, N)) * 2:
            for _ in range(2):
                assert_close(ours(x), theirs(x))
        assert taken.look().count(True) == (4 if batch_first else 6)


def test_lengths_and_packed_sequences_between_batches(taken: Taken) -> None:
    theirs, ours, x, _ = warm(batch_first=True)
    lengths = torch.tensor([4, 2, 1, 3])
    packed = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, True, enforce_sorted=False)
    even = torch.nn.utils.rnn.pack_padded_sequence(x, torch.tensor([N] * N), True)
    taken.look()
    for _ in range(2):
        expected = theirs(packed)
        ragged = ours(x, lengths=lengths)
        assert_close(ragged[1], expected[1])
        assert_close(ours(packed)[0].data, expected[0].data)
        assert_close(ours(even)[0].data, theirs(even)[0].data)
        assert_close(ours(x), theirs(x))
        assert_close(ours(x), theirs(x))
    assert taken.look() == [True] * 4


def said(attribute: str, value: Any) -> Callable[[Any], None]:
    def change(module: Any) -> None:
        setattr(module, attribute, value)

    change.__name__ = attribute
    return change


@pytest.mark.parametrize(
    "change",
    [
        said("batch_first", True),
        said("proj_size", 2),
        said("input_size", N + 1),
        said("hidden_size", N + 1),
        said("num_layers", 2),
        said("bidirectional", True),
        said("mode", "GRU"),
    ],
)
def test_attributes_that_users_assign_to(change: Callable[[Any], None], taken: Taken) -> None:
    theirs, ours, x, states = warm()
    for module in (theirs, ours):
        change(module)
    found = []
    taken.look()
    for module in (theirs, ours):
        try:
            found.append(tensors(module(x, hx("LSTM", states))))
        except Exception as error:  # whatever torch says
            found.append((type(error), str(error)))
    assert taken.look() == [False]
    if isinstance(found[0], list):
        assert_close(*found)
    else:
        assert found[1] == found[0]


def test_dropout_that_comes_and_goes(taken: Taken) -> None:
    gru, x = ft.GRU(N, N, 2, dropout=0.5).eval(), torch.randn(N, N, N)
    still = gru(x)[0]
    for start in (gru.train, lambda: setattr(gru, "dropout", 0.5)):
        assert torch.equal(gru(x)[0], still)
        taken.look()
        start()
        found = []
        for _ in range(2):
            torch.manual_seed(3)
            found.append(gru(x)[0])
        assert taken.look() == [False, False]
        assert torch.equal(*found)
        assert not torch.equal(found[0], still)
        gru.dropout = 0.0
        assert torch.equal(gru(x)[0], still)
    one = ft.GRU(N, N, dropout=0.0)
    one.dropout = 0.5  # of one layer: nothing to drop between
    taken.look()
    one(x)
    one(x)
    assert taken.look()[-1]


def restrided(p: Any) -> None:
    p.data = torch.as_strided(p.data, p.shape, (1, p.shape[0]))


def other_memory(p: Any) -> None:
    p.data = torch.randn_like(p)


def in_place(p: Any) -> None:
    p.data[0, 1] += 1


def one_value(p: Any) -> None:
    p.data = p.data[:1, :1].expand(p.shape)


@pytest.mark.parametrize("write", [restrided, other_memory, in_place, one_value])
@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_parameters_that_changed(name: str, recorded: bool, write: Any) -> None:
    theirs, ours, x, states = warm(name)
    for module in (theirs, ours):
        torch.manual_seed(1)
        write(module.weight_hh_l0)
    with torch.set_grad_enabled(recorded):
        for _ in range(2):
            assert_close(ours(x, hx(name, states)), theirs(x, hx(name, states)))


def fewer(p: Any) -> None:
    p.data = p.data[: N - 1]


def numbers(p: Any) -> None:
    p.data = p.data.view(torch.int32)


def empty(p: Any) -> None:
    p.untyped_storage().resize_(0)


@pytest.mark.parametrize("write", [fewer, numbers, empty])
@pytest.mark.parametrize("name", ["GRU", "RNN"])  # torch.nn's LSTM asks for no shapes
def test_parameters_that_are_none_any_more(name: str, write: Any, taken: Taken) -> None:
    _, ours, x, _ = warm(name)
    ours.requires_grad_(False)
    taken.look()
    write(ours.weight_hh_l0)
    for _ in range(2):
        with pytest.raises((RuntimeError, ValueError)):
            ours(x)
    assert taken.look() == [False, False]


def test_memory_of_another_dtype_at_a_freed_address() -> None:
    """`module.double().bfloat16()` may end where the float32 numbers lay."""
    held, params = _weights.Held(), [*ft.GRU(N, N).parameters()]
    held.learn(params)
    assert held.known(params) == tuple([p.data_ptr() for p in params])
    params[0].requires_grad_(False)
    params[0].data = params[0].data.view(torch.int32)
    assert held.known(params) is None


def test_negated_parameters_are_not_kept() -> None:
    theirs, ours = twins("GRU", N, N)
    x = torch.randn(N, N, N)
    for module in (theirs, ours):
        module.weight_hh_l0.data = negated(module.weight_hh_l0.data)
    for _ in range(2):
        assert_close(ours(x), theirs(x))


def test_other_parameters(taken: Taken) -> None:
    theirs, ours, x, _ = warm()
    fresh = torch.nn.Parameter(torch.randn_like(theirs.weight_hh_l0))
    for module in (theirs, ours):
        module.weight_hh_l0 = fresh
    taken.look()
    assert_close(ours(x), theirs(x))
    assert taken.look() == [False]
    assert_close(ours(x), theirs(x))
    assert taken.look() == [True]
    given = {name: torch.randn_like(p) for name, p in ours.named_parameters()}
    found = [torch.func.functional_call(module, given, (x,)) for module in (ours, theirs)]
    assert_close(*found)
    assert_close(ours(x), theirs(x))
    taken.look()
    for module in (theirs, ours):
        torch.nn.utils.parametrizations.weight_norm(module, "weight_hh_l0")
        module.parametrizations.weight_hh_l0.original0.data.mul_(2)
    for _ in range(2):
        assert_close(ours(x), theirs(x))
    assert taken.look() == [False, False]


def test_parameters_of_a_class_of_their_own(taken: Taken) -> None:
    class Fancy(torch.nn.Parameter):
        pass

    theirs, ours, x, _ = warm()
    ours.weight_hh_l0 = Fancy(ours.weight_hh_l0.data)  # in the same memory
    taken.look()
    for _ in range(3):
        assert_close(ours(x), theirs(x))
    assert taken.look() == [False] * 3


def test_nothing_of_another_dtype_is_kept(taken: Taken) -> None:
    _, ours, x, _ = warm("GRU")
    ours.double()(x.double(), lengths=[N] * N)
    taken.look()
    with pytest.raises((RuntimeError, ValueError)):
        ours(x)
    assert taken.look() == [False]


def test_a_parameter_of_a_subclass_is_none_of_the_kernels(taken: Taken) -> None:
    class Larger(ft.GRU):
        def __init__(self) -> None:
            super().__init__(N, N)
            self.scale = torch.nn.Parameter(torch.ones(N))

    larger, x = Larger(), torch.randn(N, N, N)
    twin = torch.nn.GRU(N, N)
    twin.load_state_dict({k: v for k, v in larger.state_dict().items() if k != "scale"})
    for _ in range(2):
        assert_close(larger(x), twin(x))


class Watching(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        seen.append(str(func))
        return func(*args, **(kwargs or {}))


class Asking(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        seen.append(str(func))
        return func(*args, **(kwargs or {}))


seen: list[str] = []


@pytest.mark.parametrize("mode", [Watching, Asking])
def test_modes_see_the_operator(mode: Any, taken: Taken) -> None:
    _, ours, x, _ = warm()
    taken.look()
    seen.clear()
    with mode(), torch.no_grad():
        ours(x)
    assert any("fastrnn" in name for name in seen)
    assert taken.look() == [False]
    with torch.device("cpu"):  # a mode that says nothing of a call
        ours(x)
    assert taken.look() == [True]


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_what_surrounds_a_call(taken: Taken) -> None:
    theirs, ours, x, states = warm("GRU")
    given, v = hx("GRU", states), torch.randn_like(x)
    taken.look()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert ours(x, given)[0].dtype == theirs(x, given)[0].dtype
    with torch.autograd.forward_ad.dual_level():
        found = [
            torch.autograd.forward_ad.unpack_dual(
                m(torch.autograd.forward_ad.make_dual(x, v))[0]
            ).tangent
            for m in (ours, theirs)
        ]
        assert_close(*found)
    assert True not in taken.look()

    def loss(module: Any) -> Callable[[Any], Any]:
        return lambda x: module(x)[0].pow(2).sum()

    ours(x)
    taken.look()
    leaf = x.clone().requires_grad_()
    assert_close(torch.func.grad(loss(ours))(x), torch.autograd.grad(loss(theirs)(leaf), leaf)[0])
    batch = torch.randn(3, N, N, N)
    expected = [theirs(one)[0] for one in batch]
    assert_close([*torch.func.vmap(lambda one: ours(one)[0])(batch)], expected)
    assert True not in taken.look()
    with torch.no_grad():
        ours(x)
        traced = torch.jit.trace(ours, x, check_trace=False)
        assert "fastrnn::scan" in str(traced.graph)


@pytest.mark.parametrize("recorded", [False, True])
def test_tensors_that_outlived_a_transform(recorded: bool, taken: Taken) -> None:
    theirs, ours, x, (h, c) = warm()
    kept: list[Any] = []

    def keep(t: Any) -> Any:
        kept.append(t)
        return t.sum()

    for t in (x, h, c):
        torch.func.grad(keep)(t)
    taken.look()
    with torch.set_grad_enabled(recorded):
        for call in ((kept[0], (h, c)), (x, (kept[1], c)), (x, (h, kept[2]))):
            expected = theirs(*call)
            assert_close(ours(*call), expected)
    assert True not in taken.look()


def test_compilers_never_see_it(taken: Taken) -> None:
    theirs, ours, x, _ = warm("GRU")
    taken.look()
    torch._dynamo.reset()
    compiled = torch.compile(ours, fullgraph=True, backend="eager")
    with torch.no_grad():
        for _ in range(2):
            assert_close(compiled(x), theirs(x))
    assert taken.look() == []


def test_hooks_run(taken: Taken) -> None:
    _, ours, x, _ = warm("GRU")
    taken.look()
    called = []
    ours.register_forward_pre_hook(lambda module, args: called.append("before"))
    ours.register_forward_hook(lambda module, args, found: called.append("after"))
    ours.register_full_backward_hook(lambda module, d_in, d_out: called.append("backward"))
    y = ours(x.clone().requires_grad_())[0]
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t.clone(), lambda t: t):
        ours(x.clone().requires_grad_())[0].sum().backward()
    y.sum().backward()
    assert called == ["before", "after"] * 2 + ["backward"] * 2
    assert taken.look() == [True, True]
    y = ours(x.clone().requires_grad_())[0]
    with torch.no_grad():
        ours.weight_hh_l0.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_steps_that_torch_records_in_less_time(
    taken: Taken, monkeypatch: pytest.MonkeyPatch
) -> None:
    through_torch = []
    run_torch = _lengths.run_torch
    monkeypatch.setattr(
        _lengths, "run_torch", lambda *call: through_torch.append(1) or run_torch(*call)
    )
    for name, wide, theirs in (("RNN", N, True), ("GRU", 150, True), ("LSTM", 150, False)):
        module, x = getattr(ft, name)(wide, wide), torch.randn(1, N, wide)
        with torch.no_grad():
            module(x)
            taken.look()
            module(x)
            assert taken.look() == [True]
        assert through_torch == []
        module(x)
        assert taken.look() == [not theirs]
        assert through_torch == [1] * theirs
        through_torch.clear()


def test_copies_and_classes_begin_anew(taken: Taken) -> None:
    _, ours, x, _ = warm()
    with torch.no_grad():
        expected = ours(x)[0]
        for make in (copy.deepcopy, copy.copy):
            other = make(ours)
            taken.look()
            assert torch.equal(other(x)[0], expected)
            assert taken.look() == []  # nothing is kept yet
        torch.nn.init.zeros_(copy.deepcopy(ours).weight_hh_l0)
        assert torch.equal(ours(x)[0], expected)
        assert type(ft.revert(ours)) is torch.nn.LSTM
        taken.look()
        assert_close(ours(x)[0], expected)
        assert taken.look() == []
        assert torch.equal(ft.convert(ours)(x)[0], expected)

        class Doubled(ft.LSTM):
            def forward(self, *call: Any, **named: Any) -> Any:
                return super().forward(*call, **named)[0] * 2

        ours.__class__ = Doubled
        for _ in range(2):
            assert torch.equal(ours(x), 2 * expected)


def test_threads_share_a_module() -> None:
    lstm = ft.LSTM(N, N, batch_first=True)
    inputs = [torch.randn(1 + n % 3, 1 + n % 2, N) for n in range(6)]
    with torch.no_grad():
        expected = [lstm(x)[0] for x in inputs]
    wrong: list[Any] = []

    def work(n: int) -> None:
        for _ in range(300):
            with torch.set_grad_enabled(n % 2 == 0):
                if not torch.equal(lstm(inputs[n])[0], expected[n]):
                    wrong.append(n)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
