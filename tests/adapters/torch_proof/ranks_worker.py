"""One of several gloo processes that train one model: `ranks_worker.py KIND RANK WORLD STORE`.

KIND is `ddp` or `fsdp`. Prints the losses, and the trained parameters, as JSON (rank 0 the latter).
Each rank takes its columns of the same batches. With WORLD 1 no process group is made.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import torch
import torch.distributed as dist
from proof_subject import cls

STEPS, T, B, I, H = 5, 6, 4, 3, 8


class Model(torch.nn.Module):
    """Two recurrent layers and a head."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.lstm = cls("LSTM")(I, H, 2, dtype=torch.float64)
        self.gru = cls("GRU")(H, H, bidirectional=True, dtype=torch.float64)
        self.head = torch.nn.Linear(2 * H, 1, dtype=torch.float64)

    def forward(self, x: Any) -> Any:
        return self.head(self.gru(self.lstm(x)[0])[0])


def wrapped(model: Any, kind: str) -> Any:
    if kind == "ddp":
        return torch.nn.parallel.DistributedDataParallel(model)
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    for layer in (model.lstm, model.gru):
        fully_shard(layer, mesh=mesh)
    return fully_shard(model, mesh=mesh)


def whole(parameter: Any) -> Any:
    """A sharded parameter gathered; every rank must ask."""
    return (parameter.full_tensor() if hasattr(parameter, "full_tensor") else parameter).detach()


def main(kind: str, rank: int, world: int, store: str) -> None:
    torch.set_num_threads(1)
    model: Any = Model()
    if world > 1:
        dist.init_process_group("gloo", f"file://{store}", rank=rank, world_size=world)
        model = wrapped(model, kind)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    generator = torch.Generator().manual_seed(1)
    losses = []
    share = slice(rank * B // world, (rank + 1) * B // world)
    for _ in range(STEPS):
        x = torch.randn(T, B, I, dtype=torch.float64, generator=generator)[:, share]
        optimizer.zero_grad()
        value = (model(x) - x.sum(-1, keepdim=True).cumsum(0)).square().mean()
        value.backward()
        optimizer.step()
        total = value.detach().clone()
        if world > 1:
            dist.all_reduce(total)
        losses.append(float(total) / world)
    parameters = {
        name.removeprefix("module."): whole(p).tolist() for name, p in model.named_parameters()
    }
    if rank == 0:
        print(json.dumps({"losses": losses, "parameters": parameters}))
    if world > 1:
        dist.barrier()
        dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
