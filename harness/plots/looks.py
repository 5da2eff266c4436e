"""The look of figures: colours that show on white and in greys, a marker for each name, letters, and the page."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import cycle
from types import MappingProxyType
from typing import Any, TypeVar

import matplotlib as mpl
import pandas as pd
import seaborn as sns

from harness.analysis.variants import VARIANT_KINDS
from harness.experiment.frameworks import STORE_ALL

WIDTH_INCHES = 8.4  # the column of a README at 100 dots per inch: 9 points stay 9 points
NARROW_INCHES = 5.0
"""A narrower page is a column of a paper: one panel below the other, and smaller letters."""

# Each line and marker has a contrast of at least 3 to white (WCAG 2.2, 1.4.11).
INK = "#222222"
GREY = "#666666"
SHADE = "#767676"
PALE = "#c4c4c4"
"""Only for areas."""
BLUE, ORANGE, GREEN, RED, PURPLE = "#0173b2", "#b86e00", "#028a64", "#d55e00", "#9c4d97"
MARKERS = ["o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h", "*"]
Look = TypeVar("Look")
SPARE_COLOURS = [hue for place, hue in enumerate(sns.color_palette("dark")) if place != 7]  # number 7 is near INK
SPARE_MARKERS = ["d", "8", "H", ".", "h"]


def with_defaults(declared: Mapping[str, Look], names: Iterable[str], spare: Iterable[Look]) -> dict[str, Look]:
    """The declared look of each name. Each of `names` without one gets the next of `spare`, in their order.

    If `names` are all names of a registry, a name has the same look in every figure.
    """
    return {**declared, **dict(zip((name for name in names if name not in declared), cycle(spare), strict=False))}


_LOOKS = {
    STORE_ALL: (SHADE, "o"),
    "periodic": (BLUE, "s"),
    "sqrt": ("#3f3fae", "P"),
    "greedy": (GREEN, "^"),
    "revolve": (ORANGE, "D"),
    "evicting dtr": (PURPLE, "v"),
    "evicting lru": ("#d6408f", "<"),
    "evicting largest": ("#8c564b", ">"),
    "optimal": (INK, "*"),
    "train step": (RED, "X"),
    "micro-batch": ("#8a7a00", "p"),
}
SPARE_LOOKS = list(zip(cycle(SPARE_COLOURS), SPARE_MARKERS * len(SPARE_COLOURS), strict=False))
KIND_LOOKS = with_defaults(_LOOKS, VARIANT_KINDS, SPARE_LOOKS)
"""The colour and the marker of each kind of variant, the same in every figure."""
STRANGE_LOOKS = SPARE_LOOKS[len(KIND_LOOKS) - len(_LOOKS) :]
"""The looks of all other kinds, by their place among the other kinds of a figure."""
POINT = 5.5
_POINTS = {STORE_ALL: 9.0, "optimal": 9.0, "sqrt": 5.0, "train step": 5.0}
"""Sizes of markers that differ from `POINT`. A small marker stays visible on top of a large one."""

_LETTERS = {"font.size": 9.6, "axes.titlesize": 9, "axes.labelsize": 9, "figure.titlesize": 11}
_SMALL_LETTERS = {
    "font.size": 7.3,
    "axes.titlesize": 7.5,
    "axes.labelsize": 7,
    "figure.titlesize": 8.5,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "legend.fontsize": 6.5,
}
LOOK: dict[str, Any] = {
    **sns.axes_style("whitegrid"),
    **sns.plotting_context("paper"),
    **_LETTERS,
    "font.family": ["DejaVu Sans"],  # comes with matplotlib: the same letters on every machine
    "axes.edgecolor": "#bbbbbb",
    "axes.labelcolor": INK,
    "grid.color": "#e6e6e6",
    "figure.titleweight": "bold",
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "text.parse_math": False,  # a $ in a name is a $
}


@contextmanager
def our_look(
    *, width_inches: float = WIDTH_INCHES, settings: Mapping[str, Any] = MappingProxyType({})
) -> Iterator[None]:
    """Draw with matplotlib's own defaults, `LOOK` and these settings. The caller's matplotlibrc has no effect.

    Figures that `panels` makes within this context are `width_inches` wide.
    """
    letters = _SMALL_LETTERS if width_inches < NARROW_INCHES else {}
    look: dict[Any, Any] = LOOK | {"figure.figsize": (width_inches, width_inches)} | letters | dict(settings)
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(look)
        yield


def page_width() -> float:
    """Width of the current page in inches."""
    return mpl.rcParams["figure.figsize"][0]


def is_narrow() -> bool:
    """Whether the current page is as narrow as a column of a paper."""
    return page_width() < NARROW_INCHES


def _looks(kinds: pd.Series) -> dict[str, Any]:
    looks = with_defaults(KIND_LOOKS, kinds.cat.categories, STRANGE_LOOKS)
    return {kind: looks[kind] for kind in kinds.cat.categories}


def palette(names: pd.Series) -> dict[str, Any]:
    """The colour of each of the categories. Kinds have their own colours.

    Variants have a scale from dark to light, which needs no colour vision. Store-all is grey.
    """
    if names.name == "kind":
        return {kind: look[0] for kind, look in _looks(names).items()}
    others = [name for name in names.cat.categories if name != STORE_ALL]
    scale = sns.color_palette("plasma", as_cmap=True)
    return {STORE_ALL: SHADE} | {name: scale(0.62 * i / max(len(others) - 1, 1)) for i, name in enumerate(others)}


def markers(names: pd.Series) -> dict[str, str]:
    """The marker of each of the categories, because colour alone must not tell anything."""
    if names.name == "kind":
        return {kind: look[1] for kind, look in _looks(names).items()}
    return {name: MARKERS[i % len(MARKERS)] for i, name in enumerate(names.cat.categories)}


def points(names: pd.Series) -> dict[str, dict[str, Any]]:
    """The look of a point of each of the categories. Points that coincide stay visible, because their sizes differ."""
    colours, shapes = palette(names), markers(names)
    return {
        name: {
            "color": colours[name],
            "marker": shapes[name],
            "markersize": _POINTS.get(name, POINT),
            "markeredgecolor": "white",
            "markeredgewidth": 0.4,
            "zorder": 3 - _POINTS.get(name, POINT) / 10,
        }
        for name in names.cat.categories
    }


def sizes(variants: pd.Series, *, others: float) -> dict[str, float]:
    """The size of each variant. Store-all's is larger, so that it shows behind variants that coincide with it."""
    return {name: 3 * others if name == STORE_ALL else others for name in variants.cat.categories}
