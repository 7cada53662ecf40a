"""Optimizers with PyTorch's update formulas: SGD, RMSProp, Adam, AdamW.

``b`` and ``a`` in the updates are scratch pieces of the base class; ``p``, ``g`` and the slots are
views of the parameter, its gradient and its state (:mod:`fastrnn.training.optimizer`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from .optimizer import Optimizer, check_not_negative

__all__ = ["SGD", "Adam", "AdamW", "RMSProp"]


def _decayed(p: np.ndarray, g: np.ndarray, weight_decay: float, out: np.ndarray) -> np.ndarray:
    """``g + weight_decay * p`` in ``out``; ``g`` itself when there is no decay."""
    if weight_decay == 0:
        return g
    np.multiply(p, weight_decay, out=out)
    out += g
    return out


class SGD(Optimizer):
    """Stochastic gradient descent with momentum.

    Notes
    -----
    ``g += weight_decay * p``; with momentum ``v = momentum * v + g`` and then ``g = v``, or
    ``g += momentum * v`` for Nesterov's form (Sutskever et al., ICML 2013); ``p -= lr * g``.

    >>> import numpy as np
    >>> from fastrnn.training import SGD
    >>> p = {"w": np.ones(2, np.float32)}
    >>> SGD(p, lr=0.5).step({"w": np.ones(2, np.float32)}); p["w"]
    array([0.5, 0.5], dtype=float32)
    """

    algorithm = "sgd"
    slots = ("momentum_buffer",)

    def __init__(
        self,
        parameters: Mapping[str, np.ndarray],
        lr: float = 1e-3,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        check_not_negative("SGD", momentum=momentum, weight_decay=weight_decay)
        if nesterov and momentum == 0:
            raise ValueError("SGD: nesterov needs momentum > 0, got momentum = 0")
        self.momentum, self.weight_decay = float(momentum), float(weight_decay)
        self.nesterov = bool(nesterov)
        super().__init__(parameters, lr)

    def _used_slots(self) -> tuple[str, ...]:
        return self.slots if self.momentum else ()

    def hyperparameters(self) -> dict[str, float | bool]:
        """``lr``, ``momentum``, ``weight_decay``, ``nesterov``."""
        return {
            "lr": self.lr,
            "momentum": self.momentum,
            "weight_decay": self.weight_decay,
            "nesterov": self.nesterov,
        }

    def _update(
        self, p: np.ndarray, g: np.ndarray, slots: list[np.ndarray], a: np.ndarray, b: np.ndarray
    ) -> None:
        g = _decayed(p, g, self.weight_decay, a)
        if slots:
            v = slots[0]
            v *= self.momentum
            v += g
            if self.nesterov:
                np.multiply(v, self.momentum, out=b)
                b += g
                g = b
            else:
                g = v
        np.multiply(g, self.lr, out=b)
        p -= b


class RMSProp(Optimizer):
    """RMSProp (Tieleman and Hinton, lecture 6.5, 2012) in PyTorch's form.

    Notes
    -----
    ``g += weight_decay * p``; ``s = alpha * s + (1 - alpha) * g**2``;
    ``u = g / (sqrt(s) + eps)``; with momentum ``v = momentum * v + u`` and then ``u = v``;
    ``p -= lr * u``.
    """

    algorithm = "rmsprop"
    slots = ("square_avg", "momentum_buffer")

    def __init__(
        self,
        parameters: Mapping[str, np.ndarray],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
    ) -> None:
        check_not_negative(
            "RMSProp", alpha=alpha, eps=eps, weight_decay=weight_decay, momentum=momentum
        )
        self.alpha, self.eps = float(alpha), float(eps)
        self.weight_decay, self.momentum = float(weight_decay), float(momentum)
        super().__init__(parameters, lr)

    def _used_slots(self) -> tuple[str, ...]:
        return self.slots if self.momentum else self.slots[:1]

    def hyperparameters(self) -> dict[str, float | bool]:
        """``lr``, ``alpha``, ``eps``, ``weight_decay``, ``momentum``."""
        return {
            "lr": self.lr,
            "alpha": self.alpha,
            "eps": self.eps,
            "weight_decay": self.weight_decay,
            "momentum": self.momentum,
        }

    def _update(
        self, p: np.ndarray, g: np.ndarray, slots: list[np.ndarray], a: np.ndarray, b: np.ndarray
    ) -> None:
        g = _decayed(p, g, self.weight_decay, a)
        s = slots[0]
        s *= self.alpha
        np.multiply(g, g, out=b)
        b *= 1.0 - self.alpha
        s += b
        np.sqrt(s, out=b)
        b += self.eps
        np.divide(g, b, out=b)
        if self.momentum:
            v = slots[1]
            v *= self.momentum
            v += b
            np.copyto(b, v)
        b *= self.lr
        p -= b


class Adam(Optimizer):
    """Adam (Kingma and Ba, ICLR 2015); ``weight_decay`` is added to the gradient.

    Notes
    -----
    ``m = beta1 * m + (1 - beta1) * g``, ``v = beta2 * v + (1 - beta2) * g**2``;
    ``p -= lr / (1 - beta1**t) * m / (sqrt(v) / sqrt(1 - beta2**t) + eps)``.

    >>> import numpy as np
    >>> from fastrnn.training import Adam
    >>> p = {"w": np.zeros(1, np.float32)}
    >>> Adam(p, lr=0.1).step({"w": np.array([3.0], np.float32)}); p["w"].round(4)
    array([-0.1], dtype=float32)
    """

    algorithm = "adam"
    slots = ("exp_avg", "exp_avg_sq")
    _decoupled: ClassVar[bool] = False

    def __init__(
        self,
        parameters: Mapping[str, np.ndarray],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        self.beta1, self.beta2 = (float(beta) for beta in betas)
        if not (0 <= self.beta1 < 1 and 0 <= self.beta2 < 1):
            raise ValueError(f"{type(self).__name__}: betas are {betas}, expected both in [0, 1)")
        check_not_negative(type(self).__name__, eps=eps, weight_decay=weight_decay)
        self.eps, self.weight_decay = float(eps), float(weight_decay)
        super().__init__(parameters, lr)

    def hyperparameters(self) -> dict[str, float | bool]:
        """``lr``, ``beta1``, ``beta2``, ``eps``, ``weight_decay``."""
        return {
            "lr": self.lr,
            "beta1": self.beta1,
            "beta2": self.beta2,
            "eps": self.eps,
            "weight_decay": self.weight_decay,
        }

    def _update(
        self, p: np.ndarray, g: np.ndarray, slots: list[np.ndarray], a: np.ndarray, b: np.ndarray
    ) -> None:
        if self._decoupled:
            p *= 1.0 - self.lr * self.weight_decay
        else:
            g = _decayed(p, g, self.weight_decay, a)
        m, v = slots
        m *= self.beta1
        np.multiply(g, 1.0 - self.beta1, out=b)
        m += b
        v *= self.beta2
        np.multiply(g, g, out=b)
        b *= 1.0 - self.beta2
        v += b
        np.sqrt(v, out=b)
        b *= 1.0 / math.sqrt(1.0 - self.beta2**self.steps)
        b += self.eps
        np.divide(m, b, out=b)
        b *= self.lr / (1.0 - self.beta1**self.steps)
        p -= b


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter, ICLR 2019).

    Notes
    -----
    ``p *= 1 - lr * weight_decay`` before Adam's update; the decay does not enter the moments.
    """

    algorithm = "adamw"
    _decoupled = True

    def __init__(
        self,
        parameters: Mapping[str, np.ndarray],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(parameters, lr, betas, eps, weight_decay)
