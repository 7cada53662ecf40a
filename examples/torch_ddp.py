"""Train a character model of fastrnn.torch on two processes, as torch trains any model.

torch's DistributedDataParallel (or FSDP, --fsdp) over gloo: each process takes half of every batch.
The losses are those of one process on the whole batch, printed side by side. Baseline: how often
each character occurs, without context.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import numpy as np

from fastrnn import training as tr

B, T, E, H = 32, 64, 32, 128


def batches(ids: np.ndarray, steps: int) -> Any:
    """So many (T, B) windows of text, the text gone through again and again."""
    streams, epoch = tr.TextStreams(ids, B, T, seed=0), 0
    while True:
        for batch in streams(epoch):
            yield batch
            steps -= 1
            if not steps:
                return
        epoch += 1


def build(characters: int) -> Any:
    """Embedding, GRU, head: the same weights in every process."""
    import torch

    import fastrnn.torch

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = torch.nn.Embedding(characters, E)
            self.gru = fastrnn.torch.GRU(E, H)
            self.head = torch.nn.Linear(H, characters)

        def forward(self, x: Any, state: Any = None) -> Any:
            y, state = self.gru(self.embedding(x), state)
            return self.head(y.flatten(0, 1)), state

    torch.manual_seed(0)
    return Model()


def wrapped(model: Any, fsdp: bool) -> Any:
    """The model as one of several processes trains it."""
    import torch

    if not fsdp:
        return torch.nn.parallel.DistributedDataParallel(model)
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh("cpu", (torch.distributed.get_world_size(),))
    fully_shard(model.gru, mesh=mesh)
    return fully_shard(model, mesh=mesh)


def train(rank: int, world: int, folder: str, options: argparse.Namespace) -> list[float]:
    """The loss of every step, averaged over the processes; rank 0 of several writes it down too."""
    import torch
    import torch.distributed as dist

    ids, size = encoded(options.characters)
    model = build(size)
    if world > 1:
        torch.set_num_threads(max(1, torch.get_num_threads() // world))
        dist.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=world)
        model = wrapped(model, options.fsdp)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    share = slice(rank * B // world, (rank + 1) * B // world)
    losses, state = [], None
    for batch in batches(ids, options.steps):
        x, target = (torch.from_numpy(a[:, share]).long() for a in (batch.x, batch.target))
        logits, state = model(x, state.detach() if batch.carry else None)
        loss = torch.nn.functional.cross_entropy(logits, target.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total = loss.detach()
        if world > 1:
            dist.all_reduce(total)
        losses.append(float(total) / world)
    if world > 1:
        dist.barrier()
        dist.destroy_process_group()
        if rank == 0:
            Path(folder, "losses.json").write_text(json.dumps(losses))
    return losses


def encoded(characters: int | None) -> tuple[np.ndarray, int]:
    """The text of Python's own help as numbers, and how many numbers there are."""
    text = "\n\n".join(topics[name].strip() for name in sorted(topics))[:characters]
    vocabulary = tr.Vocabulary.build(text)
    return vocabulary.encode(text), len(vocabulary)


def main() -> int:
    """Train twice and compare."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=200, help="training steps (default 200)")
    parser.add_argument("--characters", type=int, help="use so many of the text (default all)")
    parser.add_argument("--fsdp", action="store_true", help="FSDP instead of DDP")
    options = parser.parse_args()
    try:
        from torch.multiprocessing import spawn
    except ImportError:
        print("this example needs torch: pip install 'fastrnn[torch]'", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        one = train(0, 1, folder, options)
        spawn(train, (2, folder, options), nprocs=2)
        two = json.loads(Path(folder, "losses.json").read_text())
    print("nats per character   one process   two processes")
    for step in sorted({*range(0, options.steps, max(1, options.steps // 10)), options.steps - 1}):
        print(f"step {step:5}           {one[step]:11.6f}   {two[step]:13.6f}")
    apart = max(abs(a - b) / a for a, b in zip(one, two, strict=True))
    print(f"largest relative difference of two losses {apart:.1e}")
    counts = np.bincount(encoded(options.characters)[0])
    shares = counts[counts > 0] / counts.sum()
    entropy = -(shares * np.log(shares)).sum()
    print(f"baseline (characters without context)   nats per character {entropy:.4f}")
    print(f"score    (two processes, last steps)    nats per character {np.mean(two[-5:]):.4f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
