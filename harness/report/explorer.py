"""The Pareto explorer: the peak of every measured cell against its work or time, and the least possible work."""

from collections.abc import Iterable
from typing import Any

import altair as alt
import pandas as pd

from harness.analysis.baseline import COMPARED, is_comparable
from harness.analysis.chains import name_chains
from harness.analysis.memory import work_ratios
from harness.analysis.schedules import optimal_curve
from harness.analysis.time import time_ratios
from harness.analysis.variants import STORE_ALL_NETWORK, VARIANT, name_variants
from harness.report.looks import HEIGHT, colour, distinct, shape, specification
from harness.report.packing import json_rows
from harness.sizes import MIB

COSTS = {
    "work_ratio": "work of the step / store-all's",
    "time_ratio": "time of the step / store-all's",
}
"""The costs of a cell beside its peak, by column."""


def explored(sets: Iterable[tuple[str, dict[str, pd.DataFrame]]]) -> dict[str, Any]:
    """The cells of all experiments with memory.csv, the line of the optimum for each network, and both charts."""
    cells, curves = [], []
    for experiment, tables in sets:
        if "memory" in tables:
            memory = tables["memory"]
            cells.append(_cells(experiment, memory, tables.get("time")))
            curves.append(_curve(memory[memory["step"] == "backward"]))
    if not cells:
        return {}
    table = pd.concat(cells, ignore_index=True)
    kinds = list(dict.fromkeys(kind for one in cells for kind in distinct(one["kind"])))
    curve = pd.concat(curves, ignore_index=True).drop_duplicates()
    return {
        "cells": json_rows(table.drop(columns=["error"])),
        "optimum": json_rows(curve),
        "kinds": kinds,
        "chains": name_chains(table),
        "charts": {cost: specification(_chart(cost, title, kinds)) for cost, title in COSTS.items()},
    }


def _cells(experiment: str, memory: pd.DataFrame, time: pd.DataFrame | None) -> pd.DataFrame:
    table = work_ratios(name_variants(memory))
    table = table.assign(experiment=experiment, peak_mib=table["memray_peak_bytes"].astype("float64") / MIB)
    if time is not None and is_comparable(time):
        ratios = time_ratios(time, seconds="step_seconds", pair_on=["repeat"])
        return table.merge(ratios, how="left", on=[*COMPARED, *VARIANT])
    return table


def _curve(memory: pd.DataFrame) -> pd.DataFrame:
    """The least possible work for each peak of each network: points of a line that falls in steps."""
    whole = memory[memory["network"] == STORE_ALL_NETWORK][["layers", "batch", "dtype", "predicted_peak_bytes"]]
    curve = optimal_curve(memory).merge(whole.drop_duplicates(), on=["layers", "batch", "dtype"])
    peaks = curve["peak_ratio"] * curve["predicted_peak_bytes"].astype("float64") / MIB
    return curve.assign(peak_mib=peaks)[["layers", "batch", "dtype", "work_ratio", "peak_mib"]]


def _chart(cost: str, title: str, kinds: list[str]) -> Any:
    x = alt.X(f"{cost}:Q", title=title, scale=alt.Scale(zero=False, nice=True, padding=16))
    y = alt.Y("peak_mib:Q", title="peak of the step (MiB)", scale=alt.Scale(zero=True, nice=True))
    brush = alt.selection_interval(name="brush")
    line = (
        alt.Chart(alt.NamedData("optimum"))
        .mark_line(interpolate="step-after", strokeDash=[5, 3], strokeWidth=1.5, color="grey")
        .encode(x=x, y=y, order="work_ratio:Q")
    )
    points = (
        alt.Chart(alt.NamedData("cells"), name="points")
        .mark_point(filled=True, size=90, tooltip={"content": "data"})
        .encode(
            x=x,
            y=y,
            color=colour("kind", kinds),
            shape=shape("kind", kinds),
            opacity=alt.when(brush).then(alt.value(0.9)).otherwise(alt.value(0.2)),
        )
        .add_params(brush)
    )
    best = (
        alt.Chart(alt.NamedData("best"))
        .mark_point(size=320, strokeWidth=2.5, filled=False, color="grey", shape="circle")
        .encode(x=x, y=y)
    )
    at_budget = alt.Chart(alt.InlineData([{}]), name="budget").transform_calculate(peak_mib="budget")
    rule = at_budget.mark_rule(strokeWidth=2.5, color="#d1495b").encode(y=y)
    layers = [points, line, best, rule] if cost == "work_ratio" else [points, best, rule]
    return (
        alt.layer(*layers)
        .add_params(alt.param(name="budget", value=0))
        .properties(width="container", height=HEIGHT + 60)
    )
