"""Remember two numbers among many: the adding problem, LSTM against always answering the mean.

Each of T steps shows a number in [0, 1] and a mark; two steps are marked, and after the last step
the sum of their numbers is asked for. Always answering 1, the mean, has a squared error of 1/6: who
does better has stored both numbers over many steps (Hochreiter and Schmidhuber 1997, section 5.4).
"""

from __future__ import annotations

import argparse

import numpy as np

import fastrnn
from fastrnn import training as tr

H = 32


def task(T: int, n: int, seed: int) -> tr.ArrayBatches:
    """n sequences; the loss looks at the last step alone."""
    rng = np.random.default_rng(seed)
    x = np.zeros((T, n, 2), np.float32)
    x[:, :, 0] = rng.random((T, n))
    first, second = rng.integers(0, T // 2, n), rng.integers(T // 2, T, n)
    x[first, np.arange(n), 1] = x[second, np.arange(n), 1] = 1
    target = np.zeros((T, n, 1), np.float32)
    target[-1, :, 0] = (x[:, :, 0] * x[:, :, 1]).sum(0)
    mask = np.zeros((T, n, 1), bool)
    mask[-1] = True
    return tr.ArrayBatches(x, target, 50, mask=mask, seed=seed)


def main() -> None:
    """Train and compare."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--length", type=int, default=40, help="steps of a sequence (default 40)")
    parser.add_argument("--steps", type=int, default=1500, help="training steps (default 1500)")
    given = parser.parse_args()

    lstm = fastrnn.LSTM(2, H, rng=1)
    lstm.bias_ih_l0[H : 2 * H] += 1  # open forget gates: remember before learning what to forget
    model = tr.Sequential(lstm, tr.Linear(H, 1, rng=2))
    test = task(given.length, 1000, 1)

    def report(history: tr.History, loss: float) -> None:
        if history.steps % 250 == 0:
            print(f"step {history.steps:5}   squared error of the batch {loss:.5f}", flush=True)

    history = tr.fit(
        model,
        task(given.length, 4000, 0),
        tr.mse,
        tr.Adam(model.parameters()),
        steps=given.steps,
        schedule=tr.Cosine(1e-2, warmup=20, warmup_share=0.1),
        clip_norm=1.0,
        validation=test,
        validate_every=given.steps,
        progress=False,
        callbacks=[report],
    )
    answers = test.target[-1]
    print(f"baseline (always the mean)   squared error {np.var(answers):.5f}")
    print(f"score    (LSTM of {H})        squared error {history.validation[-1]['loss']:.5f}")


if __name__ == "__main__":
    main()
