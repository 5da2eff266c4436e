"""A chart of the page, and the tables of several experiments that it is made from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

Tables = Mapping[str, pd.DataFrame]


@dataclass(frozen=True)
class Drawn:
    """A chart.

    Attributes:
        name: its name in the page.
        title: its heading.
        words: a description for readers who cannot see it.
        caption: how to read it.
        spec: its Vega-Lite specification.
        key: the names that its colours and shapes stand for, in their order.
    """

    name: str
    title: str
    words: str
    caption: str
    spec: dict[str, Any]
    key: dict[str, list[str]]


def gathered(sets: Mapping[str, Tables], make: Callable[[Tables], pd.DataFrame], *needed: str) -> pd.DataFrame:
    """The tables that `make` makes of each experiment with the `needed` tables, joined, with the experiment's name."""
    tables = [make(of).assign(experiment=name) for name, of in sets.items() if set(needed) <= of.keys()]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def network_of(table: pd.DataFrame) -> pd.Series:
    """Layers and batch of each row, in words."""
    return table["layers"] + ", batch " + table["batch"].astype(str)
