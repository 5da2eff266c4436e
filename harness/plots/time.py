"""Figures of times. Every time is a ratio to store-all of the same round, and has its interval."""

from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from harness.analysis.baseline import has_store_all, pareto_front
from harness.analysis.each_row import each_row
from harness.analysis.memory import savings, work_ratios
from harness.analysis.time import time_ratios, with_time_ratios
from harness.analysis.variants import name_variants
from harness.plots.looks import GREY, INK, points
from harness.plots.ratios import ratio_keys, ratio_point, ratios_explained
from harness.plots.recipes import drawn
from harness.plots.style import SETTING, constants, facets, key_above, log2, panels, variant_legend


@drawn(comparable=has_store_all)
def time_ratio(memory: pd.DataFrame, time: pd.DataFrame) -> tuple[Figure, str]:
    """Step time over store-all's by checkpoint frequency, a panel for each depth, with the ratio of the work."""
    ratios = with_time_ratios(work_ratios(memory), time).dropna(subset="checkpoint_frequency")
    ratios = ratios[ratios["micro_batch"].isna()]
    setting = ["recompute", "step", *SETTING]
    parts = facets(ratios, ["depth", *setting], marks=["checkpoint_frequency"])
    figure, axes = panels(
        len(parts), title="What checkpointing costs in time", columns=3, height=2.0, sharex=True, sharey=True
    )
    counted: dict[str, Any] = {"color": GREY, "linestyle": "--", "linewidth": 1}
    for ax, (title, rows) in zip(axes, parts, strict=True):
        ax.axhline(1, color=INK, linewidth=0.8)
        work = rows.sort_values("checkpoint_frequency")
        ax.plot(work["checkpoint_frequency"], work["work_ratio"], **counted)
        for row in each_row(rows):
            ratio_point(ax, row, x=row["checkpoint_frequency"], y=row["time_ratio"], along="y")
        log2(ax, "x", ticks=ratios["checkpoint_frequency"])
        ax.set(title=title, xlabel="checkpoint frequency n", ylabel="step time / store-all's")
    key_above(figure, [*ratio_keys(ratios), Line2D([], [], **counted, label="matrix products counted")])
    return figure, (
        f"{ratios_explained(ratios, 'steps timed in the same round')} n = 4 keeps every 4th layer output. "
        f"{constants(ratios, setting)}"
    )


@drawn(comparable=has_store_all)
def tradeoff(memory: pd.DataFrame, time: pd.DataFrame) -> tuple[Figure, str]:
    """Peak memory against step time, both over store-all's, and the front of variants that no other beats."""
    table = with_time_ratios(savings(memory), time)
    table = table.assign(peak_ratio=1 - table["saved_share"])
    parts = facets(table, ["depth", *SETTING], marks=["variant"])
    figure, axes = panels(len(parts), title="Memory against time", columns=3, height=2.1, sharex=True, sharey=True)
    looks = points(table["variant"])
    for ax, (title, rows) in zip(axes, parts, strict=True):
        front = rows[pareto_front(rows, ["time_ratio", "peak_ratio"])].sort_values("time_ratio")
        ax.step(front["time_ratio"], front["peak_ratio"], where="post", color=GREY, linewidth=1, zorder=1)
        for row in each_row(rows):
            ratio_point(ax, row, x=row["time_ratio"], y=row["peak_ratio"], along="x", **looks[row["variant"]])
        ax.set(title=title, xlabel="step time / store-all's", ylabel="peak / store-all's")
        ax.yaxis.set_major_formatter(PercentFormatter(1))
    axes[0].set(ylim=(0, 1.1 * table["peak_ratio"].max()))
    variant_legend(figure, table["variant"], extra=[Line2D([], [], color=GREY, linewidth=1, label="Pareto front")])
    return figure, (
        f"Peak: measured by memray. {ratios_explained(table, 'steps timed in the same round')} "
        f"{constants(table, SETTING)}"
    )


@drawn(comparable=has_store_all)
def training_time(training: pd.DataFrame) -> tuple[Figure, str]:
    """Epoch time over store-all's, a panel for each network, a line for each variant."""
    ratios = time_ratios(training, seconds="epoch_seconds", pair_on=["seed", "epoch"])
    ratios = name_variants(ratios).query("variant != 'store-all'")
    setting = ["batch", "dtype", "activation"]
    parts = facets(ratios, ["layers", *setting], marks=["variant"])
    lines = ratios["variant"].nunique()
    figure, axes = panels(
        len(parts),
        title="What checkpointing costs in training",
        columns=1,
        height=0.5 + 0.25 * lines,
        sharex=True,
    )
    for ax, (title, rows) in zip(axes, parts, strict=True):
        ax.axvline(1, color=INK, linewidth=0.8)
        for row in each_row(rows.sort_values("variant")):
            ratio_point(ax, row, x=row["time_ratio"], y=row["variant"], along="x")
        ax.set(title=title, xlabel="epoch time / store-all's", ylim=(lines - 0.5, -0.5))
    key_above(figure, ratio_keys(ratios))
    return figure, (
        f"{ratios_explained(ratios, 'the same epoch of the same seed')} {constants(ratios, ['layers', *setting])}"
    )
