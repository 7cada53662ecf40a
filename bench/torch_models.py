"""Models that people train in torch, with data to train them on, for bench.probes.torch_epochs.

Every task builds its model of torch.nn's classes, makes all its data before the clock runs, from
NumPy and a fixed seed, and trains one epoch at a time. torch is imported when a task is made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass
class Task:
    """A model and its epochs."""

    name: str
    cell: str
    sizes: str
    build: Callable[[], Any]  # a module of torch.nn's classes, the same each time
    epoch: Callable[[Any, Any], list[Any]]  # (model, optimizer) -> the loss of every step


def tasks(quick: bool) -> list[Task]:
    """All of them, in full or shrunk to seconds."""
    taggers = [tagger(quick, padded) for padded in (True, False)]
    return [policy(quick), hydrology(quick), forecasting(quick), *taggers]


def _numbers(*shape: int, seed: int) -> Any:
    import torch

    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape, dtype=np.float32))


def _step(optimizer: Any, value: Any, clip: float | None = None) -> Any:
    import torch

    optimizer.zero_grad()
    value.backward()
    if clip is not None:
        (group,) = optimizer.param_groups
        torch.nn.utils.clip_grad_norm_(group["params"], clip)
    optimizer.step()
    return value.detach()


def policy(quick: bool) -> Task:
    """Recurrent PPO: a rollout step by step without gradients, then four passes of updates."""
    import torch

    B, T, I, H, A, passes = (64, 8, 48, 32, 6, 2) if quick else (1024, 32, 48, 256, 6, 4)
    nn = torch.nn

    class Policy(nn.Module):
        """Encoder, memory, and two heads: action logits and value."""

        def __init__(self) -> None:
            super().__init__()
            self.encoder = nn.Sequential(nn.Linear(I, 64), nn.Tanh())
            self.memory = nn.LSTM(64, H)
            self.actor, self.critic = nn.Linear(H, A), nn.Linear(H, 1)

        def forward(self, x: Any, state: Any = None) -> tuple[Any, Any, Any]:
            y, state = self.memory(self.encoder(x), state)
            return self.actor(y).log_softmax(-1), self.critic(y)[..., 0], state

    seen = _numbers(T, B, I, seed=1)
    rng = np.random.default_rng(2)
    done = torch.from_numpy(rng.integers(0, A, (T, B)))[..., None]
    rewards = (seen[..., :A].gather(-1, done))[..., 0]

    def epoch(model: Any, optimizer: Any) -> list[Any]:
        state, before, values = None, [], []
        with torch.no_grad():
            for t in range(T):
                logits, value, state = model(seen[t : t + 1], state)
                before.append(logits.gather(-1, done[t : t + 1]))
                values.append(value)
            old = torch.cat(before)
            returns, later = torch.empty_like(rewards), torch.zeros(B)
            for t in reversed(range(T)):
                later = returns[t] = rewards[t] + 0.97 * later
            ahead = returns - torch.cat(values)
            ahead = (ahead - ahead.mean()) / (ahead.std() + 1e-8)
        losses = []
        for _ in range(passes):
            logits, value, _ = model(seen)
            ratio = (logits.gather(-1, done) - old).exp()[..., 0]
            gain = torch.minimum(ratio * ahead, ratio.clamp(0.8, 1.2) * ahead).mean()
            entropy = -(logits.exp() * logits).sum(-1).mean()
            off = (value - returns).square().mean()
            losses.append(_step(optimizer, 0.5 * off - gain - 0.01 * entropy, clip=0.5))
        return losses

    return Task("recurrent PPO", "lstm", f"B={B}, T={T}, H={H}", Policy, epoch)


def _of_last_step(layer: Any, head: Any) -> Any:
    """A model: the head reads what the layer gives at the last step."""
    import torch

    class LastStep(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.head = layer, head

        def forward(self, x: Any) -> Any:
            return self.head(self.layer(x)[0][-1])

    return LastStep()


def hydrology(quick: bool) -> Task:
    """Runoff of the last day from a year of forcings, by a layer that reads days."""
    import torch

    B, T, I, H, batches = (16, 30, 8, 32, 2) if quick else (256, 365, 32, 256, 2)
    forcing = [_numbers(T, B, I, seed=10 + number) for number in range(batches)]
    days = 0.9 ** torch.arange(T - 1, -1, -1.0)
    runoff = [(x[..., 0].clamp(min=0) * days[:, None]).sum(0, keepdim=True).T for x in forcing]

    def build() -> Any:
        return _of_last_step(torch.nn.LSTM(I, H), torch.nn.Linear(H, 1))

    def epoch(model: Any, optimizer: Any) -> list[Any]:
        return [
            _step(optimizer, (model(x) - y).square().mean(), clip=1.0)
            for x, y in zip(forcing, runoff, strict=True)
        ]

    return Task("hydrology", "lstm", f"B={B}, T={T}, I={I}, H={H}", build, epoch)


def forecasting(quick: bool) -> Task:
    """The next 24 values of many series from windows of them, by two layers."""
    import torch

    B, T, I, H, batches = (64, 24, 8, 32, 2) if quick else (1024, 96, 8, 128, 3)
    ahead = 24
    rng = np.random.default_rng(20)
    windows, targets = [], []
    for _ in range(batches):
        t = np.arange(T + ahead)[:, None] + rng.uniform(0, 100, B)
        series = np.sin(t / rng.uniform(2, 12, B)) + 0.1 * rng.normal(size=t.shape)
        x = np.repeat(series[:T, :, None], I, 2) * np.linspace(0.5, 1.5, I)
        windows.append(torch.from_numpy(x.astype(np.float32)))
        targets.append(torch.from_numpy(series[T:].T.astype(np.float32)))

    def build() -> Any:
        return _of_last_step(torch.nn.LSTM(I, H, num_layers=2), torch.nn.Linear(H, ahead))

    def epoch(model: Any, optimizer: Any) -> list[Any]:
        return [
            _step(optimizer, (model(x) - y).square().mean())
            for x, y in zip(windows, targets, strict=True)
        ]

    return Task("forecasting, 2 layers", "lstm", f"B={B}, T={T}, H={H}", build, epoch)


def tagger(quick: bool, padded: bool) -> Task:
    """A tag for every word of sentences, most of them short and some long.

    Packed for the layer and padded again for the head, as tutorials do it, or packed from the words
    to the loss, which spares torch a copy of all gradients for every length that occurs.
    """
    import torch

    B, T, E, H, batches = (16, 20, 16, 32, 2) if quick else (64, 128, 128, 256, 6)
    words, tags = 2000, 17
    nn, rnn = torch.nn, torch.nn.utils.rnn
    rng = np.random.default_rng(30)
    sentences = []
    for _ in range(batches):
        lengths = torch.from_numpy(np.clip(rng.lognormal(3.0, 0.7, B).astype(np.int64), 1, T))
        x = torch.from_numpy(rng.integers(0, words, (int(lengths.max()), B)))
        wanted = (x * 7 + x.roll(1, 0)) % tags
        sentences.append(
            [rnn.pack_padded_sequence(each, lengths, enforce_sorted=False) for each in (x, wanted)]
            if not padded
            else [x, lengths, torch.arange(len(x))[:, None] < lengths, wanted]
        )

    class Tagger(nn.Module):
        """Embedding, two directions over packed rows, and a tag for each word."""

        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(words, E)
            self.layer = nn.GRU(E, H, bidirectional=True)
            self.head = nn.Linear(2 * H, tags)

        def forward(self, x: Any, lengths: Any = None) -> Any:
            if lengths is None:
                packed = rnn.PackedSequence(self.embedding(x.data), *x[1:])
                return self.head(self.layer(packed)[0].data)
            packed = rnn.pack_padded_sequence(self.embedding(x), lengths, enforce_sorted=False)
            y, _ = rnn.pad_packed_sequence(self.layer(packed)[0], total_length=x.shape[0])
            return self.head(y)

    def loss(model: Any, x: Any, *rest: Any) -> Any:
        if not padded:
            return nn.functional.cross_entropy(model(x), rest[0].data)
        lengths, valid, wanted = rest
        return nn.functional.cross_entropy(model(x, lengths)[valid], wanted[valid])

    def epoch(model: Any, optimizer: Any) -> list[Any]:
        return [_step(optimizer, loss(model, *given)) for given in sentences]

    name = f"bidirectional tagger, {'padded' if padded else 'packed'} head"
    return Task(name, "gru", f"B={B}, T<={T}, H={H}", Tagger, epoch)
