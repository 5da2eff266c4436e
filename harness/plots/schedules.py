"""Figures that compare schedules: peak against work and time, the best within a budget, and growth with depth."""

import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import PercentFormatter

from harness.analysis.baseline import COMPARED, has_store_all, pareto_front
from harness.analysis.chains import name_chains
from harness.analysis.each_row import each_row
from harness.analysis.memory import savings, work_ratios
from harness.analysis.schedules import GROWTH_DEPTHS, WITHIN_BUDGET, optimal_curve, within_budgets
from harness.analysis.schedules import growth as grow
from harness.analysis.schedules import winners as find_winners
from harness.analysis.time import with_time_ratios
from harness.experiment.frameworks import STORE_ALL
from harness.plots.looks import GREY, INK, is_narrow, points, sizes
from harness.plots.ratios import ratio_point, ratios_explained
from harness.plots.recipes import drawn
from harness.plots.style import constants, facets, log2, panels, variant_legend
from harness.sizes import MIB

SETTING = ["batch", "dtype", "activation", "seed"]
OPTIMAL_LINE: dict[str, Any] = {"color": INK, "linewidth": 0.9, "zorder": 1}
FRONT: dict[str, Any] = {"color": GREY, "linewidth": 1, "zorder": 1}
BEATEN: dict[str, Any] = {"markersize": 3.5, "markeredgewidth": 0}
"""The look of a point that another point beats."""
TITLE_CHARACTERS = 56
WORK_TICKS = [ratio * 2**octave for octave in range(8) for ratio in (1, 1.5)]
TIME_TICKS = [1.25, *WORK_TICKS]
PEAK_TICKS = [1, 0.7, 0.5, 0.35, 0.25, 0.18, 0.13, 0.09, 0.06, 0.04, 0.03, 0.02, 0.015, 0.01]
GROWING_QUANTITIES = {  # the columns of its lines and of its points
    "layer outputs held at once": ("peak_cached_layers", "peak_cached_layers"),
    "peak of one step (MiB)": ("predicted", "measured"),
    "forward work / store-all's": ("forward_work_ratio", "forward_work_ratio"),
}
ORDERS = {STORE_ALL: "O(L)", "sqrt": "O(√L)", "revolve": "O(log L)"}
LINE_INCHES = 0.2
BUDGET_COLUMNS = 2
"""Columns before those of the kinds."""
BEST = "#0b5394"
WORSE = sns.color_palette("light:#a9c9e8_r", as_cmap=True)
IN_THE_MIDDLE: dict[str, Any] = {"ha": "center", "va": "center", "size": "small"}


@drawn(comparable=has_store_all)
def pareto_work(memory: pd.DataFrame, time: pd.DataFrame | None) -> tuple[Figure, str]:
    """Peak against forward work, both over store-all's, a panel for each network: every cell, and the optimal curve.

    A batch in parts recomputes nothing, so it has no extra work. Its cells have a panel of their own, against time.
    """
    table = _peak_ratios(work_ratios(memory))
    in_parts, table = _apart(table[table["micro_batch"].notna()], time), table[table["micro_batch"].isna()]
    table = table.assign(kind=table["kind"].cat.remove_unused_categories())
    table = _with_fronts(table, ["forward_work_ratio", "peak_ratio"])
    figure, panels_of, beside = _panels(
        table,
        title="Peak memory against forward work",
        xlabel="forward work / store-all's",
        more=int(not in_parts.empty),
    )
    most = 1.1 * table["forward_work_ratio"].max()
    for ax, rows in panels_of:
        _optimal_curve(ax, rows, "forward_work_ratio")
        for row in each_row(rows):
            ax.plot(row["forward_work_ratio"], row["peak_ratio"], **_look(rows["kind"], row))
        log2(ax, "x", ticks=WORK_TICKS)
        ax.set(xlim=(1 / 1.05, most))
    for ax in beside:
        _draw_parts(ax, in_parts)
    curve = Line2D([], [], **OPTIMAL_LINE, label="optimal by dry run")
    variant_legend(figure, table["kind"], extra=[curve])
    return figure, (
        "Points: peaks measured by memray. Small: another point of the same step is better in both. Work: "
        "multiply-adds of all layers run forward, recomputed ones included. Line: the work of optimal "
        "with the bytes of each point. "
        f"{_parts_told(memory, in_parts)}{constants(table, ['layers', *SETTING])}"
    )


def _apart(in_parts: pd.DataFrame, time: pd.DataFrame | None) -> pd.DataFrame:
    """The timed cells with the batch in parts, with the name of their chain."""
    if time is None or in_parts.empty:
        return in_parts.iloc[:0]
    timed = with_time_ratios(in_parts, time)
    names = name_chains(timed)
    chains = pd.Categorical(timed["layers"].map(names), categories=list(dict.fromkeys(names.values())))
    return timed.assign(chain=chains)


def _draw_parts(ax: Axes, in_parts: pd.DataFrame) -> None:
    looks = points(in_parts["chain"])
    for chain, rows in in_parts.groupby("chain", observed=True):
        rows = rows.sort_values("time_ratio")
        ax.plot(rows["time_ratio"], rows["peak_ratio"], **looks[str(chain)], linewidth=0.8, label=chain)
    log2(ax, "x", ticks=TIME_TICKS)
    ax.set(title="micro-batch: time, not work", xlabel="step time / store-all's")
    ax.legend(loc="upper right")


def _parts_told(memory: pd.DataFrame, in_parts: pd.DataFrame) -> str:
    """A sentence about cells with the batch in parts. Empty if there are none."""
    if memory["micro_batch"].isna().all():
        return ""
    if in_parts.empty:
        return "Not shown: micro-batch. It recomputes nothing. It costs time, which was not measured. "
    least = min(each_row(in_parts), key=lambda row: row["peak_ratio"])
    return (
        f"Micro-batch recomputes nothing, but costs time: {least['time_ratio']:.1f} times store-all's at "
        f"{least['peak_ratio']:.0%} of its peak. "
    )


@drawn(comparable=has_store_all)
def pareto_time(memory: pd.DataFrame, time: pd.DataFrame) -> tuple[Figure, str]:
    """Peak against step time, both over store-all's, a panel for each network, and the time of the work alone."""
    table = _with_fronts(_peak_ratios(with_time_ratios(work_ratios(memory), time)), ["time_ratio", "peak_ratio"])
    figure, panels_of, _ = _panels(table, title="Peak memory against step time", xlabel="step time / store-all's")
    reach = table["time_ratio"].min() / 1.05, 1.1 * table["time_ratio"].max()
    for ax, rows in panels_of:
        front = rows[rows["on_front"] & (rows["step"] == "backward")].sort_values("time_ratio")
        ax.step(front["time_ratio"], front["peak_ratio"], where="post", **FRONT)
        _optimal_curve(ax, rows, "work_ratio", linestyle="--")
        for row in each_row(rows):
            look = {"elinewidth": 0.8, "capsize": 0} | _look(rows["kind"], row)
            ratio_point(ax, row, x=row["time_ratio"], y=row["peak_ratio"], along="x", **look)
        log2(ax, "x", ticks=TIME_TICKS)
        ax.set(xlim=reach)
    lines = [
        Line2D([], [], **FRONT, label="Pareto front of schedules"),
        Line2D([], [], **OPTIMAL_LINE, linestyle="--", label="optimal's work"),
    ]
    variant_legend(figure, table["kind"], extra=lines)
    return figure, (
        "Peak: measured by memray. Small: another point of the same step is better in both. The time of train_step "
        "includes the update, the time of backward does not. Dashed: the time of the optimal schedule if a step were "
        "only its matrix products. "
        f"{ratios_explained(table, 'steps timed in the same round')} {constants(table, ['layers', *SETTING])}"
    )


@drawn()
def winners(memory: pd.DataFrame, time: pd.DataFrame) -> tuple[Figure, str]:
    """The forward work of the best schedule of each kind within each budget, a table for each network."""
    won = find_winners(memory, time)[[*WITHIN_BUDGET, "time_ratio", "ratio_low", "ratio_high"]]
    table = within_budgets(memory).merge(won, on=WITHIN_BUDGET)
    parts = facets(table, ["layers", *SETTING], marks=["budget_bytes", "kind"])
    lines = [rows["budget_bytes"].nunique() for _, rows in parts]
    figure, axes = panels(len(parts), title="Who wins within a budget", columns=1, height=1, height_ratios=lines)
    figure.set_figheight(1.5 + sum(0.5 + LINE_INCHES * count for count in lines))
    for ax, (title, rows) in zip(axes, parts, strict=True):
        _work_table(ax, rows)
        ax.set(title=title)
    axes[0].tick_params(labeltop=True)
    interval = "median" if is_narrow() else "median and 95 % interval"
    return figure, (
        "Forward work over store-all's, of the best schedule of each kind whose predicted peak is within the budget. "
        "Candidates are the measured cells. Those that take a budget are also tried at each budget, by a dry run. "
        "Budgets are in MiB, and in percent of store-all's peak. Dark: the least work. Paler: up to twice as much. "
        f"Right: the winner's step time over store-all's if it was measured, {interval}. "
        f"{constants(table, ['layers', *SETTING])}"
    )


def _work_table(ax: Axes, rows: pd.DataFrame) -> None:
    """A line for each budget, from low to high: the budget, a column for each kind, and the winner's time."""
    kinds = list(rows["kind"].cat.categories)
    budgets = [(cells["budget_bytes"].iloc[0], cells) for _, cells in rows.groupby("budget_bytes")]
    last = BUDGET_COLUMNS + len(kinds) + 1
    for line, (budget, cells) in enumerate(budgets):
        least = cells["forward_flops"].min()
        first = each_row(cells)[0]
        words: dict[str, Any] = {**IN_THE_MIDDLE, "color": INK}
        ax.text(0.5, line + 0.5, f"{budget / MIB:.2f}", **words)
        ax.text(1.4, line + 0.5, f"{first['budget_ratio']:.0%}", **words)
        for cell in each_row(cells):
            won, column = cell["forward_flops"] == least, BUDGET_COLUMNS + kinds.index(cell["kind"])
            color = BEST if won else WORSE(min(1.0, cell["forward_flops"] / least - 1))
            ax.add_patch(Rectangle((column, line), 1, 1, facecolor=color, edgecolor="white"))
            own = words | ({"color": "white", "weight": "bold"} if won else {})
            ax.text(column + 0.5, line + 0.5, f"{cell['forward_work_ratio']:.2f}", **own)
        if pd.notna(first["time_ratio"]):
            interval = "" if is_narrow() else f"  ({first['ratio_low']:.2f} to {first['ratio_high']:.2f})"
            ax.text(last, line + 0.5, f"{first['time_ratio']:.2f}{interval}", **words)
    ax.set(xlim=(0, last + 1), ylim=(len(budgets), 0))
    ax.set_yticks([])
    headings = ["budget\n(MiB)", "of the\npeak", *(kind.replace(" ", "\n") for kind in kinds), "winner's\ntime"]
    places = [0.5, 1.4, *(BUDGET_COLUMNS + np.arange(len(kinds)) + 0.5), last]
    ax.set_xticks(places, headings, rotation=90 * is_narrow())
    ax.tick_params(labelbottom=False)
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)


@drawn()
def growth(memory: pd.DataFrame) -> tuple[Figure, str]:
    """Outputs held, peak and forward work against depth. Lines are dry runs, points are measured cells of that step."""
    table = grow(memory)
    table = table.assign(predicted=table["predicted_peak_bytes"] / MIB, measured=table["memray_peak_bytes"] / MIB)
    kinds = table["kind"]
    looks, widths = points(kinds), sizes(kinds, others=1)
    figure, axes = panels(3, title="Growth with depth", columns=2, height=2.9, sharex=True)
    for ax, (quantity, (line, at)) in zip(axes, GROWING_QUANTITIES.items(), strict=True):
        for kind, rows in table.groupby("kind", observed=True):
            done = rows.dropna(subset="measured")
            ax.plot(rows["depth"], rows[line], color=looks[str(kind)]["color"], linewidth=widths[str(kind)], zorder=1)
            ax.plot(done["depth"], done[at], linestyle="", **looks[str(kind)])
        ax.set(title=quantity, xlabel="depth (layers)")
    afters, peaks, work = axes
    for kind, order in ORDERS.items():
        depth, held = table.loc[kinds == kind, ["depth", "peak_cached_layers"]].iloc[-1]
        afters.text(depth, 1.15 * held, order, color=looks[kind]["color"], ha="right", va="bottom")
    floor: dict[str, Any] = {**FRONT, "linestyle": ":", "label": "smallest possible peak"}
    peaks.plot(table["depth"].unique(), table.drop_duplicates("depth")["floor_bytes"] / MIB, **floor)
    log2(afters, "y")
    log2(peaks, "y")
    log2(work, "x", ticks=GROWTH_DEPTHS)
    afters.set(ylim=(None, 3 * table["peak_cached_layers"].max()))
    variant_legend(figure, kinds, linewidth=1, extra=[Line2D([], [], **floor)])
    return figure, (
        "Lines: dry runs. Points: measured cells of the same step, with the tracker's outputs, memray's peak and the "
        "work. revolve has log2 L slots, rounded up. optimal has the bytes that revolve takes. Dotted: weight "
        "gradients and the buffers of one backward step. No schedule has a smaller peak. "
        f"{constants(table, ['width', 'batch', 'dtype'])}"
        f"{_without_a_point(table)}"
    )


def _without_a_point(table: pd.DataFrame) -> str:
    """The caption's last sentence: the kinds without a point at depths of the experiment."""
    depths = table.loc[table["kind"] == "optimal", "depth"]
    alone = table[table["depth"].isin(depths) & table["measured"].isna()]
    names = [
        f"{kind} at {', '.join(map(str, rows['depth']))} layers" for kind, rows in alone.groupby("kind", observed=True)
    ]
    return f" No point, because no cell has that step: {'; '.join(names)}." if names else ""


def _peak_ratios(table: pd.DataFrame) -> pd.DataFrame:
    table = savings(table)
    return table.assign(peak_ratio=(1 - table["saved_share"]).astype("float64"))


def _with_fronts(table: pd.DataFrame, costs: list[str]) -> pd.DataFrame:
    """Add `on_front`: whether no other cell of the same network and step beats it."""
    fronts = [pareto_front(rows, costs) for _, rows in table.groupby([*COMPARED, "step"])]
    return table.assign(on_front=pd.concat(fronts))


def _panels(
    table: pd.DataFrame, *, title: str, xlabel: str, more: int = 0
) -> tuple[Figure, list[tuple[Axes, pd.DataFrame]], list[Axes]]:
    """The figure, a panel for each network with its rows, and `more` panels for other things."""
    parts = facets(table, ["layers", *SETTING], marks=["variant"])
    figure, axes = panels(len(parts) + more, title=title, columns=2, height=3.1, sharey=True)
    for ax in axes:
        ax.set(ylabel="peak / store-all's")
        log2(ax, "y", ticks=PEAK_TICKS)
        ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    for ax, (name, rows) in zip(axes, parts, strict=False):
        whole = f"store-all {rows['store_all_peak_bytes'].iloc[0] / MIB:.1f} MiB"
        ax.set(title=textwrap.fill(f"{name}: {whole}" if name else whole, TITLE_CHARACTERS), xlabel=xlabel)
    axes[0].set(ylim=(0.85 * table["peak_ratio"].min(), 1.15 * table["peak_ratio"].max()))
    drawn = [(ax, rows) for ax, (_, rows) in zip(axes, parts, strict=False)]
    return figure, drawn, axes[len(parts) :]


def _optimal_curve(ax: Axes, rows: pd.DataFrame, work: str, **look: Any) -> None:
    curve = optimal_curve(rows).sort_values(work)
    ax.step(curve[work], curve["peak_ratio"], where="post", **OPTIMAL_LINE, **look)


def _look(kinds: pd.Series, row: Mapping[str, Any]) -> dict[str, Any]:
    """The look of a cell. A cell that another one beats is small."""
    return points(kinds)[row["kind"]] | ({} if row["on_front"] else BEATEN)
