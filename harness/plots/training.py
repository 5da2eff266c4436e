"""The learning curves of training.csv, which are the same with and without checkpointing."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator, PercentFormatter

from harness.analysis.baseline import has_store_all
from harness.analysis.training import accuracy_summary
from harness.experiment.frameworks import STORE_ALL
from harness.plots.looks import BLUE, GREY, INK, ORANGE, markers
from harness.plots.recipes import drawn
from harness.plots.style import constants, facets, key_above, panels

SETTING = ["layers", "batch", "dtype", "activation"]
LOSSES = ["train_loss", "test_loss"]
SPLITS = {"train": BLUE, "test": ORANGE}
BAND: dict[str, Any] = {"linewidth": 6, "alpha": 0.35}
SPAN: dict[str, Any] = {"linewidth": 0, "alpha": 0.12}


@drawn(comparable=has_store_all)
def training_curves(training: pd.DataFrame) -> tuple[Figure, str]:
    """Loss and accuracy by epoch, medians over seeds. Store-all is a broad line, the others are thin lines on it.

    Losses that a log scale cannot show are left out: zeros, and losses of a training that diverged.
    """
    summary = accuracy_summary(training)
    training, left_out = _with_losses_to_show(training)
    parts = facets(training, SETTING, marks=["variant", "seed", "epoch"])
    figure, axes = panels(
        2 * len(parts),
        title="Learning curves",
        columns=len(parts),
        height=2.3,
        sharex=True,
        sharey="row",
    )
    looks = _looks(training["variant"])
    upper, lower = axes[: len(parts)], axes[len(parts) :]
    for (title, rows), losses, accuracies in zip(parts, upper, lower, strict=True):
        end = accuracy_summary(rows).iloc[0]
        _curves(losses, rows, "loss", looks)
        _curves(accuracies, rows, "accuracy", looks)
        losses.set(title=title, ylabel="cross-entropy")
        accuracies.set(xlabel="epoch", ylabel="accuracy")
        accuracies.xaxis.set_major_locator(MaxNLocator(integer=True))
        accuracies.yaxis.set_major_formatter(PercentFormatter(1))
        note = f"test, epoch {end['epochs']}: {end['test_accuracy']:.1%} on average"
        accuracies.text(0.96, 0.05, note, transform=accuracies.transAxes, ha="right", color=INK, size="small")
    if training[LOSSES].notna().any(axis=None):
        for ax in upper:
            _log_scale(ax)
    splits = [Line2D([], [], color=color, linewidth=3, label=split) for split, color in SPLITS.items()]
    variants = [Line2D([], [], color=GREY, **(look | {"markevery": 1}), label=name) for name, look in looks.items()]
    key_above(figure, [*splits, *variants])
    seeds = summary["seeds"].min()
    shown = (
        f"Lines: medians over {seeds} seeds. Shaded: from the lowest to the highest seed." if seeds > 1 else "One seed."
    )
    return figure, (
        f"{shown} {_agreement(summary['largest_difference'].max())} {left_out}{constants(training, SETTING)}"
    )


def _with_losses_to_show(training: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The table without losses that cannot be drawn, and a sentence about them. It is empty if there are none."""
    losses = training[LOSSES]
    drawn = losses.gt(0) & losses.lt(np.inf)
    hidden = training.loc[~drawn.all(axis=1), "cell_id"].nunique()
    text = (
        "Not drawn, and not in the medians: losses that are zero or not finite, in "
        f"{hidden} of {training['cell_id'].nunique()} trainings. "
    )
    return training.assign(**losses.where(drawn)), text if hidden else ""


def _agreement(apart: float) -> str:
    if apart == np.inf:
        return "The lines do not coincide. A training diverged with checkpointing, and did not diverge without it."
    agreement = f"stays within {apart:.2g} of store-all's" if apart else "equals store-all's exactly"
    return f"The lines coincide: with checkpointing every loss and accuracy of every epoch and seed {agreement}."


def _log_scale(ax: Axes) -> None:
    low, high = ax.get_ylim()
    ax.set(yscale="log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda loss, _: f"{loss:g}"))
    ax.yaxis.set_minor_locator(NullLocator())


def _looks(variants: pd.Series) -> dict[str, dict[str, Any]]:
    """The look of each variant. Markers of the others take turns, so that none hides another."""
    others = [name for name in variants.cat.categories if name != STORE_ALL]
    shapes = markers(variants)
    thin = {
        name: {
            "linewidth": 1,
            "marker": shapes[name],
            "markersize": 5,
            "markeredgecolor": "white",
            "markevery": (turn, len(others)),
        }
        for turn, name in enumerate(others)
    }
    return {STORE_ALL: BAND} | thin


def _curves(ax: Axes, rows: pd.DataFrame, quantity: str, looks: dict[str, dict[str, Any]]) -> None:
    """Draw medians over seeds, because one bad seed does not move them. Shade the range of store-all's seeds."""
    for split, color in SPLITS.items():
        seeds = rows.groupby(["variant", "epoch"], observed=True)[f"{split}_{quantity}"].agg(["min", "median", "max"])
        store_all = seeds.loc[STORE_ALL]
        ax.fill_between(store_all.index, store_all["min"], store_all["max"], color=color, **SPAN)
        for name, curve in seeds["median"].groupby("variant", observed=True):
            ax.plot(curve.droplevel("variant"), color=color, **looks[str(name)])
