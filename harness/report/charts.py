"""The other charts of the page: tables in, Vega-Lite out, each with a description in words."""

from collections.abc import Callable, Mapping

import altair as alt
import pandas as pd

from harness.analysis.baseline import is_comparable
from harness.analysis.each_row import each_row
from harness.analysis.memory import residual_bound, residuals, savings
from harness.analysis.schedules import GROWING, growth
from harness.analysis.variants import name_variants
from harness.experiment.frameworks import STORE_ALL
from harness.report import frameworks
from harness.report.drawn import Drawn, Tables, gathered, network_of
from harness.report.looks import HEIGHT, choose, colour, distinct, shape, specification
from harness.report.packing import json_rows
from harness.sizes import MIB
from networks.planning.network_rows import WORDS
from networks.tracker import KINDS


def charts(sets: Mapping[str, Tables]) -> list[Drawn]:
    """Every chart for which the experiments have the tables."""
    return [drawn for draw in _CHARTS for drawn in [draw(sets)] if drawn]


def _where(sets: Mapping[str, Tables]) -> Drawn | None:
    """Where checkpointing saves memory, for experiments with several widths and batches."""
    able = {name: of for name, of in sets.items() if "memory" in of and is_comparable(of["memory"])}
    table = gathered(able, lambda of: savings(name_variants(of["memory"])))
    if table.empty:
        return None
    shapes = table.groupby("experiment")[["width", "batch"]].transform("nunique")
    table = table[(shapes > 1).all(axis=1) & (table["variant"].astype(str) != STORE_ALL)]
    if table.empty:
        return None
    table = table.assign(variant=table["variant"].astype(str), share=table["saved_share"].astype("float64"))
    worst, *_, best = each_row(table.sort_values("share"))
    base = alt.Chart(alt.InlineData(json_rows(table[["variant", "width", "batch", "share"]]))).encode(
        x=alt.X("width:O", title="width of the hidden layers", axis=alt.Axis(labelAngle=0)),
        y=alt.Y("batch:O", sort="descending", title="batch"),
    )
    variants = distinct(table["variant"])
    picked = choose("saved_variant", "variant", "variant", variants)
    cells = base.mark_rect(tooltip={"content": "data"}).encode(
        color=alt.Color("share:Q", legend=None, scale=alt.Scale(scheme="blues", domain=[0, 1])),
    )
    words = base.mark_text().encode(
        text=alt.Text("share:Q", format=".0%"),
        color=alt.when("datum.share > 0.55").then(alt.value("white")).otherwise(alt.value("black")),
    )
    chart = alt.layer(cells, words).add_params(picked).transform_filter(picked)
    return Drawn(
        "where-it-saves",
        "Where it saves",
        f"Heat map of batch against width. {best['variant']} saves most: {best['share']:.0%} at width "
        f"{best['width']} and batch {best['batch']}; {worst['variant']} saves {worst['share']:.0%} at width "
        f"{worst['width']} and batch {worst['batch']}.",
        "The share of store-all's measured peak that a variant saves.",
        specification(chart.properties(width="container", height=HEIGHT)),
        {},
    )


def _peaks(sets: Mapping[str, Tables]) -> Drawn | None:
    """The kinds of buffers that fill the peak of each variant."""
    table = gathered(sets, lambda of: name_variants(of["memory"]), "memory")
    if table.empty:
        return None
    table = table.assign(network=table["experiment"] + ": " + network_of(table), variant=table["variant"].astype(str))
    long = pd.concat(
        table[["network", "variant"]].assign(
            kind=WORDS[kind], order=order, mib=table[f"tracker_{kind}_bytes"].astype("float64") / MIB
        )
        for order, kind in enumerate(KINDS)
    )
    kinds = [WORDS[kind] for kind in KINDS]
    picked = choose("filled_network", "network", "network", distinct(table["network"]))
    chart = (
        alt.Chart(alt.InlineData(json_rows(long[long["mib"] > 0])))
        .mark_bar(tooltip={"content": "data"}, stroke="white", strokeWidth=0.6)
        .encode(
            x=alt.X("mib:Q", title="peak by kind (MiB)"),
            y=alt.Y("variant:N", title=None, sort=None, axis=alt.Axis(labelLimit=150)),
            color=colour("kind", kinds),
            order="order:Q",
        )
        .add_params(picked)
        .transform_filter(picked)
    )
    shares = {kind: float(long.loc[long["kind"] == kind, "mib"].sum() / long["mib"].sum()) for kind in kinds}
    most = max(shares, key=lambda kind: shares[kind])
    return Drawn(
        "fills-the-peak",
        "What fills the peak",
        f"Stacked bars, one for each variant of a network. Over all cells, {most} are the largest part: "
        f"{shares[most]:.0%} of all peaks.",
        "The tracker's peak of the step, by kind of buffer. A bar has the order of the legend.",
        specification(chart.properties(width="container", height=alt.Step(18))),
        {"colour": kinds},
    )


def _predicted(sets: Mapping[str, Tables]) -> Drawn | None:
    """Measured minus predicted peaks, and their bound."""

    def rest(of: Tables) -> pd.DataFrame:
        memory = of["memory"] if "memory" in of else of["peers_memory"]
        return residuals(memory.dropna(subset="residual_bytes"))

    table = gathered({name: of for name, of in sets.items() if of.keys() & {"memory", "peers_memory"}}, rest)
    if table.empty:
        return None
    table = table.assign(
        predicted_mib=table["predicted_peak_bytes"].astype("float64") / MIB,
        residual_kib=table["residual_bytes"].astype("float64") / 2**10,
    )
    names = distinct(table["experiment"])
    columns = ["experiment", "layers", "batch", "predicted_mib", "residual_kib"]
    ends = table["predicted_mib"].agg(["min", "max"]).to_numpy()
    middle = 32 * 2**10 / 0.005 / MIB
    at = pd.Series(sorted({*ends, middle}))
    bound = pd.DataFrame({"predicted_mib": at, "residual_kib": residual_bound(at.to_numpy() * MIB) / 2**10})
    x = alt.X("predicted_mib:Q", title="predicted peak (MiB)", scale=alt.Scale(type="log", padding=12))
    points = (
        alt.Chart(alt.InlineData(json_rows(table[columns])))
        .mark_point(filled=True, size=50, opacity=0.75, tooltip={"content": "data"})
        .encode(
            x=x,
            y=alt.Y("residual_kib:Q", title="measured - predicted (KiB)", scale=alt.Scale(type="symlog")),
            color=colour("experiment", names),
            shape=shape("experiment", names),
        )
    )
    line = (
        alt.Chart(alt.InlineData(json_rows(bound)))
        .mark_line(strokeDash=[5, 3], color="grey")
        .encode(x=x, y="residual_kib:Q")
    )
    worst = table["residual_kib"].abs().max()
    return Drawn(
        "predicted",
        "Predicted against measured",
        f"{int(table['within_bound'].sum())} of {len(table)} measured peaks lie within the bound of their prediction. "
        f"The largest difference is {worst:.1f} KiB.",
        "The peak that memray measures minus the peak that a dry run predicts. Dashed: the bound, 0.5 % of the "
        "prediction but no less than 32 KiB.",
        specification(alt.layer(line, points).properties(width="container", height=HEIGHT)),
        {"colour": names, "shape": names},
    )


GROWING_COLUMNS = {
    "peak (MiB)": ("predicted_peak_bytes", MIB),
    "activations held": ("peak_cached_layers", 1),
    "forward work / store-all's": ("forward_work_ratio", 1),
}


def _growth(sets: Mapping[str, Tables]) -> Drawn | None:
    """The growth of peaks, held activations and work with depth."""
    able = [of["memory"] for name, of in sets.items() if "memory" in of and name == "growth"]
    if not able:
        return None
    table = growth(able[0])
    table = table.assign(kind=table["kind"].astype(str))
    long = pd.concat(
        table[["kind", "depth"]].assign(quantity=quantity, value=table[column].astype("float64") / unit)
        for quantity, (column, unit) in GROWING_COLUMNS.items()
    )
    kinds = list(GROWING)
    picked = choose("grown", "quantity", "quantity", list(GROWING_COLUMNS))
    chart = (
        alt.Chart(alt.InlineData(json_rows(long)))
        .mark_line(point={"size": 60, "filled": True}, tooltip={"content": "data"})
        .encode(
            x=alt.X("depth:Q", title="depth (layers)", scale=alt.Scale(type="log", base=2)),
            y=alt.Y("value:Q", title=None, scale=alt.Scale(type="log", base=2)),
            color=colour("kind", kinds),
            shape=shape("kind", kinds),
            strokeDash=alt.StrokeDash("kind:N", sort=kinds, legend=None),
        )
        .add_params(picked)
        .transform_filter(picked)
    )
    deepest = table[table["depth"] == table["depth"].max()].set_index("kind")["predicted_peak_bytes"] / MIB
    return Drawn(
        "growth",
        "Growth with depth",
        f"Lines against depth. At {table['depth'].max()} layers the peak is "
        + ", ".join(f"{mib:.0f} MiB with {kind}" for kind, mib in deepest.items())
        + ".",
        "Dry runs from 4 to 1,000 layers. revolve has log2 of the depth as slots. optimal has the bytes that revolve "
        "takes. Both axes are logarithmic.",
        specification(chart.properties(width="container", height=HEIGHT)),
        {"colour": kinds, "shape": kinds},
    )


_CHARTS: tuple[Callable[[Mapping[str, Tables]], Drawn | None], ...] = (
    _where,
    _peaks,
    frameworks.resident,
    frameworks.tradeoff,
    frameworks.models_tradeoff,
    _predicted,
    _growth,
)
