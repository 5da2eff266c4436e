"""What a chart of the page is, and the tables of several experiments gathered for it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

Tables = Mapping[str, pd.DataFrame]


@dataclass(frozen=True)
class Drawn:
    """A chart.

    Attributes:
        name: its own in the page.
        title: its heading.
        words: what it shows, for who does not see it.
        caption: how to read it.
        spec: its Vega-Lite.
        key: what its colours and its shapes stand for, in their order.
    """

    name: str
    title: str
    words: str
    caption: str
    spec: dict[str, Any]
    key: dict[str, list[str]]


def gathered(sets: Mapping[str, Tables], make: Callable[[Tables], pd.DataFrame], *needed: str) -> pd.DataFrame:
    """What `make` says of each experiment that has the tables, with the experiment's name."""
    tables = [make(of).assign(experiment=name) for name, of in sets.items() if set(needed) <= of.keys()]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def network_of(table: pd.DataFrame) -> pd.Series:
    """Layers and batch of each row, in words."""
    return table["layers"] + ", batch " + table["batch"].astype(str)
