"""The simple recurrent cell (tanh, relu, identity): one step forward and one step backward."""

from __future__ import annotations

from typing import Any

import numpy as np

NONLINEARITIES = ("tanh", "relu", "linear")


class RNN:
    """Simple recurrent network with tanh, relu or identity activation.

    Forward, for input x_t and previous state h::

        pre = W_ih x_t + b_ih + W_hh h + b_hh
        h'  = act(pre)          act is tanh, relu(v) = max(v, 0), or the identity

    Backward, for the gradient d_h' of what came after the step::

        d_pre = d_h' * act'(pre)         tanh: 1 - h'^2    relu: 0 if pre <= 0 else 1    linear: 1
        d_x = d_pre W_ih                 d_h = d_pre W_hh
        d_W_ih = d_pre^T x               d_W_hh = d_pre^T h
        d_b_ih = d_b_hh = sum_rows d_pre

    Parameters
    ----------
    nonlinearity : {"tanh", "relu", "linear"}
        "linear" exists for the tests: with integer weights a linear network has exact answers in
        floating point, so a kernel can be held to equality over a thousand steps.

    Attributes
    ----------
    gates : int
        Row blocks of a weight: ``weight_ih`` is (H, I), ``weight_hh`` (H, H), biases (H,).
    states : int
        1: h.

    Raises
    ------
    ValueError
        If `nonlinearity` is none of the three.

    Notes
    -----
    J. L. Elman, "Finding structure in time", Cognitive Science 14(2), 1990. The derivative of relu
    at 0 is taken as 0, PyTorch's choice; a NaN in pre passes d_h' on, also as in PyTorch.
    """

    gates = 1
    states = 1

    def __init__(self, nonlinearity: str) -> None:
        if nonlinearity not in NONLINEARITIES:
            known = ", ".join(NONLINEARITIES)
            raise ValueError(f"RNN: nonlinearity is {nonlinearity!r}, expected one of {known}")
        self.nonlinearity = nonlinearity

    def step_forward(
        self, x: np.ndarray, state: list[np.ndarray], weights: list[np.ndarray]
    ) -> tuple[list[np.ndarray], tuple[Any, ...]]:
        """One step of every row.

        Parameters
        ----------
        x : (B, I) float
        state : [h (B, H)]
        weights : [weight_ih (H, I), weight_hh (H, H), bias_ih (H,), bias_hh (H,)]

        Returns
        -------
        next_state : [h' (B, H)]
        saved : tuple
            What `step_backward` needs; its first entry is pre (B, H).

        Examples
        --------
        >>> weights = [np.array([[2.0]]), np.array([[3.0]]), np.array([1.0]), np.array([0.5])]
        >>> x, h = np.array([[1.0]]), np.array([[-1.0]])        # 2*1 + 1 - 3*1 + 0.5
        >>> float(RNN("linear").step_forward(x, [h], weights)[0][0][0, 0])
        0.5
        """
        (h,) = state
        weight_ih, weight_hh, bias_ih, bias_hh = weights
        pre = x @ weight_ih.T + bias_ih + h @ weight_hh.T + bias_hh
        if self.nonlinearity == "tanh":
            h_next = np.tanh(pre)
        elif self.nonlinearity == "relu":
            h_next = np.maximum(pre, 0)
        else:
            h_next = pre
        return [h_next], (pre, h_next, x, h, weight_ih, weight_hh)

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
        pre, h_next, x, h, weight_ih, weight_hh = saved
        (d_h,) = d_next
        if self.nonlinearity == "tanh":
            d_pre = d_h * (1 - h_next * h_next)
        elif self.nonlinearity == "relu":
            d_pre = np.where(pre <= 0, pre.dtype.type(0), d_h)
        else:
            d_pre = d_h
        d_bias = d_pre.sum(axis=0)
        d_weights = [d_pre.T @ x, d_pre.T @ h, d_bias, d_bias]
        return d_pre @ weight_ih, [d_pre @ weight_hh], d_weights
