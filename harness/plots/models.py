"""Figures of users' PyTorch models: peak against time, predicted against measured, measured against budget."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from harness.analysis.each_row import each_row
from harness.analysis.models import PROMISED, planned, predicted, with_times
from harness.plots.looks import GREY, INK, ORANGE, PALE, PURPLE, SHADE
from harness.plots.recipes import drawn
from harness.plots.style import key_above, log2, panels
from harness.sizes import MIB

LOOKS: dict[str, dict[str, Any]] = {
    "plain": {"marker": "o", "color": SHADE, "label": "plain autograd"},
    "torch_checkpoint": {"marker": "s", "color": ORANGE, "label": "torch.utils.checkpoint"},
    "torch_compile": {"marker": "X", "color": PURPLE, "label": "torch.compile, budget"},
    "planned": {"marker": "*", "color": INK, "label": "planned: ours"},
}
GRADIENT_LOOKS: dict[str, dict[str, Any]] = {
    "kept": {"marker": "o", "color": INK, "label": "gradients kept"},
    "freed": {"marker": "D", "color": ORANGE, "markerfacecolor": "white", "label": "gradients freed"},
}


@drawn()
def models_tradeoff(memory: pd.DataFrame, time: pd.DataFrame) -> tuple[Figure, str]:
    """Measured peak against step time over plain autograd's, a panel for each model."""
    table = with_times(memory, time)
    figure, parts = _a_panel_each(table, title="Memory against time: your own PyTorch models", height=2.7)
    for ax, rows in parts:
        for kind, look in LOOKS.items():
            own = rows[rows["kind"] == kind].sort_values("peak_bytes")
            peaks = own["peak_bytes"] / MIB
            ax.vlines(peaks, own["ratio_low"], own["ratio_high"], color=look["color"], linewidth=0.8)
            line = "-" if kind == "planned" else ""
            ax.plot(peaks, own["time_ratio"], linestyle=line, linewidth=0.8, markersize=6, **look)
            if kind == "torch_checkpoint":
                for row in each_row(own):
                    place = row["peak_bytes"] / MIB, row["time_ratio"]
                    ax.annotate(row["number"], place, (4, 3), textcoords="offset points", size=7, color=GREY)
        log2(ax, "x")
        ax.margins(0.12)
        ax.set(xlabel="measured peak (MiB)", ylabel="step time over plain")
    _key(figure, [look for kind, look in LOOKS.items() if kind in set(table["kind"])])
    repeats = " to ".join(map(str, sorted({table["repeats"].min(), table["repeats"].max()})))
    return figure, (
        "Further left and lower is better. Peak: requested bytes, measured by memray. Time: median of "
        f"{repeats} paired ratios to plain autograd. Steps take turns in one process with one thread. Bars: 95 % "
        "interval. Numbers: n, where a checkpoint is around every n blocks. Gradients are kept until the step ends."
    )


@drawn()
def models_prediction(memory: pd.DataFrame) -> tuple[Figure, str]:
    """The distance of predictions from measured peaks, a panel for each model."""
    table = predicted(memory)
    figure, parts = _a_panel_each(table, title="Predicted against measured peak", height=2.1, sharey=True)
    for ax, rows in parts:
        ax.axhline(0, color=GREY, linewidth=0.8)
        for gradients, within in PROMISED.items():
            for side in (-within, within):
                ax.axhline(side, color=GRADIENT_LOOKS[gradients]["color"], linewidth=0.8, linestyle=":")
        for gradients, look in GRADIENT_LOOKS.items():
            own = rows[rows["gradients"] == gradients]
            ax.plot(own["peak_bytes"] / MIB, own["error"], linestyle="", markersize=4.5, **look)
        log2(ax, "x")
        ax.margins(0.12)
        ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=1))
        ax.set(xlabel="measured peak (MiB)", ylabel="predicted over measured")
    _key(figure, [look for gradients, look in GRADIENT_LOOKS.items() if gradients in set(table["gradients"])])
    return figure, (
        "Each point is a step: plain, by torch.utils.checkpoint, or by a plan of ours. Above 0 the prediction is too "
        f"large. Dotted: the promised accuracy of plans, {PROMISED['kept']:.1%} with gradients kept and "
        f"{PROMISED['freed']:.0%} with gradients freed."
    )


@drawn()
def models_budget(memory: pd.DataFrame) -> tuple[Figure, str]:
    """The measured peak of each plan against its budget. The diagonal is the promise."""
    table = planned(memory)
    figure, parts = _a_panel_each(table, title="Budget against measured peak", height=2.7)
    for ax, rows in parts:
        ends = [0.9 * rows["peak_bytes"].min() / MIB, 1.1 * rows["budget_bytes"].max() / MIB]
        ax.plot(ends, ends, color=GREY, linewidth=1)
        ax.fill_between(ends, ends, [ends[1], ends[1]], color=PALE, alpha=0.4, linewidth=0)
        ax.text(0.05, 0.92, "over budget", transform=ax.transAxes, size=7, color=GREY, va="top")
        for gradients, look in GRADIENT_LOOKS.items():
            own = rows[rows["gradients"] == gradients]
            ax.plot(own["budget_bytes"] / MIB, own["peak_bytes"] / MIB, linestyle="", markersize=4.5, **look)
        for which in "xy":
            log2(ax, which)
        ax.set(xlim=ends, ylim=ends, xlabel="budget (MiB)", ylabel="measured peak (MiB)")
        ax.set_title(f"{ax.get_title()}: at least {rows['spare_share'].min():.2%} to spare")
    _key(figure, [look for gradients, look in GRADIENT_LOOKS.items() if gradients in set(table["gradients"])])
    return figure, (
        f"The diagonal is the promise: a peak is never above its budget. {(table['spare_share'] < 0).sum()} of "
        f"{len(table)} measured plans are above it. Peak: requested bytes, measured by memray."
    )


def _a_panel_each(
    table: pd.DataFrame, *, title: str, height: float, **shared: Any
) -> tuple[Figure, list[tuple[Axes, pd.DataFrame]]]:
    groups = list(table.groupby("name", sort=False))
    figure, axes = panels(len(groups), title=title, columns=3, height=height, **shared)
    for ax, (name, _) in zip(axes, groups, strict=True):
        ax.set_title(str(name))
    return figure, [(ax, rows) for ax, (_, rows) in zip(axes, groups, strict=True)]


def _key(figure: Figure, looks: list[dict[str, Any]]) -> None:
    """Draw the legend in a blank panel. If there is none, draw it above the panels."""
    handles = [Line2D([], [], linestyle="", markersize=6, **look) for look in looks]
    blank = [ax for ax in figure.axes if not ax.axison]
    if blank:
        blank[0].legend(handles=handles, loc="center")
    else:
        key_above(figure, handles)
