"""Training: small pieces over NumPy arrays that can be used together or alone.

* model: :class:`Sequential` over :class:`Embedding`, :class:`OneHot`, :class:`Linear`,
  :class:`Dropout` and ``fastrnn.LSTM/GRU/RNN`` (:mod:`fastrnn.training.module` has the contract);
* losses: :func:`cross_entropy`, :func:`mse`, :func:`bernoulli`, each with a mask;
* optimizers: :class:`SGD`, :class:`RMSProp`, :class:`Adam`, :class:`AdamW`; schedules
  :class:`Constant`, :class:`Cosine`, :class:`Step`, :class:`ReduceOnPlateau`;
  :func:`clip_grad_norm`, :func:`clip_grad_value`;
* data: :class:`Batch`, :class:`ArrayBatches`, :class:`Vocabulary`, :class:`TextStreams`,
  :class:`TextWindows`, :func:`split_text`, and the baseline :func:`markov_losses`;
* :func:`fit`, :func:`evaluate`, :class:`History`, :func:`generate`, :func:`plot_losses`,
  :func:`save_checkpoint`, :func:`load_checkpoint`, :class:`Checkpoint`.

Nothing here imports more than NumPy; the progress bar (tqdm), checkpoints (safetensors) and the
picture (matplotlib) come with ``pip install 'fastrnn[demo]'``.
"""

from __future__ import annotations

from .batches import ArrayBatches, Batch
from .checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from .clip import clip_grad_norm, clip_grad_value
from .fit import fit
from .generate import generate
from .history import History
from .layers import Dropout, Embedding, Linear, OneHot
from .loop import evaluate
from .losses import bernoulli, cross_entropy, mse
from .markov import markov_losses
from .module import Module, Sequential
from .optim import SGD, Adam, AdamW, RMSProp
from .optimizer import Optimizer
from .plot import plot_losses
from .schedule import Constant, Cosine, ReduceOnPlateau, Schedule, Step
from .text import TextStreams, TextWindows, Vocabulary, split_text

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "ArrayBatches",
    "Batch",
    "Checkpoint",
    "Constant",
    "Cosine",
    "Dropout",
    "Embedding",
    "History",
    "Linear",
    "Module",
    "OneHot",
    "Optimizer",
    "RMSProp",
    "ReduceOnPlateau",
    "Schedule",
    "Sequential",
    "Step",
    "TextStreams",
    "TextWindows",
    "Vocabulary",
    "bernoulli",
    "clip_grad_norm",
    "clip_grad_value",
    "cross_entropy",
    "evaluate",
    "fit",
    "generate",
    "load_checkpoint",
    "markov_losses",
    "mse",
    "plot_losses",
    "save_checkpoint",
    "split_text",
]
