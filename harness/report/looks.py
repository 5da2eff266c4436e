"""The look of the page's charts: colours, shapes and scales."""

from typing import Any

import altair as alt
import pandas as pd

HEIGHT = 320
SHAPES = [
    *("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "triangle-left"),
    "M0,1L.2,.3L.95,.3L.35,-.1L.6,-.8L0,-.4L-.6,-.8L-.35,-.1L-.95,.3L-.2,.3Z",
    "M-1,-.35L1,-.35L1,.35L-1,.35Z",
    "M-.35,-1L.35,-1L.35,1L-.35,1Z",
]
"""Marks, as names of Vega's or SVG paths. Each name has a mark, because colour alone must not tell anything."""


def shape(field: str, names: list[str]) -> alt.Shape:
    """Marks for `names`, in their order. The legend beside the chart shows them."""
    marks = [SHAPES[place % len(SHAPES)] for place in range(len(names))]
    return alt.Shape(f"{field}:N", scale=alt.Scale(domain=names, range=marks), legend=None)


def colour(field: str, names: list[str]) -> alt.Color:
    """Colours for `names`, in their order. The page has a light and a dark set."""
    return alt.Color(f"{field}:N", scale=alt.Scale(domain=names), legend=None)


def choose(name: str, label: str, field: str, values: list[str]) -> alt.Parameter:
    """A list from which a reader chooses one value of `field`."""
    return alt.selection_point(
        name=name,
        fields=[field],
        bind=alt.binding_select(options=values, name=f"{label} "),
        value=[{field: values[0]}],
    )


def specification(chart: Any) -> dict[str, Any]:
    """A chart as Vega-Lite's JSON, without the address of its schema."""
    spec = chart.to_dict(validate=True)
    return {name: value for name, value in spec.items() if name not in ("$schema", "config")}


def distinct(values: pd.Series) -> list[str]:
    """The values of a column as text, each once. Categories keep their order, other values the order of the rows."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        return [str(value) for value in values.cat.remove_unused_categories().cat.categories]
    return [str(value) for value in values.drop_duplicates()]
