"""Time ratios in figures: a median with its interval, and a sentence that explains it."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from harness.plots.looks import BLUE


def ratio_point(ax: Axes, row: Mapping[str, Any], *, x: Any, y: Any, along: str, **look: Any) -> None:
    """Draw a median ratio and its interval along the `x` or `y` axis. It is hollow if the timing was unsteady."""
    interval: Any = [[row["time_ratio"] - row["ratio_low"]], [row["ratio_high"] - row["time_ratio"]]]
    look = dict[str, Any](color=BLUE, marker="o", markersize=5, capsize=2, elinewidth=1) | look
    if row["instability"]:
        look |= {"markerfacecolor": "white", "markeredgecolor": look["color"], "markeredgewidth": 1}
    ax.errorbar(x, y, **{f"{along}err": interval}, **look)


def ratio_keys(ratios: pd.DataFrame) -> list[Line2D]:
    """Legend entries of the points. Hollow points have one if there are any."""
    look: dict[str, Any] = {"color": BLUE, "marker": "o", "markersize": 5, "linestyle": ""}
    keys = [Line2D([], [], **look, label="median and 95 % interval")]
    if ratios["instability"].any():
        keys.append(Line2D([], [], **look, markerfacecolor="white", label="unsteady"))
    return keys


def ratios_explained(ratios: pd.DataFrame, what: str) -> str:
    """A sentence that says how many ratios make a point, and why some points are hollow."""
    least, most = ratios["pairs"].min(), ratios["pairs"].max()
    count = f"{least}" if least == most else f"{least} to {most}"
    text = f"Time: median of {count} ratios, each of {what}, with its 95 % bootstrap interval."
    doubts = sorted({doubt for doubts in ratios["instability"] if doubts for doubt in doubts.split(", ")})
    return f"{text} Hollow: unsteady ({' or '.join(doubts)})." if doubts else text
