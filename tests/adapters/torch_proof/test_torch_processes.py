"""Threads, forked workers of a DataLoader, and the order in which packages are imported."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from proof_subject import SUBJECT, cls

torch = pytest.importorskip("torch", reason="the proof needs torch", exc_type=ImportError)

THREADS, WORKERS = 64, 4
T, B, I, H = 12, 5, 8, 24
LAYERS = ["LSTM", "GRU", "RNN"]


def make(name: str) -> Any:
    torch.manual_seed(0)
    return cls(name)(I, H, 2, bidirectional=True)


def sample(number: int) -> Any:
    return torch.randn(T, B, I, generator=torch.Generator().manual_seed(number))


def step(module: Any, number: int) -> list[Any]:
    """Outputs and gradients of one call, without writing to the shared parameters' .grad."""
    if number % 2:
        with torch.no_grad():
            y, last = module(sample(number))
        return [y, *(last if isinstance(last, tuple) else (last,))]
    x = sample(number).requires_grad_()
    y, last = module(x)
    grads = torch.autograd.grad(y.square().sum(), [x, *module.parameters()])
    return [y.detach(), *grads]


@pytest.mark.parametrize("name", LAYERS)
def test_many_threads_on_one_module(name: str) -> None:
    """Sixty-four at once, forward and backward: the bits of the same calls one after another."""
    expected = [step(make(name), number) for number in range(THREADS)]
    shared = make(name)  # nothing is packed or kept yet
    start = threading.Barrier(THREADS)

    def begin(number: int) -> list[Any]:
        start.wait()
        return step(shared, number)

    with ThreadPoolExecutor(THREADS) as pool:
        found = list(pool.map(begin, range(THREADS)))
    for number in range(THREADS):
        for a, b in zip(found[number], expected[number], strict=True):
            assert torch.equal(a, b), f"thread {number}"


class Encoded(torch.utils.data.Dataset[Any]):
    """Samples that a recurrent layer has encoded in the worker."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer

    def __len__(self) -> int:
        return 16

    def __getitem__(self, number: int) -> Any:
        with torch.no_grad():
            return os.getpid(), self.layer(sample(number))[0]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")
@pytest.mark.parametrize("name", LAYERS)
def test_forked_workers_of_a_data_loader(name: str) -> None:
    """The parent has computed before it forks, and computes on between the batches."""
    layer = make(name)
    expected = [step(layer, number) for number in range(16)]
    loader = torch.utils.data.DataLoader(
        Encoded(layer),
        batch_size=None,
        num_workers=WORKERS,
        multiprocessing_context="fork",
        timeout=60,
    )
    owners = set()
    for number, (owner, y) in enumerate(loader):
        owners.add(owner)
        assert torch.equal(y, expected[number][0]), f"sample {number}"
        step(layer, number)
    assert len(owners) == WORKERS
    assert os.getpid() not in owners


PACKAGES = {"fastrnn": "fastrnn", "torch": "torch", "numpy": "numpy", "scikit-learn": "sklearn"}
COMPUTE = """
import importlib, os, sys, warnings
for name in sys.argv[1].split(","):
    importlib.import_module(name)
import numpy, torch
from sklearn.cluster import KMeans
layers = importlib.import_module(os.environ["FASTRNN_PROOF_SUBJECT"])
torch.manual_seed(0)
lstm = layers.LSTM(16, 32, 2)
x = torch.randn(30, 8, 16)
KMeans(2, n_init=1, random_state=0).fit(x[:, 0].numpy())  # its own OpenMP threads
y, _ = lstm(x)
y.sum().backward()
a = numpy.ones((300, 300)) @ numpy.ones((300, 300))
assert a[0, 0] == 300
print(float(y.detach().double().sum()), float(lstm.weight_hh_l0.grad.double().sum()))
"""


ORDERS = list(itertools.permutations(PACKAGES.values()))
# fastrnn, torch and scikit-learn bring OpenMP and import NumPy themselves: each of their orders,
# with NumPy's own import in every place
FEW = [order for i, order in enumerate(itertools.permutations(["fastrnn", "torch", "sklearn"]))
       for order in [(*order[: i % 4], "numpy", *order[i % 4 :])]]  # fmt: skip


def numbers_of(orders: list[tuple[str, ...]]) -> dict[tuple[str, ...], str]:
    """What new processes print that import in these orders; each must end well."""
    pytest.importorskip("sklearn", reason="one of the packages is scikit-learn")
    environment = os.environ | {"FASTRNN_PROOF_SUBJECT": SUBJECT}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    printed = {}
    for order in orders:
        done = subprocess.run(
            [sys.executable, "-c", COMPUTE, ",".join(order)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{order}: {done.stderr}"
        printed[order] = done.stdout
    return printed


def test_import_orders() -> None:
    assert len(set(FEW)) == 6
    assert {order.index("numpy") for order in FEW} == {0, 1, 2, 3}
    assert len(set(numbers_of(FEW).values())) == 1


@pytest.mark.slow
def test_every_import_order() -> None:
    assert len(ORDERS) == 24
    assert len(set(numbers_of(ORDERS).values())) == 1
