"""The loss curve of a run as a picture."""

from __future__ import annotations

import os
from collections.abc import Mapping

from ._extras import require
from .history import History

__all__ = ["plot_losses"]

_TRAIN, _VALIDATION, _BASELINE = "#9db8d9", "#1f4e8c", "#b0532a"


def plot_losses(
    history: History,
    path: str | os.PathLike[str],
    *,
    baselines: Mapping[str, float] | None = None,
    title: str = "",
    unit: str = "characters",
) -> None:
    """Training and validation loss against the tokens seen, with baselines as horizontal lines.

    Parameters
    ----------
    history : History
    path : path
        PNG file to write.
    baselines : mapping of str to float or None
        Label -> loss.
    title : str
    unit : str
        What a token is called.

    Raises
    ------
    ImportError
        matplotlib is not installed (extra ``demo``).
    """
    require("matplotlib", "plot_losses")
    # The object-oriented interface: no pyplot state, no display, safe in any thread.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    figure = Figure(figsize=(8.0, 4.8), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    train = [(entry["tokens"], entry["loss"]) for entry in history.train]
    checks = [(entry["tokens"], entry["loss"]) for entry in history.validation]
    if train:
        axes.plot(*zip(*train, strict=True), color=_TRAIN, linewidth=1.2, label="training")
    if checks:
        axes.plot(
            *zip(*checks, strict=True),
            color=_VALIDATION,
            linewidth=2.0,
            marker="o",
            markersize=4,
            label=f"validation, {checks[-1][1]:.3f} at the end",
        )
    baselines = dict(baselines or {})
    for label, loss in baselines.items():
        axes.axhline(loss, color=_BASELINE, linewidth=0.9, linestyle=(0, (5, 3)), alpha=0.8)
        axes.annotate(
            f"{label}  {loss:.3f}",
            (1.0, loss),
            xycoords=("axes fraction", "data"),
            xytext=(-4, 2),
            textcoords="offset points",
            ha="right",
            va="bottom",
            fontsize=8,
            color=_BASELINE,
        )
    # The first losses, ln(vocabulary) and falling, would flatten everything that matters.
    shown = [loss for _, loss in train[len(train) // 50 :] + checks[1:]] or [
        loss for _, loss in checks
    ]
    if shown or baselines:
        low = min([*shown, *baselines.values()])
        high = 1.2 * max(baselines.values()) if baselines else max(shown)
        margin = 0.06 * (high - low) or 0.1
        axes.set_ylim(low - margin, high + margin)
    axes.set_xlim(0, max((tokens for tokens, _ in train + checks), default=1) or 1)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda n, _: f"{n / 1e6:g} M" if n else "0"))
    axes.set_xlabel(f"{unit} trained on")
    axes.set_ylabel(f"loss (nats per {unit.removesuffix('s')})")
    axes.set_title(title, loc="left", fontsize=11)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    if train or checks:
        axes.legend(frameon=False, loc="upper right")
    figure.savefig(path, format="png")
