"""The LSTM cell: one step forward and one step backward."""

from __future__ import annotations

from typing import Any

import numpy as np

from .activations import sigmoid


class LSTM:
    """Long short-term memory with forget gate, PyTorch's gate order i, f, g, o.

    Forward, for input x_t and previous state (h, c)::

        i  = sigmoid(W_ii x_t + b_ii + W_hi h + b_hi)      input gate
        f  = sigmoid(W_if x_t + b_if + W_hf h + b_hf)      forget gate
        g  = tanh   (W_ig x_t + b_ig + W_hg h + b_hg)      candidate
        o  = sigmoid(W_io x_t + b_io + W_ho h + b_ho)      output gate
        c' = f * c + i * g
        h' = o * tanh(c')

    Backward, for gradients d_h' and d_c' of what came after the step::

        d_o = d_h' * tanh(c')            D   = d_c' + d_h' * o * (1 - tanh(c')^2)
        d_i = D * g                      d_f = D * c
        d_g = D * i                      d_c = D * f
        d_pre = [d_i * i(1-i), d_f * f(1-f), d_g * (1-g^2), d_o * o(1-o)]
        d_x = d_pre W_ih                 d_h = d_pre W_hh
        d_W_ih = d_pre^T x               d_W_hh = d_pre^T h
        d_b_ih = d_b_hh = sum_rows d_pre

    Attributes
    ----------
    gates : int
        Row blocks of a weight: ``weight_ih`` is (4*H, I), ``weight_hh`` (4*H, H), biases (4*H,).
    states : int
        2: h and c.

    Notes
    -----
    S. Hochreiter and J. Schmidhuber, "Long short-term memory", Neural Computation 9(8), 1997
    (the cell without f); F. A. Gers, J. Schmidhuber and F. Cummins, "Learning to forget:
    continual prediction with LSTM", Neural Computation 12(10), 2000 (the forget gate f).
    """

    gates = 4
    states = 2

    def step_forward(
        self, x: np.ndarray, state: list[np.ndarray], weights: list[np.ndarray]
    ) -> tuple[list[np.ndarray], tuple[Any, ...]]:
        """One step of every row.

        Parameters
        ----------
        x : (B, I) float
        state : [h (B, H), c (B, H)]
        weights : [weight_ih (4*H, I), weight_hh (4*H, H), bias_ih (4*H,), bias_hh (4*H,)]

        Returns
        -------
        next_state : [h' (B, H), c' (B, H)]
        saved : tuple
            What `step_backward` needs.

        Examples
        --------
        With all weights 0 every gate is 1/2 and the candidate 0, so c' = c/2:

        >>> zero = [np.zeros((4, 1)), np.zeros((4, 1)), np.zeros(4), np.zeros(4)]
        >>> (h, c), _ = LSTM().step_forward(np.ones((1, 1)), [np.ones((1, 1))] * 2, zero)
        >>> float(c[0, 0]), bool(h[0, 0] == 0.5 * np.tanh(0.5))
        (0.5, True)
        """
        h, c = state
        weight_ih, weight_hh, bias_ih, bias_hh = weights
        pre = x @ weight_ih.T + bias_ih + h @ weight_hh.T + bias_hh
        pre_i, pre_f, pre_g, pre_o = np.split(pre, 4, axis=1)
        i, f, g, o = sigmoid(pre_i), sigmoid(pre_f), np.tanh(pre_g), sigmoid(pre_o)
        c_next = f * c + i * g
        tanh_c = np.tanh(c_next)
        return [o * tanh_c, c_next], (x, h, c, i, f, g, o, tanh_c, weight_ih, weight_hh)

    def step_backward(
        self, saved: tuple[Any, ...], d_next: list[np.ndarray]
    ) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray]]:
        """Gradients of one step.

        Parameters
        ----------
        saved : tuple
            From `step_forward`.
        d_next : [d_h' (B, H), d_c' (B, H)]

        Returns
        -------
        d_x : (B, I)
        d_state : [d_h (B, H), d_c (B, H)]
        d_weights : list
            One array for each of `weights`, the same shapes: this step's share of the gradient.
        """
        x, h, c, i, f, g, o, tanh_c, weight_ih, weight_hh = saved
        d_h, d_c = d_next
        d_o = d_h * tanh_c
        d_c = d_c + d_h * o * (1 - tanh_c * tanh_c)
        d_i, d_f, d_g = d_c * g, d_c * c, d_c * i
        d_pre = np.concatenate(
            [d_i * i * (1 - i), d_f * f * (1 - f), d_g * (1 - g * g), d_o * o * (1 - o)], axis=1
        )
        d_bias = d_pre.sum(axis=0)
        d_weights = [d_pre.T @ x, d_pre.T @ h, d_bias, d_bias]
        return d_pre @ weight_ih, [d_pre @ weight_hh, d_c * f], d_weights
