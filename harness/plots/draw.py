"""Figures by their names in the registry."""

from collections.abc import Iterable, Iterator
from importlib import import_module

import pandas as pd
from matplotlib.figure import Figure

from harness.experiment.figures import FIGURES
from harness.plots.recipes import WIDE, Layout, Recipe


def recipe(name: str) -> Recipe:
    """The figure of this name in the registry."""
    return getattr(import_module(f"harness.plots.{FIGURES[name].module}"), name)


def draw(tables: dict[str, pd.DataFrame], names: Iterable[str], layout: Layout = WIDE) -> Iterator[tuple[str, Figure]]:
    """Draw the named figures one by one on `layout` from `tables`, which are given by name.

    Raises:
        ValueError: a name is not in `FIGURES`, or a table that a figure needs is missing or has no finished cell.
            Nothing is drawn then.
    """
    names = list(names)
    for name in names:
        if name not in FIGURES:
            raise ValueError(f"unknown figure {name!r}, there are: {', '.join(FIGURES)}")
        recipe(name).rows(tables)
    return ((name, recipe(name)(tables, layout)) for name in names)
