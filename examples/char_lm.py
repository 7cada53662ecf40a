"""Predict the next character of Python's own help texts: GRU against Markov chains.

`fastrnn train` does this with every comfort; here is what it is made of.
"""

from __future__ import annotations

import argparse
from pydoc_data.topics import topics

import fastrnn
from fastrnn import training as tr

H, E = 128, 32


def main() -> None:
    """Train, compare, write a sample."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=1500, help="training steps (default 1500)")
    parser.add_argument("--characters", type=int, help="use so many of the text (default all)")
    given = parser.parse_args()

    text = "\n\n".join(topics[name].strip() for name in sorted(topics))[: given.characters]
    size = tr.split_text(len(text), 0.1)
    vocabulary = tr.Vocabulary.build(text[:size])
    ids = vocabulary.encode(text)
    chains = tr.markov_losses(ids, size, len(vocabulary), 4)

    model = tr.Sequential(
        embedding=tr.Embedding(len(vocabulary), E, rng=0),
        gru=fastrnn.GRU(E, H, rng=1),
        head=tr.Linear(H, len(vocabulary), rng=2),
    )

    def report(history: tr.History, loss: float) -> None:
        if history.steps % 100 == 0:
            print(f"step {history.steps:5}   nats per character {loss:.3f}", flush=True)

    history = tr.fit(
        model,
        tr.TextStreams(ids[:size], 32, 64, seed=0),
        tr.cross_entropy,
        tr.Adam(model.parameters()),
        steps=given.steps,
        schedule=tr.Cosine(8e-3, warmup=50, warmup_share=0.1),
        clip_norm=1.0,
        validation=tr.TextWindows(ids, size),
        validate_every=given.steps,
        progress=False,
        callbacks=[report],
    )
    for order in range(1, len(chains)):
        print(f"baseline (Markov chain of order {order})   nats per character {chains[order]:.4f}")
    print(f"score    (GRU of {H})                nats per character ", end="")
    print(f"{history.validation[-1]['loss']:.4f}")
    drawn = "".join(tr.generate(model, vocabulary, "\n", length=300, temperature=0.8, rng=0))
    print(f"\n{drawn}")


if __name__ == "__main__":
    main()
