"""The page's charts of allocators, frameworks and users' PyTorch models."""

from collections.abc import Mapping

import altair as alt
import pandas as pd

from harness.analysis import frameworks as analysed
from harness.analysis import models as of_models
from harness.analysis.each_row import each_row
from harness.report.drawn import Drawn, Tables, gathered, network_of
from harness.report.looks import HEIGHT, choose, colour, distinct, shape, specification
from harness.report.packing import json_rows
from harness.sizes import MIB

ZOOMED = alt.Scale(zero=False, padding=12)


def resident(sets: Mapping[str, Tables]) -> Drawn | None:
    """Requested and resident peaks."""

    def peaks(of: Tables) -> pd.DataFrame:
        memory = of["memory"] if "memory" in of else of["peers_memory"]
        resident = of["resident"]
        return analysed.resident_peaks(memory, resident)

    able = {name: of for name, of in sets.items() if of.keys() & {"memory", "peers_memory"}}
    table = gathered(able, peaks, "resident")
    if table.empty:
        return None
    table = table.assign(
        network=table["experiment"] + ": " + network_of(table),
        requested_mib=table["requested_bytes"].astype("float64") / MIB,
        resident_mib=table["resident_bytes"].astype("float64") / MIB,
    )
    allocators = distinct(table["allocator"])
    columns = ["network", "name", "allocator", "requested_mib", "resident_mib", "kept_bytes"]
    base = alt.Chart(alt.InlineData(json_rows(table[columns])))
    picked = choose("resident_network", "network", "network", distinct(table["network"]))
    y = alt.Y("name:N", title=None, sort=None, axis=alt.Axis(labelLimit=150))
    requested = base.mark_tick(thickness=3, color="grey", tooltip={"content": "data"}).encode(
        x=alt.X("requested_mib:Q", title="peak (MiB)"), y=y
    )
    points = base.mark_point(filled=True, size=70, tooltip={"content": "data"}).encode(
        x="resident_mib:Q",
        y=y,
        color=colour("allocator", allocators),
        shape=shape("allocator", allocators),
    )
    kept = table["kept_bytes"].astype("float64").groupby(table["allocator"]).max() / MIB
    chart = alt.layer(requested, points).add_params(picked).transform_filter(picked)
    return Drawn(
        "resident",
        "Requested and resident",
        "Ticks are requested peaks, points are resident peaks. The most that stays resident beyond the request: "
        + ", ".join(f"{name} {mib:.1f} MiB" for name, mib in kept.items())
        + ".",
        "Tick: requested peak of the step, by memray. Point: how far resident memory rises, as the median of repeats.",
        specification(chart.properties(width="container", height=alt.Step(18))),
        {"colour": allocators, "shape": allocators},
    )


def tradeoff(sets: Mapping[str, Tables]) -> Drawn | None:
    """Memory against time of every framework's step."""

    def steps(of: Tables) -> pd.DataFrame:
        return analysed.peers_savings(of["peers_memory"]).merge(analysed.step_times(of["peers_time"]), on="cell_id")

    table = gathered(sets, steps, "peers_memory", "peers_time")
    if table.empty:
        return None
    table = table.assign(network=network_of(table), peak_mib=table["memray_peak_bytes"].astype("float64") / MIB)
    names, kinds = distinct(table["framework"]), distinct(table["kind"])
    columns = ["network", "name", "framework", "kind", "peak_mib", "step_seconds", "over_floor", "saved_share"]
    picked = choose("frameworks_network", "network", "network", distinct(table["network"]))
    x = alt.X("step_seconds:Q", title="time of the step (s)", scale=ZOOMED)
    chart = _peaks(table[columns], x, colour("framework", names), shape("kind", kinds), picked)
    least = table.loc[table["peak_mib"].groupby(table["network"]).idxmin()]
    return Drawn(
        "frameworks",
        "Frameworks",
        "Points of peak against time. The smallest peak of each network: "
        + "; ".join(f"{row['network']}: {row['name']}, {row['peak_mib']:.1f} MiB" for row in least.to_dict("records"))
        + ".",
        "The same step in each framework: memray's peak against the median time of the step.",
        specification(chart),
        {"colour": names, "shape": kinds},
    )


def models_tradeoff(sets: Mapping[str, Tables]) -> Drawn | None:
    """Memory against time of users' PyTorch models: plain, by PyTorch's own checkpointing, and planned."""

    def steps(of: Tables) -> pd.DataFrame:
        return of_models.with_times(of["models_memory"], of["models_time"])

    table = gathered(sets, steps, "models_memory", "models_time")
    if table.empty:
        return None
    table = table.assign(
        peak_mib=table["peak_bytes"].astype("float64") / MIB,
        budget_mib=table["budget_bytes"].astype("float64") / MIB,
        kind=table["kind"].str.replace("_", " "),
    )
    kinds = distinct(table["kind"])
    columns = [
        "name",
        "variant",
        "kind",
        "gradients",
        "peak_mib",
        "budget_mib",
        "time_ratio",
        "ratio_low",
        "ratio_high",
    ]
    picked = choose("own_model", "model", "name", distinct(table["name"]))
    x = alt.X("time_ratio:Q", title="time of the step / plain", scale=ZOOMED)
    chart = _peaks(table[columns], x, colour("kind", kinds), shape("kind", kinds), picked)
    least = each_row(table.sort_values("peak_mib").drop_duplicates("name"))
    return Drawn(
        "own-models",
        "Your own PyTorch models",
        "Points of peak against time. The smallest peak of each model: "
        + "; ".join(f"{row['name']}: {row['kind']}, {row['peak_mib']:.1f} MiB" for row in least)
        + ".",
        "Measured peak against the median time over plain autograd's. Lower and further left is better.",
        specification(chart),
        {"colour": kinds, "shape": kinds},
    )


def _peaks(table: pd.DataFrame, x: alt.X, colours: alt.Color, shapes: alt.Shape, picked: alt.Parameter) -> alt.Chart:
    """A chart with a point for each row that is `picked`: its peak against `x`."""
    return (
        alt.Chart(alt.InlineData(json_rows(table)))
        .mark_point(filled=True, size=90, tooltip={"content": "data"})
        .encode(x=x, y=alt.Y("peak_mib:Q", title="peak (MiB)"), color=colours, shape=shapes)
        .add_params(picked)
        .transform_filter(picked)
        .properties(width="container", height=HEIGHT)
    )
