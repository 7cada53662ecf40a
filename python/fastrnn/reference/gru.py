"""The GRU cell: one step forward and one step backward."""

from __future__ import annotations

from typing import Any

import numpy as np

from .activations import sigmoid


class GRU:
    """Gated recurrent unit, reset gate applied after the matrix product, gate order r, z, n.

    Forward, for input x_t and previous state h::

        r  = sigmoid(W_ir x_t + b_ir + W_hr h + b_hr)      reset gate
        z  = sigmoid(W_iz x_t + b_iz + W_hz h + b_hz)      update gate
        m  = W_hn h + b_hn
        n  = tanh   (W_in x_t + b_in + r * m)              candidate
        h' = (1 - z) * n + z * h

    Backward, for the gradient d_h' of what came after the step::

        d_n = d_h' * (1 - z)             d_z = d_h' * (h - n)
        d_pre_n = d_n * (1 - n^2)        d_r = d_pre_n * m
        d_pre_r = d_r * r(1-r)           d_pre_z = d_z * z(1-z)
        d_from_x = [d_pre_r, d_pre_z, d_pre_n]             arrives at W_ih x + b_ih
        d_from_h = [d_pre_r, d_pre_z, d_pre_n * r]         arrives at W_hh h + b_hh
        d_x = d_from_x W_ih              d_h = d_from_h W_hh + d_h' * z
        d_W_ih = d_from_x^T x            d_W_hh = d_from_h^T h
        d_b_ih = sum_rows d_from_x       d_b_hh = sum_rows d_from_h

    Attributes
    ----------
    gates : int
        Row blocks of a weight: ``weight_ih`` is (3*H, I), ``weight_hh`` (3*H, H), biases (3*H,).
    states : int
        1: h.

    Notes
    -----
    K. Cho et al., "Learning phrase representations using RNN encoder-decoder for statistical
    machine translation", EMNLP 2014. The paper multiplies r into h before the product,
    ``W_hn (r * h)``; this is the reset-after form ``r * (W_hn h + b_hn)`` that PyTorch and cuDNN
    compute (ONNX calls it ``linear_before_reset = 1``), in which one product serves all gates.
    z weighs the old state, as in that paper (its equation 7); some texts exchange z and 1 - z.
    """

    gates = 3
    states = 1

    def step_forward(
        self, x: np.ndarray, state: list[np.ndarray], weights: list[np.ndarray]
    ) -> tuple[list[np.ndarray], tuple[Any, ...]]:
        """One step of every row.

        Parameters
        ----------
        x : (B, I) float
        state : [h (B, H)]
        weights : [weight_ih (3*H, I), weight_hh (3*H, H), bias_ih (3*H,), bias_hh (3*H,)]

        Returns
        -------
        next_state : [h' (B, H)]
        saved : tuple
            What `step_backward` needs.

        Examples
        --------
        With all weights 0, z is 1/2 and the candidate 0, so h' = h/2:

        >>> zero = [np.zeros((3, 1)), np.zeros((3, 1)), np.zeros(3), np.zeros(3)]
        >>> (h,), _ = GRU().step_forward(np.ones((1, 1)), [np.ones((1, 1))], zero)
        >>> float(h[0, 0])
        0.5
        """
        (h,) = state
        weight_ih, weight_hh, bias_ih, bias_hh = weights
        from_x_r, from_x_z, from_x_n = np.split(x @ weight_ih.T + bias_ih, 3, axis=1)
        from_h_r, from_h_z, m = np.split(h @ weight_hh.T + bias_hh, 3, axis=1)
        r, z = sigmoid(from_x_r + from_h_r), sigmoid(from_x_z + from_h_z)
        n = np.tanh(from_x_n + r * m)
        return [(1 - z) * n + z * h], (x, h, r, z, n, m, weight_ih, weight_hh)

    def step_backward(
        self, saved: tuple[Any, ...], d_next: list[np.ndarray]
    ) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray]]:
        """Gradients of one step.

        Parameters
        ----------
        saved : tuple
            From `step_forward`.
        d_next : [d_h' (B, H)]

        Returns
        -------
        d_x : (B, I)
        d_state : [d_h (B, H)]
        d_weights : list
            One array for each of `weights`, the same shapes: this step's share of the gradient.
        """
        x, h, r, z, n, m, weight_ih, weight_hh = saved
        (d_h,) = d_next
        d_pre_n = d_h * (1 - z) * (1 - n * n)
        d_pre_r = d_pre_n * m * r * (1 - r)
        d_pre_z = d_h * (h - n) * z * (1 - z)
        d_from_x = np.concatenate([d_pre_r, d_pre_z, d_pre_n], axis=1)
        d_from_h = np.concatenate([d_pre_r, d_pre_z, d_pre_n * r], axis=1)
        d_weights = [d_from_x.T @ x, d_from_h.T @ h, d_from_x.sum(axis=0), d_from_h.sum(axis=0)]
        return d_from_x @ weight_ih, [d_from_h @ weight_hh + d_h * z], d_weights
