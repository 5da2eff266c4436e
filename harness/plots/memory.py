"""Figures of memory.csv. Peaks are exact, so points have no intervals. Predictions are drawn beside them."""

from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import PercentFormatter

from harness.analysis.baseline import has_store_all
from harness.analysis.memory import RESIDUAL_BOUND_BYTES, dominant_kind, residual_bound, residuals, savings
from harness.experiment.frameworks import STORE_ALL
from harness.plots.looks import BLUE, GREEN, GREY, INK, PALE, RED, is_narrow, points, sizes
from harness.plots.recipes import drawn
from harness.plots.style import SETTING, constants, facets, log2, panels, variant_legend
from harness.sizes import KIB, MIB
from networks.planning.network_rows import REMEDIES, WORDS

EXACT = "Each cell is one measured step. Its peak is the same to the byte in every repeat."
SHARE_COLOURS = sns.color_palette("light:#0b5394", as_cmap=True)
PEAK_KINDS = list(REMEDIES)
"""The kinds of buffers that may fill most of a peak."""
PEAK_KIND_COLOURS = ListedColormap([BLUE, RED, GREEN, GREY])
"""Their colours, in the same order."""


@drawn()
def peak_by_depth(memory: pd.DataFrame) -> tuple[Figure, str]:
    """Peak against depth. Each variant has points that memray measured, and a line that the dry run predicts."""
    memory = memory.assign(measured=memory["memray_peak_bytes"] / MIB, predicted=memory["predicted_peak_bytes"] / MIB)
    parts = facets(memory, SETTING, marks=["depth", "variant"])
    figure, axes = panels(len(parts), title="Peak memory by depth", columns=2, height=4.0, sharey=True)
    variants = memory["variant"]
    looks, widths = points(variants), sizes(variants, others=1.2)
    for ax, (title, rows) in zip(axes, parts, strict=True):
        for name, cells in rows.groupby("variant", observed=True):
            look, cells = looks[str(name)], cells.sort_values("depth")
            ax.plot(cells["depth"], cells["predicted"], color=look["color"], linewidth=widths[str(name)], zorder=1)
            ax.plot(cells["depth"], cells["measured"], linestyle="", **look)
        log2(ax, "x", ticks=rows["depth"])
        log2(ax, "y")
        ax.set(title=title, xlabel="depth (layers)", ylabel="peak of one training step (MiB)")
    variant_legend(figure, variants, linewidth=1.2)
    return figure, (
        "Points: measured by memray. Lines: predicted by the dry run. n = 4 keeps every 4th layer output, n = 1 keeps "
        f"all. {EXACT} {constants(memory, SETTING)}"
    )


@drawn(comparable=has_store_all)
def saving_heatmap(memory: pd.DataFrame) -> tuple[Figure, str]:
    """The share of store-all's measured peak that each variant saves at each depth."""
    saved = savings(memory).query("variant != 'store-all'")
    parts = facets(saved, SETTING, marks=["depth", "variant"])
    height = 0.8 + 0.36 * saved["depth"].nunique()
    figure, axes = panels(len(parts), title="Peak memory saved, compared with store-all", columns=1, height=height)
    for ax, (title, rows) in zip(axes, parts, strict=True):
        grid = _grid(rows, "saved_share", index="depth", columns="variant").astype("float64")
        _share_heatmap(ax, grid)
        for row, best in enumerate(grid.fillna(-np.inf).to_numpy().argmax(axis=1)):
            ax.add_patch(Rectangle((best, row), 1, 1, fill=False, edgecolor=INK, linewidth=1.6, clip_on=False))
        ax.set(title=title, xlabel="n = 4 keeps every 4th layer output", ylabel="depth (layers)")
    _share_colorbar(figure, axes)
    return (
        figure,
        f"Measured by memray. Outlined: the best variant at each depth. {EXACT} {constants(saved, SETTING)}",
    )


@drawn(comparable=has_store_all)
def where_it_saves(memory: pd.DataFrame) -> tuple[Figure, str]:
    """Over batch and width: the most that can be saved, and what each variant saves. Below: what fills the peak."""
    memory = dominant_kind(savings(memory))
    setting = ["depth", "dtype", "activation", "seed"]
    parts = facets(memory, setting, marks=["batch", "width", "variant"])
    variants = memory["variant"].cat.categories
    figure, blocks = _blocks(len(parts), len(variants), height=1.1 + 0.24 * memory["batch"].nunique())
    for (title, rows), block in zip(parts, blocks, strict=True):
        for variant, (shares, kinds) in zip(variants, block, strict=True):
            cells = rows[rows["variant"] == variant]
            column, words = ("savable_share", "any schedule saves at most")
            if variant != STORE_ALL:
                column, words = ("saved_share", f"{variant} saves")
            _share_heatmap(shares, _grid(cells, column, index="batch", columns="width"))
            _kind_heatmap(kinds, cells)
            shares.set(title=f"{title}\n{words}".strip(), xlabel="width", ylabel="batch (rows)")
            kinds.set(title=f"{variant}:\nfills the peak", xlabel="width", ylabel="batch (rows)")
        if not is_narrow():  # the shares are also written as numbers
            _share_colorbar(figure, list(block[:, 0]))
    letters = ", ".join(f"{WORDS[kind][0].upper()} {WORDS[kind]}" for kind in PEAK_KINDS)
    return figure, (
        "Above: shares of store-all's measured peak. No schedule can save the weight gradients or "
        "the buffers of one backward step. All the rest is the most that a schedule can save. Below: the kind of "
        f"buffer that fills most of the peak ({letters}), and its share in percent. "
        f"{EXACT} {constants(memory, setting)}"
    )


@drawn()
def predicted_vs_measured(memory: pd.DataFrame) -> tuple[Figure, str]:
    """Every cell's measured peak against its prediction. Below: the difference, and its stated bound."""
    memory = residuals(memory).assign(
        predicted=memory["predicted_peak_bytes"] / MIB,
        measured=memory["memray_peak_bytes"] / MIB,
        residual=memory["residual_bytes"] / KIB,
    )
    figure, (peaks, rest) = panels(
        2, title="Measured peak against prediction", columns=1, height=2.4, sharex=True, height_ratios=[3, 2]
    )
    names = memory["variant" if memory["schedule"].isna().all() else "kind"]  # a legend cannot name many schedules
    looks = points(names)
    span = np.geomspace(memory["predicted"].min() / 1.2, memory["predicted"].max() * 1.2, 200)
    bound = residual_bound(span * MIB) / KIB
    worst = memory["residual"].abs().max()
    passes = [
        (memory[f"memray_{phase}_peak_bytes"] - memory[f"predicted_{phase}_peak_bytes"]).abs().max() / KIB
        for phase in ("forward", "backward")
    ]

    peaks.plot(span, span, color=GREY, linewidth=1)
    for name, cells in memory.groupby(names, observed=True):
        peaks.plot(cells["predicted"], cells["measured"], linestyle="", **looks[str(name)])
        rest.plot(cells["predicted"], cells["residual"], linestyle="", **looks[str(name)])
    log2(peaks, "y")
    peaks.set(ylabel="measured peak (MiB)")

    rest.fill_between(span, -bound, bound, color=PALE, alpha=0.4, linewidth=0)
    rest.axhline(0, color=GREY, linewidth=1)
    log2(rest, "x")
    reach = 2 * max(worst, RESIDUAL_BOUND_BYTES / KIB)
    rest.set(xlim=(span[0], span[-1]), ylim=(-reach, reach))
    rest.set(xlabel="predicted peak (MiB)", ylabel="measured - predicted (KiB)")

    equal = Line2D([], [], color=GREY, linewidth=1, label="equal")
    within = Patch(color=PALE, alpha=0.4, linewidth=0, label="bound")
    variant_legend(figure, names, extra=[equal, within])
    return figure, (
        f"{memory['within_bound'].sum()} of {len(memory)} cells lie within the bound: 0.5 % of the prediction, but no "
        f"less than 32 KiB. The largest difference is {worst:.1f} KiB. It is {passes[0]:.1f} KiB in the forward pass "
        f"alone and {passes[1]:.1f} KiB in the backward pass alone. {EXACT}"
    )


def _blocks(parts: int, variants: int, *, height: float) -> tuple[Figure, np.ndarray]:
    """The figure, and for each part and variant its panel of shares and its panel of kinds."""
    narrow = is_narrow()
    figure, axes = panels(
        2 * parts * variants,
        title="Where checkpointing saves memory, and why not elsewhere",
        columns=2 if narrow else variants,
        height=height,
        fixed=True,
        sharex=True,
        sharey=True,
    )
    placed = np.array(axes)
    return figure, placed.reshape(parts, variants, 2) if narrow else placed.reshape(parts, 2, variants).swapaxes(1, 2)


def _grid(table: pd.DataFrame, values: str, *, index: str, columns: str) -> pd.DataFrame:
    """One column of the table as a matrix. Small values of `index` are at the bottom, of `columns` at the left."""
    grid = table.pivot(index=index, columns=columns, values=values)
    return grid.sort_index(ascending=False).sort_index(axis="columns")


def _share_heatmap(ax: Axes, grid: pd.DataFrame) -> None:
    shares = grid.astype("float64")
    words = shares.round(2) + 0  # turns -0 % into 0 %
    _heatmap(ax, shares, vmax=1, cmap=SHARE_COLOURS, annot=words, fmt=".0%")


def _kind_heatmap(ax: Axes, cells: pd.DataFrame) -> None:
    """The dominant kind as a colour and a letter, with its share in percent."""
    cells = cells.assign(
        code=cells["dominant_kind"].map(PEAK_KINDS.index),
        words=cells["dominant_kind"].map(WORDS).str[0].str.upper()
        + cells["dominant_share"].map(lambda share: f"{100 * share:3.0f}"),
    )
    codes, words = (_grid(cells, column, index="batch", columns="width") for column in ("code", "words"))
    _heatmap(ax, codes, vmax=len(PEAK_KINDS) - 1, cmap=PEAK_KIND_COLOURS, annot=words, fmt="")


def _heatmap(ax: Axes, grid: pd.DataFrame, **look: Any) -> None:
    sns.heatmap(grid, ax=ax, vmin=0, cbar=False, linewidths=0.5, annot_kws={"size": "small"}, **look)
    ax.tick_params(rotation=0)


def _share_colorbar(figure: Figure, axes: list[Axes]) -> None:
    bar = figure.colorbar(
        axes[0].collections[0], ax=axes, pad=0.02, ticks=np.linspace(0, 1, 6), format=PercentFormatter(1)
    )
    bar.outline.set_visible(False)
