"""Parts that figures share: panels, legends, captions and scales."""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.scale import LogScale
from matplotlib.ticker import FixedLocator, FuncFormatter, Locator, MaxNLocator, NullLocator

from harness.analysis.chains import name_chains
from harness.plots.looks import (
    GREY,
    WIDTH_INCHES,
    is_narrow,
    page_width,
    points,
    sizes,
)
from networks.rounding import ceil_div

CAPTION_CHARACTERS, CAPTION_POINTS = 136, 8
KEYS_IN_A_LINE = 6
TITLE_LETTER = 7.2
"""Width of a letter of a title in points."""
NARROW_HEIGHT = 0.75
"""Height of a panel on a narrow page, over its height on a wide page."""
SETTING = ["width", "batch", "dtype", "activation", "seed"]
"""The columns that tell families of networks apart, besides depth and variant."""
LEFT: dict[str, Any] = {"x": 0.01, "ha": "left"}
POINTS_PER_INCH = 72


def panels(
    count: int, *, title: str, columns: int, height: float, fixed: bool = False, **subplots: Any
) -> tuple[Figure, list[Axes]]:
    """A titled figure with `count` panels, `height` inches each, in rows of at most `columns`.

    A narrow page has one column unless `columns` is `fixed`. Free places in the last row stay blank, for a legend.
    """
    if is_narrow():
        columns, height = columns if fixed else 1, NARROW_HEIGHT * height
    columns = min(columns, count)
    rows = ceil_div(count, columns)
    figure = Figure(figsize=(page_width(), rows * height + 0.9), layout="constrained")
    figure.suptitle(title, **LEFT)
    axes = list(figure.subplots(rows, columns, squeeze=False, **subplots).flat)
    for blank in axes[count:]:
        blank.set_axis_off()
    for ax in axes:
        ax.tick_params(labelsize=mpl.rcParams["xtick.labelsize"])
    for ax in axes[max(count - columns, 0) : count]:
        ax.tick_params(labelbottom=True)  # the lowest panel of its column, also above a blank place
    return figure, axes[:count]


def write_caption(figure: Figure, caption: str) -> None:
    """Write the caption below the panels."""
    points = CAPTION_POINTS - 2 * is_narrow()
    width = int(CAPTION_CHARACTERS * figure.get_figwidth() / WIDTH_INCHES * CAPTION_POINTS / points)
    text = _wrap(caption, width)
    if is_narrow():
        figure.set_figheight(figure.get_figheight() + text.count("\n") * 1.4 * points / POINTS_PER_INCH)
    figure.supxlabel(text, **LEFT, size=points, color=GREY, linespacing=1.4)


def _wrap(caption: str, characters: int) -> str:
    """Break a caption into the fewest lines, of about equal length."""
    caption = caption.replace(" %", "\xa0%")
    fewest = len(textwrap.wrap(caption, characters))
    widths = range(len(caption) // fewest, characters + 1)
    return next(text for text in (textwrap.fill(caption, width) for width in widths) if text.count("\n") < fewest)


def facets(table: pd.DataFrame, by: list[str], *, marks: list[str]) -> list[tuple[str, pd.DataFrame]]:
    """A title and the rows for each panel. The table is split by the columns of `by` that vary.

    A single panel has an empty title.

    Raises:
        ValueError: there is no row, or two rows of a panel agree in `marks` and would be drawn in one place.
    """
    if table.empty:
        raise ValueError("no finished cell to show beside store-all: add checkpoint_frequency to the grid")
    varying = [column for column in by if table[column].nunique() > 1]
    twins = table[table.duplicated([*varying, *marks], keep=False)]
    if len(twins):
        where = ", ".join(phrase(column, twins[column].iloc[0]) for column in [*varying, *marks])
        networks = " and ".join(f"[{layers}]" for layers in twins["layers"].unique()[:2])
        raise ValueError(f"one figure cannot show several networks at {where}: {networks}")
    if not varying:
        return [("", table)]
    names = name_chains(table)
    order = ["depth" if column == "layers" else column for column in varying]
    groups = table.sort_values(order, kind="stable").groupby(varying, sort=False, observed=True, dropna=False)
    return [
        (", ".join(phrase(*told, names=names) for told in zip(varying, values, strict=True)), rows)
        for values, rows in groups
    ]


def constants(table: pd.DataFrame, columns: list[str]) -> str:
    """The caption's last sentences: the values that all rows share, and the layers of chains with names."""
    common = [phrase(column, table[column].iloc[0]) for column in columns if table[column].nunique() == 1]
    told = f"All with {', '.join(common)}." if common else ""
    if "layers" in columns and table["layers"].nunique() > 1:
        chains = "; ".join(f"{name} [{layers}]" for layers, name in name_chains(table).items())
        told = f"{told} Layers: {chains}.".strip()
    return told


def phrase(column: str, value: object, *, names: Mapping[str, str] = MappingProxyType({})) -> str:
    """A column's value in words. A chain is called by its name if `names` has one."""
    if column in ("variant", "dtype", "activation"):
        return str(value)
    if column == "depth":
        return f"{value} layers"
    return names.get(str(value), f"[{value}]") if column == "layers" else f"{column} {value}"


def variant_legend(figure: Figure, variants: pd.Series, *, linewidth: float = 0, extra: Iterable[Artist] = ()) -> None:
    """Draw a legend of every variant shown and of `extra`, in a blank place or beside the panels."""
    looks, widths = points(variants), sizes(variants, others=linewidth)
    handles = [Line2D([], [], **looks[name], linewidth=widths[name], label=name) for name in variants.cat.categories]
    key_beside(figure, [*handles, *extra])


def key_beside(figure: Figure, handles: Sequence[Artist]) -> None:
    """Draw a long legend in a blank place, or beside the panels. On a narrow page it is above the panels."""
    blank = [ax for ax in figure.axes if not ax.axison]
    if is_narrow():
        key_above(figure, handles)
    elif blank:
        blank[0].legend(handles=handles, loc="center", ncols=2)
    else:
        figure.legend(handles=handles, loc="outside right center")


def key_above(figure: Figure, handles: Sequence[Artist]) -> None:
    """Draw a legend beside the title, in as many lines as it needs. On a narrow page it is below the title."""
    if is_narrow():
        columns = max(1, int(page_width() * POINTS_PER_INCH / max(map(_key_points, handles))))
        figure.legend(handles=handles, loc="upper left", ncols=columns, borderaxespad=0, columnspacing=1)
        return
    beside = page_width() * POINTS_PER_INCH - TITLE_LETTER * len(figure.get_suptitle())
    lines = max(ceil_div(len(handles), KEYS_IN_A_LINE), round(0.5 + sum(map(_key_points, handles)) / beside))
    figure.legend(handles=handles, loc="outside upper right", ncols=ceil_div(len(handles), lines))


def _key_points(handle: Artist) -> float:
    """The approximate width of an entry of a legend in points."""
    return 2.5 * mpl.rcParams["legend.fontsize"] + 0.62 * mpl.rcParams["legend.fontsize"] * len(str(handle.get_label()))


class Octaves(Locator):
    """Ticks at powers of two. If a range has fewer than three of them, there are ticks between."""

    def __call__(self) -> Sequence[float]:
        return self.tick_values(*self.axis.get_view_interval())  # type: ignore[union-attr]

    def tick_values(self, vmin: float, vmax: float) -> Sequence[float]:
        """The ticks from `vmin` to `vmax`, with at most nine powers of two."""
        low, high = np.floor(np.log2(vmin)), np.ceil(np.log2(vmax))
        step = max(1, ceil_div(int(high - low), 9))
        powers = 2.0 ** np.arange(low, high + 1, step)
        for parts in ((1,), (1, 1.5), (1, 1.25, 1.5, 1.75)):
            ticks = np.outer(powers, parts).ravel()
            ticks = ticks[(vmin <= ticks) & (ticks <= vmax)]
            if len(ticks) >= 3:
                return ticks.tolist()
        return list(MaxNLocator(4).tick_values(vmin, vmax))


def log2(axes: Axes, which: str, *, ticks: Iterable[float] | None = None) -> None:
    """Give the `x` or `y` axis a log2 scale with plain numbers, with ticks at `ticks` if given."""
    axis = {"x": axes.xaxis, "y": axes.yaxis}[which]
    axes.set(**{f"{which}scale": LogScale(axis, base=2)})
    axis.set_major_locator(Octaves() if ticks is None else FixedLocator(sorted(set(ticks))))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))
