"""What all figures share: how one is built, its look, how a variant is shown, panels and scales."""

import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from typing import Any, TypeVar

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.scale import LogScale
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from harness.analysis.variants import KINDS, name_variants
from harness.experiment.figures import FIGURES
from networks.rounding import ceil_div
from networks.wording import visible

KIB = 2**10
MIB = 2**20

WIDTH_INCHES = 8.4  # a README's column at 100 dots an inch: 9 points stay 9 points there
CAPTION_CHARACTERS = 136
KEYS_IN_A_LINE = 6
SETTING = ["width", "batch", "dtype", "activation", "seed"]
"""What sets one family of networks apart, depth and variant aside."""
LEFT: dict[str, Any] = {"x": 0.01, "ha": "left"}

INK = "#222222"
GREY = "#666666"
SHADE = "#9a9a9a"
PALE = "#c4c4c4"
_HUES = sns.color_palette("colorblind")
BLUE, ORANGE = _HUES[:2]
MARKERS = ["o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h", "*"]
Look = TypeVar("Look")
SPARE_COLOURS = [hue for place, hue in enumerate(sns.color_palette("dark")) if place != 7]  # which is near INK
SPARE_MARKERS = ["d", "8", "H", ".", "h"]


def with_defaults(declared: Mapping[str, Look], names: Iterable[str], spare: Iterable[Look]) -> dict[str, Look]:
    """What is declared for each name, and for each of `names` without it one of `spare`, by its place among those.

    Where `names` are all that a registry has, a name has the same look in every figure.
    """
    return {**declared, **dict(zip((name for name in names if name not in declared), cycle(spare), strict=False))}


_LOOKS = {
    "store-all": (SHADE, "o"),
    "periodic": (_HUES[0], "s"),
    "sqrt": (_HUES[9], "P"),
    "greedy": (_HUES[2], "^"),
    "revolve": (_HUES[1], "D"),
    "evicting dtr": (_HUES[4], "v"),
    "evicting lru": (_HUES[6], "<"),
    "evicting largest": (_HUES[5], ">"),
    "optimal": (INK, "*"),
    "train step": (_HUES[3], "X"),
    "micro-batch": (_HUES[8], "p"),
}
SPARE_LOOKS = list(zip(cycle(SPARE_COLOURS), SPARE_MARKERS * len(SPARE_COLOURS), strict=False))
KIND_LOOKS = with_defaults(_LOOKS, KINDS, SPARE_LOOKS)
"""The colour and the marker of each kind of variant, the same in every figure."""
STRANGE_LOOKS = SPARE_LOOKS[len(KIND_LOOKS) - len(_LOOKS) :]
"""Those of all other kinds, by their place among the others of a figure."""
LOOK: dict[Any, Any] = {
    **sns.axes_style("whitegrid"),
    **sns.plotting_context("paper"),
    "font.family": ["DejaVu Sans"],  # comes with matplotlib: the same letters on every machine
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "axes.edgecolor": "#bbbbbb",
    "axes.labelcolor": INK,
    "grid.color": "#e6e6e6",
    "figure.titlesize": 11,
    "figure.titleweight": "bold",
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "text.parse_math": False,  # a $ in a name is a $
}


@contextmanager
def our_look(**settings: Any) -> Iterator[None]:
    """Draw with matplotlib's own defaults and `LOOK`, and these settings, whatever the caller's files say."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(LOOK | settings)
        yield


@dataclass(frozen=True)
class Recipe:
    """A figure: called with all tables there are, it draws those it `needs`, and its caption says what it lacks.

    `build` takes their finished rows, each with its `variant` and `kind` unless the table has other frameworks' rows
    too, and returns the figure and its caption. Where it compares, it takes those alone that are `comparable`.
    """

    build: Callable[..., tuple[Figure, str]]
    comparable: Callable[[pd.DataFrame], pd.Series] | None

    @property
    def name(self) -> str:
        return self.build.__name__

    @property
    def needs(self) -> tuple[str, ...]:
        return FIGURES[self.name].needs

    def rows(self, tables: dict[str, pd.DataFrame]) -> list[pd.DataFrame]:
        """What `build` takes.

        Raises:
            ValueError: a table is missing or has no finished cell.
        """
        for need in self.needs:
            if need not in tables:
                raise ValueError(f"figure {self.name} needs {need}.csv: add {need!r} to the experiment's measure")
            if not (tables[need]["status"] == "ok").any():
                raise ValueError(f"figure {self.name} has nothing to show: no row of {need}.csv has status ok")
        drawn = [_shown(tables[need].query("status == 'ok'")) for need in self.needs]
        if self.comparable:
            drawn = [table[self.comparable(table)] for table in drawn]
        return [table if "framework" in table else name_variants(table) for table in drawn]

    def __call__(self, tables: dict[str, pd.DataFrame]) -> Figure:
        rows = self.rows(tables)
        with our_look():
            figure, caption = self.build(*rows)
            write_caption(figure, " ".join([caption, *self._lacking(tables, rows)]))
            _label_outer_panels(figure)
            figure.draw_without_rendering()  # ticks are made at the first draw: let them have this look
        return figure

    def _lacking(self, tables: dict[str, pd.DataFrame], rows: list[pd.DataFrame]) -> Iterator[str]:
        """A sentence on the cells that are not drawn, by the reason why."""
        reasons: dict[Any, str] = {}
        for need, drawn in zip(self.needs, rows, strict=True):
            cells = tables[need].drop(drawn.index).drop_duplicates("cell_id").set_index("cell_id")["status"]
            reasons |= cells.replace("ok", "with nothing to compare with").to_dict()
        if reasons:
            counts = ", ".join(f"{count} {reason}" for reason, count in Counter(reasons.values()).items())
            yield f"Not shown: {len(reasons)} {'cell' if len(reasons) == 1 else 'cells'} ({counts})."


def _shown(table: pd.DataFrame) -> pd.DataFrame:
    """The table without control characters in its texts, which an SVG file may not hold."""
    texts: pd.DataFrame = table.select_dtypes("str")
    return table.assign(
        **{str(name): text.map(visible, na_action="ignore").astype("str") for name, text in texts.items()}
    )


def drawn(
    *, comparable: Callable[[pd.DataFrame], pd.Series] | None = None
) -> Callable[[Callable[..., tuple[Figure, str]]], Recipe]:
    """Make a Recipe of a function that takes the tables which the registry names for it."""
    return lambda build: Recipe(build, comparable)


def panels(count: int, *, title: str, columns: int, height: float, **subplots: Any) -> tuple[Figure, list[Axes]]:
    """A titled figure with `count` panels, `height` inches each, in rows of at most `columns`.

    A place left over in the last row is blank, for a legend.
    """
    columns = min(columns, count)
    rows = ceil_div(count, columns)
    figure = Figure(figsize=(WIDTH_INCHES, rows * height + 0.9), layout="constrained")
    figure.suptitle(title, **LEFT)
    axes = list(figure.subplots(rows, columns, squeeze=False, **subplots).flat)
    for blank in axes[count:]:
        blank.set_axis_off()
    for ax in axes:
        ax.tick_params(labelsize=LOOK["xtick.labelsize"])  # else the number of ticks follows the caller's settings
    for ax in axes[max(count - columns, 0) : count]:
        ax.tick_params(labelbottom=True)  # the lowest of its column, also where a blank is below
    return figure, axes[:count]


def write_caption(figure: Figure, caption: str) -> None:
    """Put what a reader has to know beneath the panels."""
    figure.supxlabel(_wrap(caption), **LEFT, size=8, color=GREY, linespacing=1.4)


def _wrap(caption: str) -> str:
    """In as few lines as it needs, of about equal length, so that no single word is left over."""
    caption = caption.replace(" %", "\xa0%")
    fewest = len(textwrap.wrap(caption, CAPTION_CHARACTERS))
    widths = range(len(caption) // fewest, CAPTION_CHARACTERS + 1)
    return next(text for text in (textwrap.fill(caption, width) for width in widths) if text.count("\n") < fewest)


def _label_outer_panels(figure: Figure) -> None:
    placed = [(ax, place) for ax in figure.axes if ax.axison and (place := ax.get_subplotspec())]
    columns = placed[0][1].get_gridspec().ncols
    for position, (ax, _) in enumerate(placed):
        if position % columns:
            ax.set_ylabel("")
        if position + columns < len(placed):
            ax.set_xlabel("")


def facets(table: pd.DataFrame, by: list[str], *, marks: list[str]) -> list[tuple[str, pd.DataFrame]]:
    """A title and the rows for each panel: split by those columns of `by` that vary, untitled if none does.

    Raises:
        ValueError: there is no row, or a panel would draw two in one place, because they agree in `marks`.
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
    order = ["depth" if column == "layers" else column for column in varying]
    groups = table.sort_values(order, kind="stable").groupby(varying, sort=False, observed=True, dropna=False)
    return [(", ".join(map(phrase, varying, values)), rows) for values, rows in groups]


def constants(table: pd.DataFrame, columns: list[str]) -> str:
    """What all rows have in common, as a caption's last sentence."""
    common = [phrase(column, table[column].iloc[0]) for column in columns if table[column].nunique() == 1]
    return f"All with {', '.join(common)}." if common else ""


def phrase(column: str, value: object) -> str:
    """A column's value as a reader says it."""
    if column in ("variant", "dtype", "activation"):
        return str(value)
    return f"[{value}]" if column == "layers" else f"{column} {value}"


def _looks(kinds: pd.Series) -> dict[str, Any]:
    looks = with_defaults(KIND_LOOKS, kinds.cat.categories, STRANGE_LOOKS)
    return {kind: looks[kind] for kind in kinds.cat.categories}


def palette(names: pd.Series) -> dict[str, Any]:
    """The colour of each of the categories: kinds have their own, variants a scale whose order needs no colour vision.

    Store-all is grey among variants.
    """
    if names.name == "kind":
        return {kind: look[0] for kind, look in _looks(names).items()}
    others = [name for name in names.cat.categories if name != "store-all"]
    scale = sns.color_palette("plasma", as_cmap=True)
    return {"store-all": SHADE} | {name: scale(0.88 * i / max(len(others) - 1, 1)) for i, name in enumerate(others)}


def markers(names: pd.Series) -> dict[str, str]:
    """The marker of each of the categories, so that nothing hangs on colour alone."""
    if names.name == "kind":
        return {kind: look[1] for kind, look in _looks(names).items()}
    return {name: MARKERS[i % len(MARKERS)] for i, name in enumerate(names.cat.categories)}


def sizes(variants: pd.Series, *, others: float) -> dict[str, float]:
    """Each variant's size: store-all's is larger, so that it shows behind those that coincide with it."""
    return {name: 3 * others if name == "store-all" else others for name in variants.cat.categories}


def variant_legend(figure: Figure, variants: pd.Series, *, linewidth: float = 0, extra: Iterable[Artist] = ()) -> None:
    """Name every variant shown, then whatever else is drawn: in a blank place, or beside the panels."""
    colours, shapes, widths = palette(variants), markers(variants), sizes(variants, others=linewidth)
    handles = [
        Line2D([], [], color=colours[name], marker=shapes[name], linewidth=widths[name], label=name)
        for name in variants.cat.categories
    ]
    blank = [ax for ax in figure.axes if not ax.axison]
    if blank:
        blank[0].legend(handles=[*handles, *extra], loc="center", ncols=2)
    else:
        figure.legend(handles=[*handles, *extra], loc="outside right center")


def key_above(figure: Figure, handles: Sequence[Artist]) -> None:
    """Name a few things in the title's line, or more of them in as many lines as it takes."""
    lines = ceil_div(len(handles), KEYS_IN_A_LINE)
    figure.legend(handles=handles, loc="outside upper right", ncols=ceil_div(len(handles), lines))


def log2(axes: Axes, which: str, *, ticks: Iterable[float] | None = None) -> None:
    """Put the `x` or `y` axis on a log2 scale with plain numbers, at the grid's own values if given."""
    axis = {"x": axes.xaxis, "y": axes.yaxis}[which]
    axes.set(**{f"{which}scale": LogScale(axis, base=2)})
    axis.set_major_locator(LogLocator(base=2, numticks=9) if ticks is None else FixedLocator(sorted(set(ticks))))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
