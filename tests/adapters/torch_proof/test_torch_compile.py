"""torch.compile without graph breaks, and torch.export: the same numbers as the plain call."""

from __future__ import annotations

import shutil
from typing import Any

import pytest
from proof_subject import beyond_torch, cls
from trees import loss

torch = pytest.importorskip("torch", reason="the proof needs torch", exc_type=ImportError)
from torch._dynamo.testing import CompileCounterWithBackend  # noqa: E402

# eager: captured and run; aot_eager: also differentiated ahead of time; inductor: compiled
BACKENDS = ["eager", "aot_eager", "inductor"]
KINDS = {"LSTM": {}, "GRU": {}, "RNN": {"nonlinearity": "relu"}}
pytestmark = [
    beyond_torch("recurrent layer that Dynamo traces whole"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*"),
]
needs_compiler = pytest.mark.skipif(
    shutil.which("g++") is None and shutil.which("clang++") is None,
    reason="inductor compiles C++, and no compiler is here",
)


@pytest.fixture(autouse=True)
def _forget_graphs() -> Any:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


class Tagger(torch.nn.Module):
    """A layer between two others, so that there is something to compile around it."""

    def __init__(self, name: str, bidirectional: bool = False, **options: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = torch.nn.Linear(5, 6)
        self.layer = cls(name)(6, 7, 2, bidirectional=bidirectional, **options)
        self.last = torch.nn.Linear(7 * (1 + bidirectional), 3)

    def forward(self, x: Any, lengths: Any = None) -> Any:
        extra = {} if lengths is None else {"lengths": lengths}
        y, last = self.layer(torch.tanh(self.first(x)), **extra)
        h_n = last[0] if isinstance(last, tuple) else last
        return self.last(y), h_n


class CellLoop(torch.nn.Module):
    """Three steps of a cell."""

    def __init__(self, name: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.cell = cls(name)(5, 6)

    def forward(self, x: Any) -> Any:
        state = None
        for t in range(3):
            state = self.cell(x[t], state)
        return state


def run(model: Any, called: Any, *args: Any) -> list[Any]:
    """Outputs and every parameter's gradient."""
    outputs = called(*args)
    parts = outputs if isinstance(outputs, tuple) else (outputs,)
    grads = torch.autograd.grad(loss(parts), list(model.parameters()))
    return [*(p.detach() for p in parts), *grads]


def assert_same(found: list[Any], expected: list[Any]) -> None:
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize(
    "backend", [b if b != "inductor" else pytest.param(b, marks=needs_compiler) for b in BACKENDS]
)
@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("name", KINDS)
def test_fullgraph(name: str, ragged: bool, backend: str) -> None:
    model = Tagger(name, bidirectional=True, **KINDS[name])
    compiled = torch.compile(model, fullgraph=True, backend=backend)
    args = (torch.randn(4, 3, 5), *([torch.tensor([2, 4, 1])] if ragged else []))
    assert_same(run(model, compiled, *args), run(model, model, *args))


@pytest.mark.parametrize("name", ["LSTMCell", "GRUCell", "RNNCell"])
def test_fullgraph_of_a_cell_in_a_loop(name: str) -> None:
    model = CellLoop(name)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    x = torch.randn(3, 4, 5)
    assert_same(run(model, compiled, x), run(model, model, x))


@pytest.mark.parametrize("name", KINDS)
def test_other_sizes_reuse_the_graph(name: str) -> None:
    """With dynamic=True another T and B compile nothing new."""
    model = Tagger(name, **KINDS[name])
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(model, fullgraph=True, backend=counter, dynamic=True)
    counts = []
    for steps, rows in [(4, 3), (7, 5), (9, 2)]:
        x = torch.randn(steps, rows, 5)
        assert_same(run(model, compiled, x), run(model, model, x))
        counts.append(counter.frame_count)
    assert counts == counts[:1] * 3
    assert sum(any(n.op == "call_function" for n in g.graph.nodes) for g in counter.graphs) == 1


def test_in_place_updates_are_seen_by_the_compiled_graph() -> None:
    model = Tagger("LSTM")
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x = torch.randn(4, 3, 5)
    for _ in range(3):
        assert_same(run(model, compiled, x), run(model, model, x))
        optimizer.zero_grad()
        loss(compiled(x)).backward()
        optimizer.step()


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("name", KINDS)
def test_export(name: str, ragged: bool) -> None:
    """The exported program, for any T and B, gives the module's numbers."""
    model = Tagger(name, **KINDS[name]).eval()
    args = (torch.randn(4, 3, 5), *([torch.tensor([2, 4, 1])] if ragged else []))
    steps, rows = torch.export.Dim("steps", max=1000), torch.export.Dim("rows", max=1000)
    shapes = ({0: steps, 1: rows}, *([{0: rows}] if ragged else []))
    program = torch.export.export(model, args, dynamic_shapes=shapes)
    assert any("fastrnn" in str(node.target) for node in program.graph.nodes)
    for t, b in [(4, 3), (9, 6)]:
        lengths = [torch.arange(b) % t + 1] if ragged else []
        given = (torch.randn(t, b, 5), *lengths)
        assert_same(list(program.module()(*given)), list(model(*given)))
