"""Against torch.nn with the same state_dict: outputs, final states and every gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cases import SEED
from covering import covering_rows
from modules import CELLS, LAYERS, has_c, normal, random_state, run, state_arrays
from tolerances import ASSERT_CLOSE, TORCH_PARITY_FLOAT64

import fastrnn

torch = pytest.importorskip(
    "torch", reason="the comparison with torch.nn needs torch", exc_type=ImportError
)

I, H = 5, 7
Result = dict[str, np.ndarray]

OPTIONS: dict[str, list[Any]] = {
    "T": [1, 2, 9],
    "B": [1, 4, None],  # None: one sequence without batch axis
    "dtype": ["float32", "float64"],
    "num_layers": [1, 2, 3],
    "bidirectional": [False, True],
    "batch_first": [False, True],
    "bias": [False, True],
    "ragged": [False, True],
    "states": [False, True],
}


def torch_twin(module: Any) -> Any:
    """The torch.nn module of the same class, options and weights."""
    name = type(module).__name__
    options = {"bias": module.bias, "dtype": getattr(torch, str(module.dtype))}
    for option in ("num_layers", "batch_first", "bidirectional", "dropout", "nonlinearity"):
        if hasattr(module, option):
            options[option] = getattr(module, option)
    twin = getattr(torch.nn, name)(module.input_size, module.hidden_size, **options)
    twin.load_state_dict({key: torch.from_numpy(a) for key, a in module.state_dict().items()})
    return twin


def leaves(arrays: tuple[np.ndarray, ...]) -> list[Any]:
    return [torch.from_numpy(array.copy()).requires_grad_() for array in arrays]


def numpy_of(tensor: Any, like: Any) -> np.ndarray:
    """A tensor's values; zeros for a gradient that torch did not make."""
    return np.zeros(like.shape, str(like.dtype)[6:]) if tensor is None else tensor.detach().numpy()


def run_torch(
    twin: Any, x: np.ndarray, state: Any, lengths: Any, d_y: np.ndarray, d_state: Any
) -> Result:
    """What `modules.run` computes, by torch; ragged rows as a PackedSequence."""
    (given_x,) = leaves((x,))
    states = leaves(state_arrays(state)) if state is not None else []
    given = (tuple(states) if len(states) == 2 else states[0]) if states else None
    if lengths is None:
        y, last = twin(given_x, given)
    else:
        rnn = torch.nn.utils.rnn
        packed = rnn.pack_padded_sequence(given_x, lengths, twin.batch_first, enforce_sorted=False)
        y, last = twin(packed, given)
        total = x.shape[1 if twin.batch_first else 0]
        y, _ = rnn.pad_packed_sequence(y, twin.batch_first, total_length=total)
    lasts = last if isinstance(last, tuple) else (last,)
    arriving = [torch.from_numpy(d) for d in (d_y, *state_arrays(d_state))]
    torch.autograd.backward([y, *lasts], arriving)
    result = {"y": numpy_of(y, y), "d_x": numpy_of(given_x.grad, given_x)}
    for letter, tensor in zip("hc", lasts, strict=False):
        result[f"{letter}_n"] = numpy_of(tensor, tensor)
    for letter, tensor in zip("hc", states, strict=False):
        result[f"d_{letter}_0"] = numpy_of(tensor.grad, tensor)
    return result | {f"d_{key}": numpy_of(p.grad, p) for key, p in twin.named_parameters()}


def assert_close(ours: Result, theirs: Result, context: object) -> None:
    for name, expected in theirs.items():
        dtype = str(expected.dtype)
        rtol, atol = TORCH_PARITY_FLOAT64 if dtype == "float64" else ASSERT_CLOSE[dtype]
        assert ours[name].dtype == expected.dtype, f"{name} in {context}"
        np.testing.assert_allclose(ours[name], expected, rtol, atol, err_msg=f"{name}, {context}")


@pytest.mark.parametrize("name", LAYERS)
def test_layers(name: str) -> None:
    rows = covering_rows(OPTIONS, 2, seed=SEED)
    assert len(rows) >= 9
    for number, row in enumerate(rows):
        row = dict(row)
        steps, batch, ragged, states = (row.pop(key) for key in ("T", "B", "ragged", "states"))
        layer = LAYERS[name](I, H, **row, rng=number)
        outer: tuple[int, ...] = (steps,) if batch is None else (steps, batch)
        outer = outer[::-1] if row["batch_first"] else outer
        x = normal((*outer, I), layer.dtype, number)
        d_y = normal((*outer, H * (1 + row["bidirectional"])), layer.dtype, number + 100)
        state = random_state(layer, batch, number + 200) if states else None
        d_state = random_state(layer, batch, number + 300)
        lengths = None
        if ragged and batch is not None:  # torch packs no row of length 0
            lengths = np.random.default_rng([SEED, number]).integers(1, steps + 1, batch)
        ours = run(layer, x, state, lengths, d_y, d_state)
        theirs = run_torch(torch_twin(layer), x, state, lengths, d_y, d_state)
        assert_close(ours, theirs, f"{layer!r}, x {x.shape}, lengths {lengths}")


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize(("hidden", "bidirectional"), [(33, True), (65, False), (128, True)])
@pytest.mark.parametrize("name", LAYERS)
def test_layers_of_working_size(name: str, hidden: int, bidirectional: bool, ragged: bool) -> None:
    """Several panels, tiles and blocks of terms, over 50 steps; float64, where nothing hides."""
    steps, batch, directions = 50, 17, 1 + bidirectional
    layer = LAYERS[name](19, hidden, bidirectional=bidirectional, dtype=np.float64, rng=hidden)
    x = normal((steps, batch, 19), np.float64, hidden)
    d_y = normal((steps, batch, hidden * directions), np.float64, hidden + 100)
    state, d_state = (random_state(layer, batch, hidden + key) for key in (200, 300))
    lengths = np.random.default_rng(hidden).integers(1, steps + 1, batch) if ragged else None
    ours = run(layer, x, state, lengths, d_y, d_state)
    theirs = run_torch(torch_twin(layer), x, state, lengths, d_y, d_state)
    assert_close(ours, theirs, f"{layer!r}, lengths {lengths}")


def test_the_comparison_notices_a_small_mistake() -> None:
    layer = fastrnn.LSTM(I, H, dtype=np.float64, rng=0)
    x, d_y = normal((4, 3, I), np.float64), normal((4, 3, H), np.float64, 1)
    d_state = random_state(layer, 3)
    ours = run(layer, x, None, None, d_y, d_state)
    twin = torch_twin(layer)
    with torch.no_grad():
        twin.weight_hh_l0[0, 0] += 1e-9
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        assert_close(ours, run_torch(twin, x, None, None, d_y, d_state), "perturbed")


@pytest.mark.parametrize("name", LAYERS)
def test_full_dropout(name: str) -> None:
    """With p = 1 the masks are known, so that dropout can be compared too."""
    layer = LAYERS[name](I, H, num_layers=3, dropout=1.0, bidirectional=True, rng=0)
    x, d_y = normal((6, 3, I)), normal((6, 3, 2 * H), key=1)
    state, d_state = random_state(layer, 3), random_state(layer, 3, 5)
    ours = run(layer, x, state, None, d_y, d_state)
    assert_close(ours, run_torch(torch_twin(layer), x, state, None, d_y, d_state), repr(layer))


@pytest.mark.parametrize("batch", [4, None])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CELLS)
def test_cells(name: str, dtype: str, bias: bool, batch: int | None) -> None:
    cell = CELLS[name](I, H, bias=bias, dtype=dtype, rng=0)
    twin = torch_twin(cell)
    x = normal((I,) if batch is None else (batch, I), dtype)
    state, d_state = random_state(cell, batch), random_state(cell, batch, 5)
    after, tape = cell.forward(x, state)
    d_x, before, grads = cell.backward(tape, d_state)
    (given_x,), states = leaves((x,)), leaves(state_arrays(state))
    theirs = twin(given_x, tuple(states) if has_c(cell) else states[0])
    theirs = theirs if isinstance(theirs, tuple) else (theirs,)
    torch.autograd.backward(theirs, [torch.from_numpy(d) for d in state_arrays(d_state)])
    ours = {"d_x": d_x} | {f"d_{key}": grad for key, grad in grads.items()}
    expected = {"d_x": given_x.grad.numpy()}
    expected |= {f"d_{key}": p.grad.numpy() for key, p in twin.named_parameters()}
    for letter, *found in zip("hc", state_arrays(after), theirs, strict=False):
        ours[f"{letter}_n"], expected[f"{letter}_n"] = found[0], found[1].detach().numpy()
    for letter, *found in zip("hc", state_arrays(before), states, strict=False):
        ours[f"d_{letter}_0"], expected[f"d_{letter}_0"] = found[0], found[1].grad.numpy()
    assert_close(ours, expected, repr(cell))


@pytest.mark.parametrize("name", LAYERS | CELLS)
def test_state_dicts_are_exchanged_both_ways(name: str) -> None:
    options = {"num_layers": 2, "bidirectional": True} if name in LAYERS else {}
    ours = (LAYERS | CELLS)[name](I, H, **options, rng=0)
    theirs = torch_twin(ours)  # strict: it has loaded every one of our names
    assert list(theirs.state_dict()) == list(ours.state_dict())
    theirs.reset_parameters()
    ours.load_state_dict(theirs.state_dict())
    for key, tensor in theirs.state_dict().items():
        assert np.array_equal(ours.parameters()[key], tensor.numpy()), key
    ours.load_state_dict(dict(theirs.named_parameters()))  # tensors that need gradients
    half = {key: tensor.to(torch.bfloat16) for key, tensor in theirs.state_dict().items()}
    ours.load_state_dict(half)
    for key, tensor in half.items():
        assert np.array_equal(ours.parameters()[key], tensor.float().numpy()), key


def test_a_projection_is_refused() -> None:
    projected = torch.nn.LSTM(I, H, proj_size=3)
    with pytest.raises(ValueError, match="state_dict has unexpected weight_hr_l0, expected 4"):
        fastrnn.LSTM(I, H).load_state_dict(projected.state_dict())


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_layers": 3, "dropout": 0.5, "bidirectional": True},
        {"bias": False, "batch_first": True},
        {"num_layers": 2, "bias": False, "batch_first": True, "dropout": 0.1},
    ],
)
def test_repr_is_torchs(options: dict[str, Any]) -> None:
    for name in ("LSTM", "GRU", "RNN"):
        expected = repr(getattr(torch.nn, name)(I, H, **options))
        assert repr(getattr(fastrnn, name)(I, H, **options)) == expected
    expected = repr(torch.nn.RNNCell(I, H, nonlinearity="relu"))
    assert repr(fastrnn.RNNCell(I, H, nonlinearity="relu")) == expected


def test_initialisation_has_torchs_spread() -> None:
    torch.manual_seed(SEED)
    ours, theirs = fastrnn.LSTM(60, 60, rng=SEED), torch.nn.LSTM(60, 60)
    for key, tensor in theirs.named_parameters():
        mine, other = ours.parameters()[key], tensor.detach().numpy()
        # the standard error of a uniform sample's deviation is 0.45/sqrt(n) of it: 5 of these
        assert abs(mine.std() / other.std() - 1) < 5 * 0.45 * np.sqrt(2 / mine.size), key
        assert np.abs(mine).max() <= 1 / np.sqrt(np.float32(60)), key


def test_a_tensor_as_input_is_refused_with_the_way_out() -> None:
    lstm = fastrnn.LSTM(I, H, rng=0)
    x = torch.zeros(4, 3, I)
    with pytest.raises(TypeError, match=r"x is a torch tensor.*pass x.detach\(\).cpu\(\).numpy"):
        lstm(x)
    with pytest.raises(TypeError, match=r"x is a torch tensor"):
        lstm(x.requires_grad_())
    with pytest.raises(TypeError, match=r"lengths is a torch tensor.*pass lengths.numpy\(\)"):
        lstm(x.detach().numpy(), lengths=torch.tensor([1, 2, 3]))
    assert lstm(x.detach().numpy())[0].shape == (4, 3, H)
