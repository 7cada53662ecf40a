"""Which calls on a GPU take the kernels, and the ways they take: operators, compilers, autocast."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
import torch
from gpu_torch import Place, emulated, forced, real
from tolerances import AUTOCAST, STORAGE_RELATIVE
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch_twins import tensors

import fastrnn
import fastrnn.torch as ft
from fastrnn.torch import _cuda, _ops, _route


@pytest.fixture(params=["emulated", "real"])
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Place:
    return emulated(monkeypatch) if request.param == "emulated" else real()


@pytest.fixture
def force(monkeypatch: pytest.MonkeyPatch) -> None:
    forced(monkeypatch)


def layer_and_input(place: Place, name: str = "LSTM", **options: Any) -> tuple[Any, Tensor]:
    layer = getattr(ft, name)(5, 7, device=place.device, **options)
    x = torch.randn(9, 3, 5, device=place.device, dtype=layer.weight_hh_l0.dtype)
    return layer, x.requires_grad_()


def everything(layer: Any, x: Tensor, call: Any = None, **given: Any) -> list[Tensor]:
    """Results and gradients of a call, made by `call` if given."""
    torch.manual_seed(1)
    out = tensors((layer if call is None else call)(x, **given))
    loss = sum(o.float().sin().sum() for o in out)
    return [*out, *torch.autograd.grad(loss, [x, *layer.parameters()])]


def assert_same_bits(found: list[Tensor], expected: list[Tensor]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype is other.dtype
        assert torch.equal(one, other)


@pytest.mark.usefixtures("force")
@pytest.mark.parametrize("name", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("ragged", [False, True])
def test_compiled_calls_have_the_bits_of_eager_ones(place: Place, name: str, ragged: bool) -> None:
    layer, x = layer_and_input(place, name, num_layers=2, bidirectional=True, batch_first=True)
    given = {"lengths": torch.tensor([3, 0, 2, 1, 3, 2, 3, 0, 1])} if ragged else {}
    torch._dynamo.reset()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    assert_same_bits(everything(layer, x, compiled, **given), everything(layer, x, **given))
    other = torch.randn(4, 2, 5, device=place.device, requires_grad=True)
    assert_same_bits(everything(layer, other, compiled), everything(layer, other))


@pytest.mark.usefixtures("force")
def test_dropout_compiles_and_exports(place: Place) -> None:
    layer, x = layer_and_input(place, num_layers=2, dropout=0.5, dtype=torch.bfloat16)
    torch._dynamo.reset()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    assert_same_bits(everything(layer, x, compiled), everything(layer, x))
    program = torch.export.export(layer.eval(), (x.detach(),))
    assert "fastrnn.scan.default" in str(program.graph)
    assert torch.equal(program.module()(x.detach())[0], layer(x)[0])


@pytest.mark.usefixtures("force")
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_opcheck(place: Place, dropout: float) -> None:
    options: Any = {"dtype": torch.float64, "device": place.device}
    lstm = ft.LSTM(3, 4, 2, bidirectional=True, **options)
    x = torch.randn(3, 2, 3, **options, requires_grad=True)
    h, c = (torch.randn(4, 2, 4, **options, requires_grad=True) for _ in range(2))
    lengths = torch.tensor([2, 3], device=place.device)
    masks = _cuda.draw_masks(x, 2, 8, False, dropout)
    params, form = [p.detach() for p in lstm.parameters()], ("lstm", 2, 2, False, dropout)
    scan = (x, h, c, params, lengths, masks, *form, True)
    torch.library.opcheck(torch.ops.fastrnn.scan.default, scan)
    y, h_n, c_n, reserve = torch.ops.fastrnn.scan(*scan)
    arriving = tuple(torch.randn_like(t) for t in (y, h_n, c_n))
    tests = ("test_schema", "test_faketensor")
    backward = (*arriving, *scan[:6], reserve, *form)
    torch.library.opcheck(torch.ops.fastrnn.scan_backward.default, backward, test_utils=tests)


def test_the_shape_rule_knows_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a tensor that says it is on a GPU, without one: the reserve is the GPU's."""
    monkeypatch.setattr(_cuda, "why_not_gpu", lambda index: None)
    stack = ft.GRU(5, 7, 2, dtype=torch.float16, device="meta").stack(torch.float16)
    with FakeTensorMode():
        on_gpu, on_cpu = (torch.empty(1, device=device) for device in ("cuda:0", "cpu"))
    size = _ops._reserve_bytes(stack, on_gpu, 9, 3)
    assert size == _cuda.reserve_bytes(stack, 9, 3)
    assert size >= 2 * (10 * 3 * 7 + 9 * 3 * 4 * 7) * 2 + 9 * 3 * 7 * 2  # h, saved values, y
    assert _ops._reserve_bytes(stack, on_cpu, 9, 3) != size


@pytest.mark.usefixtures("force")
def test_torch_func(place: Place) -> None:
    layer, x = layer_and_input(place, "GRU", dtype=torch.float64)
    params = {n: p.detach() for n, p in layer.named_parameters()}

    def loss(params: Any, row: Tensor) -> Tensor:
        return torch.func.functional_call(layer, params, (row[:, None],))[0].sin().sum()

    each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 1))(params, x.detach())
    for row in range(3):
        expected = torch.func.grad(loss)(params, x.detach()[:, row])
        for name, gradient in expected.items():
            torch.testing.assert_close(each[name][row], gradient)


@pytest.mark.usefixtures("force")
@pytest.mark.parametrize("name", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("asked", [torch.float16, torch.bfloat16])
def test_autocast_computes_in_float16(place: Place, name: str, asked: torch.dtype) -> None:
    """As torch.nn's cuDNN call does, whatever autocast was asked for; backward may be inside."""
    layer, x = layer_and_input(place, name, num_layers=2)
    wide = everything(layer, x)
    # in the emulation the CPU's autocast stands for the GPU's
    with torch.autocast(place.device.type, asked):
        report = ft.explain(layer, x)
        out = tensors(layer(x))
        found = [
            *out,
            *torch.autograd.grad(sum(o.sin().sum() for o in out), [x, *layer.parameters()]),
        ]
    assert report["dtype"] == "float16"
    states = len(out)
    for number, (one, other) in enumerate(zip(found, wide, strict=True)):
        assert one.dtype is (torch.float16 if number < states else torch.float32)
        torch.testing.assert_close(
            one.float(),
            other,
            rtol=AUTOCAST[0],
            atol=AUTOCAST[1] * float(other.detach().abs().max().clamp(min=1)),
        )


WINDOWS: list[tuple[str, dict[str, Any], torch.dtype, int, bool, bool, str | None]] = [
    ("LSTM", {"hidden_size": 128}, torch.float32, 64, False, True, "PERSIST_STATIC_SMALL_H"),
    ("LSTM", {"hidden_size": 192}, torch.float32, 64, False, True, None),
    ("LSTM", {"hidden_size": 192}, torch.bfloat16, 64, False, False, "PERSIST_STATIC_SMALL_H"),
    ("LSTM", {"hidden_size": 64}, torch.float64, 64, False, True, None),
    ("LSTM", {"hidden_size": 64}, torch.float32, 64, True, True, None),
    ("RNN", {"hidden_size": 256}, torch.float32, 1, False, True, "PERSIST_STATIC_SMALL_H"),
    ("LSTM", {"hidden_size": 512}, torch.float16, 64, False, True, "PERSIST_STATIC"),
    ("LSTM", {"hidden_size": 512}, torch.bfloat16, 64, False, True, None),
    ("LSTM", {"hidden_size": 512}, torch.float16, 60, False, True, None),
    ("LSTM", {"hidden_size": 512}, torch.float16, 136, False, True, None),
    ("LSTM", {"hidden_size": 512, "num_layers": 2}, torch.float16, 64, False, True, None),
    ("LSTM", {"hidden_size": 512, "bidirectional": True}, torch.float16, 64, False, True, None),
    ("LSTM", {"hidden_size": 520}, torch.float16, 64, False, True, None),
    ("LSTM", {"hidden_size": 512, "input_size": 100}, torch.float16, 64, False, True, None),
    ("GRU", {"hidden_size": 512}, torch.float16, 64, False, True, None),
    ("RNN", {"hidden_size": 512}, torch.float16, 96, False, True, "PERSIST_STATIC"),
    ("RNN", {"hidden_size": 1024}, torch.float16, 96, False, True, None),
]  # fmt: skip


@pytest.mark.parametrize(("name", "sizes", "dtype", "rows", "ragged", "trains", "window"), WINDOWS)
def test_cudnns_persistent_windows(
    name: str, sizes: Any, dtype: torch.dtype, rows: int, ragged: bool, trains: bool, window: Any
) -> None:
    sizes = {"input_size": 128} | sizes
    module = getattr(torch.nn, name)(**sizes, device="meta")
    assert _route.persistent_window(module, dtype, rows, ragged, trains) == window


def test_the_rule_and_its_override(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    small = ft.LSTM(8, 16, device=place.device)
    x = torch.randn(20, 4, 8, device=place.device)
    report = ft.explain(small, x)
    assert report["path"] == "torch.nn"
    assert "PERSIST_STATIC_SMALL_H" in report["why"]
    wide = ft.GRU(8, 200, device=place.device)
    report = fastrnn.explain(wide, x)
    assert report["path"] == "kernels, called directly"
    assert str(place.device) in report["why"]
    assert report["tier"] in ("resident", "grid", "streamed")
    assert report["backward tier"] in ("resident", "grid", "streamed")
    assert report["dtype"] == "float32"
    assert "7 steps are too few" in ft.explain(wide, x[:7])["why"]
    assert "tensor cores" in ft.explain(wide, x[:, :1].expand(20, 1000, 8))["why"]
    assert "one step on a GPU" in ft.explain(ft.GRUCell(8, 200, device=place.device), x[0])["why"]
    half, many = ft.GRU(8, 200, device=place.device).half(), x[:, :1].expand(20, 1000, 8).half()
    assert ft.explain(half, x.half())["dtype"] == "float16"
    assert "product per step" in ft.explain(half, many)["why"]
    with torch.backends.cudnn.flags(enabled=False):
        assert ft.explain(small, x)["path"] == "kernels, called directly"
    monkeypatch.setattr(_route, "choice", "never")
    assert ft.explain(wide, x)["why"] == "FASTRNN_TORCH_CUDA is never"


def test_what_torch_runs_gives_torchs_bits(place: Place) -> None:
    """Outside the rule a call, its lengths and its weights are torch.nn's."""
    small = ft.LSTM(8, 16, device=place.device)
    x = torch.randn(20, 4, 8, device=place.device)
    assert torch.equal(small(x)[0], torch.nn.LSTM.forward(small, x)[0])
    y = small(x[:4], lengths=torch.tensor([4, 0, 2, 3], device=place.device))[0]
    assert (y[2:, 2] == 0).all()


def test_no_kernels_for_a_gpu_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_cuda._core, "build_info", lambda: {"cuda": False})
    assert _cuda._unfit.__wrapped__(0) == "this build of fastrnn has no CUDA kernels"
    monkeypatch.setattr(_cuda._core, "build_info", lambda: {"cuda": True})
    monkeypatch.setattr(torch.version, "cuda", None)
    assert _cuda._unfit.__wrapped__(0) == "this build of torch is not for CUDA"
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: (7, 5))
    assert "compute capability is 7.5" in _cuda._unfit.__wrapped__(0)
    monkeypatch.setattr(_cuda, "why_not_gpu", lambda index: "this build has none")
    monkeypatch.setattr(torch.nn.RNNBase, "reset_parameters", lambda module: None)
    with FakeTensorMode(), torch.backends.cudnn.flags(enabled=False):
        report = ft.explain(ft.GRU(5, 7, device="cuda:0"), torch.empty(9, 3, 5, device="cuda:0"))
    assert (report["path"], report["why"]) == (
        "torch.nn",
        "the parameters are on cuda:0, and this build has none",
    )


def test_a_wrong_choice_is_refused() -> None:
    run = [sys.executable, "-c", "import fastrnn.torch"]
    done = subprocess.run(
        run, env=os.environ | {"FASTRNN_TORCH_CUDA": "yes"}, capture_output=True, text=True
    )
    assert done.returncode
    assert "FASTRNN_TORCH_CUDA has value 'yes', expected auto, always or never" in done.stderr


@pytest.mark.usefixtures("force")
def test_those_who_allow_tf32_get_it(place: Place) -> None:
    """torch's own switch: other bits than in float32, as near as 11 bits of each factor go."""
    layer, x = layer_and_input(place, num_layers=2)
    exact = everything(layer, x)
    assert ft.explain(layer, x)["dtype"] == "float32"
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        assert ft.explain(layer, x)["dtype"] == "tf32"
        found = everything(layer, x)
    finally:
        torch.set_float32_matmul_precision(before)
    assert not torch.equal(found[0], exact[0])
    for one, other in zip(found, exact, strict=True):
        assert (one - other).abs().max() <= STORAGE_RELATIVE["tf32"] * max(other.abs().max(), 1)
    assert_same_bits(everything(layer, x), exact)
