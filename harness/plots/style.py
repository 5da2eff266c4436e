"""Parts that all figures share: how one is built, its page, panels, legends, captions and scales."""

import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.scale import LogScale
from matplotlib.ticker import FixedLocator, FuncFormatter, Locator, MaxNLocator, NullLocator

from harness.analysis.chains import name_chains
from harness.analysis.variants import name_variants
from harness.experiment.figures import FIGURES
from harness.plots.looks import (
    GREY,
    WIDTH_INCHES,
    is_narrow,
    our_look,
    page_width,
    points,
    sizes,
)
from networks.rounding import ceil_div
from networks.wording import visible

KIB = 2**10
MIB = 2**20

CAPTION_CHARACTERS, CAPTION_POINTS = 136, 8
TITLE_CHARACTERS = 44
"""Characters in a line of a title on a narrow page."""
KEYS_IN_A_LINE = 6
TITLE_LETTER = 7.2
"""Width of a letter of a title in points."""
NARROW_HEIGHT = 0.75
"""Height of a panel on a narrow page, over its height on a wide page."""
SETTING = ["width", "batch", "dtype", "activation", "seed"]
"""The columns that tell families of networks apart, besides depth and variant."""
LEFT: dict[str, Any] = {"x": 0.01, "ha": "left"}
POINTS_PER_INCH = 72
GAP_INCHES = 0.1
"""Gap between a legend and the panels below it."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """The page of a figure: its width, and whether it has a title and a caption."""

    width_inches: float = WIDTH_INCHES
    title: bool = True
    caption: bool = True


WIDE = Page()
"""The page of a screen. It is the default."""


@dataclass(frozen=True)
class Recipe:
    """A figure. Called with all tables, it draws those that it `needs`. Its caption names the cells that are missing.

    `build` takes the finished rows of the tables, and returns the figure and its caption. Rows of our own networks have
    a `variant` and a `kind`. If there is a `comparable`, `build` takes only the rows for which it is true.
    """

    build: Callable[..., tuple[Figure, str]]
    comparable: Callable[[pd.DataFrame], pd.Series] | None

    @property
    def name(self) -> str:
        return self.build.__name__

    @property
    def needs(self) -> tuple[str, ...]:
        return FIGURES[self.name].needs

    def rows(self, tables: dict[str, pd.DataFrame]) -> list[pd.DataFrame | None]:
        """The arguments of `build`: the rows of each table, or None for an optional table that is missing.

        Raises:
            ValueError: a table is missing or has no finished cell.
        """
        for need in self.needs:
            if need not in tables:
                raise ValueError(f"figure {self.name} needs {need}.csv: add {need!r} to the experiment's measure")
            if not (tables[need]["status"] == "ok").any():
                raise ValueError(f"figure {self.name} has nothing to show: no row of {need}.csv has status ok")
        more = FIGURES[self.name].also
        return [
            *(self._drawn(tables[need]) for need in self.needs),
            *(self._drawn_if_there(tables, one) for one in more),
        ]

    def _drawn(self, table: pd.DataFrame) -> pd.DataFrame:
        rows = _shown(table.query("status == 'ok'"))
        if self.comparable:
            rows = rows[self.comparable(rows)]
        return name_variants(rows) if "network" in rows and "framework" not in rows else rows

    def _drawn_if_there(self, tables: dict[str, pd.DataFrame], name: str) -> pd.DataFrame | None:
        try:
            return self._drawn(tables[name])
        except (KeyError, ValueError):  # not measured, or without a row to compare with
            return None

    def __call__(self, tables: dict[str, pd.DataFrame], page: Page = WIDE) -> Figure:
        rows = self.rows(tables)
        with our_look(width_inches=page.width_inches):
            figure, caption = self.build(*rows)
            if page.caption:
                write_caption(figure, " ".join([caption, *self._lacking(tables, rows)]))
            _write_title(figure, shown=page.title)
            _label_outer_panels(figure)
            figure.draw_without_rendering()  # matplotlib makes ticks at the first draw, which must have this look
        return figure

    def _lacking(self, tables: dict[str, pd.DataFrame], rows: list[pd.DataFrame | None]) -> Iterator[str]:
        """A sentence on the cells that are not drawn, with a count for each reason."""
        reasons: dict[Any, str] = {}
        for need, drawn in zip(self.needs, rows, strict=False):
            assert drawn is not None, "what it needs is there"
            cells = tables[need].drop(drawn.index).drop_duplicates("cell_id").set_index("cell_id")["status"]
            reasons |= cells.replace("ok", "with nothing to compare with").to_dict()
        if reasons:
            counts = ", ".join(f"{count} {reason}" for reason, count in Counter(reasons.values()).items())
            yield f"Not shown: {len(reasons)} {'cell' if len(reasons) == 1 else 'cells'} ({counts})."


def _shown(table: pd.DataFrame) -> pd.DataFrame:
    """The table without control characters in its texts, because an SVG file may not contain them."""
    texts: pd.DataFrame = table.select_dtypes("str")
    return table.assign(
        **{str(name): text.map(visible, na_action="ignore").astype("str") for name, text in texts.items()}
    )


def drawn(
    *, comparable: Callable[[pd.DataFrame], pd.Series] | None = None
) -> Callable[[Callable[..., tuple[Figure, str]]], Recipe]:
    """Make a Recipe of a function. The function takes the tables that the registry names for it."""
    return lambda build: Recipe(build, comparable)


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


def _write_title(figure: Figure, *, shown: bool) -> None:
    """Write the title if it is `shown`. On a narrow page, put the legend below it and make the page higher."""
    title = figure.get_suptitle() if shown else ""
    figure.suptitle(textwrap.fill(title, TITLE_CHARACTERS) if is_narrow() else title, **LEFT)
    if not is_narrow() or not figure.legends:
        return
    line_inches = 1.4 * mpl.rcParams["figure.titlesize"] / POINTS_PER_INCH
    title_inches = line_inches * len(figure.get_suptitle().splitlines())
    (key,) = figure.legends
    key_inches = key.get_window_extent().height / figure.dpi
    height = figure.get_figheight() + key_inches + GAP_INCHES
    figure.set_figheight(height)
    key.set_bbox_to_anchor((0, 1 - title_inches / height), figure.transFigure)
    engine = figure.get_layout_engine()
    assert isinstance(engine, ConstrainedLayoutEngine)
    engine.set(rect=(0, 0, 1, 1 - (key_inches + GAP_INCHES) / height))


def _label_outer_panels(figure: Figure) -> None:
    """Remove an axis label if the panel to the left or below has the same label."""
    placed = [(ax, place) for ax in figure.axes if ax.axison and (place := ax.get_subplotspec())]
    columns = placed[0][1].get_gridspec().ncols
    labels = [(ax.get_xlabel(), ax.get_ylabel()) for ax, _ in placed]
    for position, (ax, _) in enumerate(placed):
        if position % columns and labels[position][1] == labels[position - 1][1]:
            ax.set_ylabel("")
        if position + columns < len(placed) and labels[position][0] == labels[position + columns][0]:
            ax.set_xlabel("")


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
