"""fit: learning, repeating bit for bit, stopping, Ctrl-C."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

import numpy as np
import pytest
from training_runs import RNG, text_run, without_times

import fastrnn
from fastrnn import training as tr


def test_learns_the_adding_task(threads: None) -> None:
    """Two marked numbers among 20 are to be added; always answering 1 has a squared error of 1/6.

    (Hochreiter and Schmidhuber 1997, section 5.4.) A network that had not stored them over many
    steps could not beat that baseline.
    """
    T, H, baseline = 20, 32, 1 / 6
    fastrnn.set_num_threads(1)  # so small a network is quickest on one

    def task(n: int, seed: int) -> tr.ArrayBatches:
        rng = RNG(seed)
        x = np.zeros((T, n, 2), np.float32)
        x[:, :, 0] = rng.random((T, n))
        first, second = rng.integers(0, T // 2, n), rng.integers(T // 2, T, n)
        x[first, np.arange(n), 1] = x[second, np.arange(n), 1] = 1
        y = np.zeros((T, n, 1), np.float32)
        y[-1, :, 0] = (x[:, :, 0] * x[:, :, 1]).sum(0)
        mask = np.zeros((T, n, 1), bool)
        mask[-1] = True
        return tr.ArrayBatches(x, y, 50, mask=mask, seed=seed)

    lstm = fastrnn.LSTM(2, H, rng=1)
    lstm.bias_ih_l0[H : 2 * H] += 1  # an open forget gate at the start
    model = tr.Sequential(lstm, tr.Linear(H, 1, rng=2))
    history = tr.fit(
        model,
        task(2000, 0),
        tr.mse,
        tr.Adam(model.parameters()),
        epochs=14,
        schedule=tr.Cosine(2e-2, warmup=20),
        clip_norm=1.0,
        validation=task(500, 1),
        progress=False,
    )
    assert history.validation[0]["loss"] > baseline  # untrained
    assert history.validation[-1]["loss"] < 0.1 * baseline
    assert history.stop == "done"


def test_run_is_reproducible_bitwise() -> None:
    (one, first), (two, second) = text_run(), text_run()
    for name, array in one.parameters().items():
        assert np.array_equal(array, two.parameters()[name]), name
    assert without_times(first) == without_times(second)
    assert [entry["step"] for entry in first.validation] == [0, 20, 40, 60, 61]
    other, _ = text_run(steps=62)
    assert not np.array_equal(one.state_dict()["head.weight"], other.state_dict()["head.weight"])


def test_stops() -> None:
    _, history = text_run(patience=1, schedule=None, steps=5000, validate_every=5)
    assert history.stop == "patience"
    assert history.since_best() == 1
    seen: list[float] = []
    _, history = text_run(callbacks=[lambda h, loss: seen.append(loss) or h.steps == 7])
    assert (history.stop, history.steps, len(seen)) == ("callback", 7, 7)


def test_restore_best() -> None:
    model, history = text_run(restore_best=True, validate_every=3, schedule=tr.Constant(0.1))
    ids = RNG(0).integers(0, 7, 1200)
    windows = tr.TextWindows(ids, 1000, streams=3, length=16, burn_in=8)
    assert tr.evaluate(model, windows, tr.cross_entropy) == history.best["loss"]
    assert history.best["step"] < history.steps


def test_divergence_is_said() -> None:
    message = r"fit: the (loss|gradient norm) is (nan|inf) at step \d+; lower the learning rate"
    with np.errstate(all="ignore"), pytest.raises(FloatingPointError, match=message):
        text_run(schedule=tr.Constant(1e38))


def test_fit_refuses() -> None:
    for bad, message in (
        ({"epochs": 2}, "exactly one"),
        ({"steps": None}, "exactly one"),
        ({"validate_every": 0}, "validate_every is 0"),
        ({"steps": 0}, "steps is 0, expected an integer >= 1"),
        ({"steps": -1}, "steps is -1, expected an integer >= 1"),
        ({"steps": None, "epochs": -1}, "epochs is -1, expected an integer >= 1"),
        ({"steps": None, "seconds": -1}, "seconds is -1, expected a positive number"),
        ({"validation": None, "patience": 1}, "need validation"),
    ):
        with pytest.raises(ValueError, match=message):
            text_run(**bad)
    with pytest.raises(TypeError, match=r"pass Sequential\(model\)"):
        tr.fit(tr.Linear(1, 1), [(1, 1)], tr.mse, tr.SGD({"a": np.zeros(1)}), steps=1)


def test_fit_refuses_other_types() -> None:
    with pytest.raises(TypeError, match=r"fit: steps is the float 2\.5, expected an integer"):
        text_run(steps=2.5)
    layer = tr.Sequential(tr.Linear(1, 1))
    sgd = tr.SGD(layer.parameters())
    with pytest.raises(TypeError, match=r"fit: batches has no len\(\), .*; give steps or seconds"):
        tr.fit(layer, lambda epoch: iter([(1, 1)]), tr.mse, sgd, epochs=2, progress=False)


def test_a_bad_gradient_of_a_finite_loss_changes_nothing() -> None:
    """A loss whose gradient is NaN, without clipping: the parameters stay as they were."""
    model = tr.Sequential(tr.Linear(2, 1, rng=0))
    before = model.state_dict()
    x = np.ones((3, 4, 2), np.float32)

    def loss(output: Any, target: Any, mask: Any) -> tuple[float, np.ndarray]:
        return 1.0, np.full_like(output, np.nan)

    with pytest.raises(FloatingPointError, match="fit: the gradient norm is nan at step 0"):
        tr.fit(model, [(x, x)], loss, tr.SGD(model.parameters()), steps=3, progress=False)
    assert all(np.array_equal(before[k], v) for k, v in model.parameters().items())


def test_interrupt_saves_at_a_step_and_resumes_bitwise(tmp_path: Any, capfd: Any) -> None:
    """Ctrl-C in a step: the step ends, a checkpoint is written; resumed it ends the same."""
    path = tmp_path / "a.safetensors"

    def interrupt(history: tr.History, loss: float) -> None:
        if history.steps == 33:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        text_run(checkpoint=path, callbacks=[interrupt])
    assert signal.getsignal(signal.SIGINT) is before
    assert f"interrupted after step 33: saved {path}" in capfd.readouterr().err
    resumed, second = text_run(checkpoint=path, resume=tr.load_checkpoint(path))
    whole, first = text_run()
    for name, array in whole.parameters().items():
        assert np.array_equal(array, resumed.parameters()[name]), name
    assert without_times(first) == without_times(second)


def test_blas_threads_are_limited_and_given_back() -> None:
    control = pytest.importorskip("threadpoolctl", reason="the limit needs threadpoolctl")

    def threads() -> list[int]:
        return [p["num_threads"] for p in control.threadpool_info() if p["user_api"] == "blas"]

    with control.threadpool_limits(3, user_api="blas"):
        before, inside = threads(), []
        text_run(steps=2, blas_threads=1, callbacks=[lambda h, loss: inside.append(threads())])
        assert threads() == before
    assert inside == [[1] * len(before)] * 2


def test_runs_in_a_thread() -> None:
    results: list[Any] = []
    worker = threading.Thread(target=lambda: results.append(text_run(steps=5)))
    worker.start()
    worker.join()
    assert results[0][1].steps == 5


def test_progress_bar_shows_loss_speed_and_time_left(capsys: Any) -> None:
    pytest.importorskip("tqdm", reason="the bar needs tqdm")
    text_run(progress=True, unit="chars")
    shown = capsys.readouterr().err
    for part in ("100%", "61/61 steps", "loss 1.", "validation 1.", "chars/s", "<00:00"):
        assert part in shown, shown
