"""How a figure is made from tables: the tables that it needs, its layout, its title and its caption."""

import textwrap
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from harness.analysis.variants import name_variants
from harness.experiment.figures import FIGURES
from harness.plots.looks import WIDTH_INCHES, is_narrow, our_look
from harness.plots.style import LEFT, POINTS_PER_INCH, write_caption
from networks.wording import visible

TITLE_CHARACTERS = 44
"""Characters in a line of a title on a narrow figure."""
GAP_INCHES = 0.1
"""Gap between a legend and the panels below it."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The layout of a figure: its width, and whether it has a title and a caption."""

    width_inches: float = WIDTH_INCHES
    title: bool = True
    caption: bool = True


WIDE = Layout()
"""The layout for a screen. It is the default."""


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

    def __call__(self, tables: dict[str, pd.DataFrame], layout: Layout = WIDE) -> Figure:
        rows = self.rows(tables)
        with our_look(width_inches=layout.width_inches):
            figure, caption = self.build(*rows)
            if layout.caption:
                write_caption(figure, " ".join([caption, *self._lacking(tables, rows)]))
            _write_title(figure, shown=layout.title)
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


def _write_title(figure: Figure, *, shown: bool) -> None:
    """Write the title if it is `shown`. On a narrow figure, put the legend below it and make the figure higher."""
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
