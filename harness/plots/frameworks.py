"""Figures of several frameworks: memory against time, savings kept and promised, resident against requested."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from harness.analysis.frameworks import CASE, has_plain, resident_peaks, savings, step_times, with_names
from harness.analysis.rows import each_row
from harness.experiment.frameworks import FRAMEWORKS
from harness.experiment.tables import ALLOCATORS
from harness.plots.style import (
    GREY,
    INK,
    MIB,
    SPARE_COLOURS,
    SPARE_MARKERS,
    drawn,
    facets,
    key_above,
    log2,
    panels,
    with_defaults,
)

_HUES = sns.color_palette("colorblind")
COLOURS: dict[str, Any] = with_defaults(
    {"networks": INK, "torch": _HUES[1], "jax": _HUES[0], "sklearn": _HUES[2]}, FRAMEWORKS, SPARE_COLOURS
)
LABELS_AT = with_defaults(
    {"networks": (-10, 3), "train_step": (-10, -9), "torch": (5, 3), "jax": (5, -9)}, FRAMEWORKS, [(5, 3)]
)
NAMES = {"networks": "ours"}
_SHAPES = {
    "store-all": "o",
    "backprop": "o",
    "checkpoint": "s",
    "train_step": "*",
    "checkpoint_sequential": "D",
    "compile": "P",
    "compile_budget": "X",
    "scan": "^",
    "scan_checkpoint": "v",
}
SCHEDULE_SHAPE = "h"
_VARIANTS = [variant for framework in FRAMEWORKS.values() for variant in framework.variants]
SHAPES = with_defaults(_SHAPES, _VARIANTS, [marker for marker in SPARE_MARKERS if marker != SCHEDULE_SHAPE])
POWERS_OF_MIB = range(-4, 20)
ALLOCATOR_LOOKS: Mapping[str, Mapping[str, Any]] = {
    ALLOCATORS[0]: {"marker": "s", "color": _HUES[3]},
    ALLOCATORS[1]: {"marker": "^", "color": _HUES[0]},
}


@drawn()
def peers_tradeoff(memory: pd.DataFrame, time: pd.DataFrame) -> tuple[Figure, str]:
    """Peak memory against step time, a panel a case, a colour a framework."""
    table = with_names(memory).merge(step_times(time), on="cell_id")
    parts = facets(table, CASE, marks=["name"])
    figure, axes = panels(len(parts), title="Memory against time, by framework", columns=2, height=3.0)
    for ax, (title, rows) in zip(axes, parts, strict=True):
        for row in each_row(rows):
            place = (row["memray_peak_bytes"] / MIB, 1e3 * row["step_seconds"])
            shape = SHAPES.get(row["kind"], SCHEDULE_SHAPE)
            ax.plot(*place, shape, color=COLOURS[row["framework"]], markersize=6, alpha=0.85)
            if pd.notna(row["checkpoint_frequency"]):
                beside = LABELS_AT[row["kind"] if row["kind"] in LABELS_AT else row["framework"]]
                ax.annotate(row["checkpoint_frequency"], place, beside, textcoords="offset points", size=7, color=GREY)
        steps = (1, 1.5) if rows["memray_peak_bytes"].max() < 8 * rows["memray_peak_bytes"].min() else (1,)
        log2(ax, "x", ticks=[step * 2**power for power in POWERS_OF_MIB for step in steps])
        ax.margins(0.12)
        ax.set(title=title, xlabel="peak of one step (MiB)", ylabel="step (ms)")
    look: dict[str, Any] = {"linestyle": "", "markersize": 6}
    frameworks = [
        Line2D([], [], **look, marker="o", color=COLOURS[one], label=NAMES.get(one, one))
        for one in COLOURS
        if one in set(table["framework"])
    ]
    kinds = [
        Line2D([], [], **look, marker=shape, color=GREY, label=kind.replace("_", " "))
        for kind, shape in SHAPES.items()
        if kind in set(table["kind"]) - {"backprop"}
    ]
    figure.legend(handles=[*frameworks, *kinds], loc="outside right center")
    return figure, (
        f"Peak: requested bytes, by memray. Time: median of {time['repeats'].min()} to {time['repeats'].max()} "
        "repeats, one thread, a process a point; its axis does not begin at 0. "
        "Numbers: n, where one layer's output in n is saved."
    )


@drawn(comparable=has_plain)
def peers_saving(memory: pd.DataFrame) -> tuple[Figure, str]:
    """For each variant with a frequency: the part of the plain step's peak that it saves, and what segments promise."""
    table = savings(memory).dropna(subset="checkpoint_frequency")
    parts = facets(table, CASE, marks=["name"])
    figure, axes = _rows_of_points(parts, title="Saving promised and saving measured", sharex=True)
    for ax, (_, rows) in zip(axes, parts, strict=True):
        for place, row in enumerate(each_row(rows)):
            ax.plot([row["promised_share"], row["saved_share"]], [place, place], color=GREY, linewidth=1)
            ax.plot(row["promised_share"], place, "o", color=GREY, markerfacecolor="white")
            ax.plot(row["saved_share"], place, SHAPES.get(row["kind"], SCHEDULE_SHAPE), color=COLOURS[row["framework"]])
        ax.xaxis.set_major_formatter(PercentFormatter(1))
        ax.set_xlabel("part of the framework's own plain peak that is saved")
    promise = Line2D([], [], marker="o", linestyle="", color=GREY, markerfacecolor="white", label="promised")
    measured = Line2D([], [], marker="s", linestyle="", color=INK, label="measured")
    key_above(figure, [promise, measured])
    return figure, (
        "Promised: of H hidden outputs, segments of n hold ceil(H / n) + n + 1 at once where a plain step holds H + 1. "
        "Measured: memray's peak of one step, exact to the byte."
    )


@drawn()
def peers_resident(memory: pd.DataFrame, resident: pd.DataFrame) -> tuple[Figure, str]:
    """Requested and resident peaks of every framework's variants, under each allocator."""
    return _resident(resident_peaks(memory, resident), resident)


@drawn()
def resident_peak(memory: pd.DataFrame, resident: pd.DataFrame) -> tuple[Figure, str]:
    """Requested and resident peaks of every variant, under each allocator."""
    return _resident(resident_peaks(memory, resident), resident)


def _resident(table: pd.DataFrame, resident: pd.DataFrame) -> tuple[Figure, str]:
    parts = facets(table, CASE, marks=["name", "allocator"])
    figure, axes = _rows_of_points(parts, title="Requested is not resident")
    for ax, (_, rows) in zip(axes, parts, strict=True):
        for place, (_, cell) in enumerate(rows.groupby("name", sort=False)):
            ax.plot(cell["requested_bytes"].iloc[0] / MIB, place, "o", color=INK, markersize=7, markerfacecolor="white")
            for row in each_row(cell):
                look = ALLOCATOR_LOOKS[row["allocator"]]
                span = [row["resident_low_bytes"] / MIB, row["resident_high_bytes"] / MIB]
                ax.plot(span, [place, place], color=look["color"], linewidth=1)
                ax.plot(row["resident_bytes"] / MIB, place, linestyle="", markersize=4.5, **look)
        ax.set(xlabel="peak of one step (MiB)", xlim=(0, None))
    keys = [Line2D([], [], marker="o", linestyle="", color=INK, markerfacecolor="white", label="requested")]
    keys += [
        Line2D([], [], linestyle="", **look, label=f"resident, {name.replace('_', ' ')}")
        for name, look in ALLOCATOR_LOOKS.items()
    ]
    key_above(figure, keys)
    repeats = resident["repeat"].max() + 1
    return figure, (
        "Requested: by memray. Resident: how far the process's resident memory rose in the step, without memray; "
        f"median and range of {repeats} steps, to a few hundred KB. "
        "What is resident and not requested has been freed, and kept."
    )


def _rows_of_points(parts: list, *, title: str, **shared: Any) -> tuple[Figure, list]:
    """A panel a case, one beneath the other, with a line for each of its names."""
    names = [list(dict.fromkeys(rows["name"])) for _, rows in parts]
    figure, axes = panels(
        len(parts),
        title=title,
        columns=1,
        height=0.55 + 0.19 * sum(map(len, names)) / len(names),
        height_ratios=[len(lines) + 2 for lines in names],
        **shared,
    )
    for ax, (case, _), lines in zip(axes, parts, names, strict=True):
        ax.set(title=case, ylim=(len(lines) - 0.5, -0.5))
        ax.set_yticks(range(len(lines)), lines)
    return figure, axes
