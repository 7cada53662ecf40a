"""Forecast a series one step ahead: GRU against persistence (tomorrow is like today).

The series are sums of three waves of random periods and phases, with noise: nothing but the past
tells which waves they are.
"""

from __future__ import annotations

import argparse

import numpy as np

import fastrnn
from fastrnn import training as tr

T, H, NOISE = 96, 48, 0.05


def series(n: int, seed: int) -> np.ndarray:
    """(T + 1, n, 1) float32."""
    rng = np.random.default_rng(seed)
    period = rng.uniform(6, 40, (3, 1, n))
    phase = rng.uniform(0, 2 * np.pi, (3, 1, n))
    t = np.arange(T + 1)[None, :, None]
    waves = np.sin(2 * np.pi * t / period + phase).sum(0) / 3
    noise = NOISE * rng.standard_normal((T + 1, n))
    return (waves + noise)[:, :, None].astype(np.float32)


def main() -> None:
    """Train and compare."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=1200, help="training steps (default 1200)")
    given = parser.parse_args()

    data, test = series(4000, 0), series(500, 1)
    model = tr.Sequential(fastrnn.GRU(1, H, rng=1), tr.Linear(H, 1, rng=2))

    def report(history: tr.History, loss: float) -> None:
        if history.steps % 200 == 0:
            print(f"step {history.steps:5}   squared error of the batch {loss:.5f}", flush=True)

    history = tr.fit(
        model,
        tr.ArrayBatches(data[:-1], data[1:], 64),
        tr.mse,
        tr.Adam(model.parameters()),
        steps=given.steps,
        schedule=tr.Cosine(5e-3, warmup=20, warmup_share=0.1),
        clip_norm=1.0,
        validation=tr.ArrayBatches(test[:-1], test[1:], 500, shuffle=False),
        validate_every=given.steps,
        progress=False,
        callbacks=[report],
    )
    persistence = float(np.square(test[1:] - test[:-1]).mean())
    print(f"baseline (persistence)   squared error {persistence:.5f}")
    print(f"score    (GRU of {H})     squared error {history.validation[-1]['loss']:.5f}")
    print(f"noise, which nobody can forecast       {NOISE**2:.5f}")


if __name__ == "__main__":
    main()
