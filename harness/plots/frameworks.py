"""Figures of several frameworks: memory against time, promised against measured savings, resident against requested."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from harness.analysis.each_row import each_row
from harness.analysis.frameworks import (
    WORKLOAD,
    has_plain,
    peers_savings,
    resident_peaks,
    step_times,
    with_names,
)
from harness.experiment.frameworks import FRAMEWORKS, OWN, STORE_ALL
from harness.experiment.tables import ALLOCATORS
from harness.plots.labels import Label, place_labels
from harness.plots.looks import BLUE, GREEN, GREY, INK, ORANGE, RED, SPARE_COLOURS, SPARE_MARKERS, with_defaults
from harness.plots.recipes import drawn
from harness.plots.style import constants, facets, key_above, key_beside, log2, panels
from harness.sizes import MIB

COLOURS: dict[str, Any] = with_defaults(
    {OWN: INK, "torch": ORANGE, "jax": BLUE, "sklearn": GREEN}, FRAMEWORKS, SPARE_COLOURS
)
NAMES = {OWN: "ours"}
_SHAPES = {
    STORE_ALL: "o",
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
RESIDENT_TITLE = "Requested is not resident"
ALLOCATOR_LOOKS: Mapping[str, Mapping[str, Any]] = {
    ALLOCATORS[0]: {"marker": "s", "color": RED},
    ALLOCATORS[1]: {"marker": "^", "color": BLUE},
}


@drawn()
def peers_tradeoff(memory: pd.DataFrame, time: pd.DataFrame) -> tuple[Figure, str]:
    """Peak memory against step time: a panel for each case, a colour for each framework."""
    table = with_names(memory).merge(step_times(time), on="cell_id")
    parts = facets(table, WORKLOAD, marks=["name"])
    figure, axes = panels(len(parts), title="Memory against time, by framework", columns=2, height=3.0)
    labels: dict[Axes, list[Label]] = {}
    for ax, (title, rows) in zip(axes, parts, strict=True):
        ax.set(title=title, xlabel="peak of one step (MiB)", ylabel="step (ms)")
        log2(ax, "x")
        ax.margins(0.12)
        labels[ax] = [_tradeoff_point(ax, row) for row in each_row(rows)]
    key_beside(figure, [*_framework_keys(table), *_kind_keys(table)])
    place_labels(figure, labels)
    return figure, (
        f"Peak: requested bytes, measured by memray. Time: median of {time['repeats'].min()} to "
        f"{time['repeats'].max()} repeats. Each point has its own process, with one thread. The time axis does not "
        f"begin at 0. Numbers: n, where the step keeps every n-th layer output. {constants(table, WORKLOAD)}"
    )


def _tradeoff_point(ax: Axes, row: Mapping[str, Any]) -> Label:
    """Draw a row's point, and return its label: its frequency, if it has one."""
    x, y, color = row["memray_peak_bytes"] / MIB, 1e3 * row["step_seconds"], COLOURS[row["framework"]]
    ax.plot(
        x,
        y,
        SHAPES.get(row["kind"], SCHEDULE_SHAPE),
        color=color,
        markersize=6,
        markeredgecolor="white",
        markeredgewidth=0.4,
    )
    frequency = row["checkpoint_frequency"]
    return Label((x, y), "" if pd.isna(frequency) else f"{frequency}", color)


def _framework_keys(table: pd.DataFrame) -> list[Line2D]:
    look: dict[str, Any] = {"linestyle": "", "marker": "o", "markersize": 6}
    there = [one for one in COLOURS if one in set(table["framework"])]
    return [Line2D([], [], **look, color=COLOURS[one], label=NAMES.get(one, one)) for one in there]


def _kind_keys(table: pd.DataFrame) -> list[Line2D]:
    look: dict[str, Any] = {"linestyle": "", "markersize": 6, "color": GREY}
    there = [kind for kind in SHAPES if kind in set(table["kind"]) - {"backprop"}]
    return [Line2D([], [], **look, marker=SHAPES[kind], label=kind.replace("_", " ")) for kind in there]


@drawn(comparable=has_plain)
def peers_saving(memory: pd.DataFrame) -> tuple[Figure, str]:
    """For each variant with a frequency: the share of the plain step's peak that it saves, and the promised share."""
    table = peers_savings(memory).dropna(subset="checkpoint_frequency")
    parts = facets(table, WORKLOAD, marks=["name"])
    figure, axes = _rows_of_points(parts, title="Saving promised and saving measured", sharex=True)
    promised: dict[str, Any] = {"marker": "o", "color": GREY, "markersize": 7, "markerfacecolor": "white"}
    measured: dict[str, Any] = {"marker": "s", "markersize": 4.5}
    for ax, (_, rows) in zip(axes, parts, strict=True):
        for place, row in enumerate(each_row(rows)):
            ax.plot([row["promised_share"], row["saved_share"]], [place, place], color=GREY, linewidth=1)
            ax.plot(row["promised_share"], place, **promised)
            ax.plot(row["saved_share"], place, **measured, color=COLOURS[row["framework"]])
        ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        ax.set_xlabel("saved share of its own plain peak")
    keys = [Line2D([], [], **promised, linestyle="", label="promised")]
    for one in _framework_keys(table):
        keys.append(
            Line2D([], [], **measured, linestyle="", color=one.get_color(), label=f"measured, {one.get_label()}")
        )
    key_above(figure, keys)
    return figure, (
        "Promised: a plain step holds H + 1 outputs of H hidden layers at once, and segments of n hold "
        f"ceil(H / n) + n + 1. Measured: memray's peak of one step, exact to the byte. {constants(table, WORKLOAD)}"
    )


@drawn()
def resident_peak(memory: pd.DataFrame, resident: pd.DataFrame) -> tuple[Figure, str]:
    """Resident over requested peak against the requested peak, for every variant and each allocator."""
    table = resident_peaks(memory, resident)
    parts = facets(table, WORKLOAD, marks=["name", "allocator"])
    figure, axes = panels(len(parts), title=RESIDENT_TITLE, columns=2, height=2.3, sharey=True)
    for ax, (title, rows) in zip(axes, parts, strict=True):
        ax.axhline(1, color=INK, linewidth=0.8)
        for allocator, look in ALLOCATOR_LOOKS.items():
            cells = rows[rows["allocator"] == allocator].astype({"requested_bytes": "float64"})
            low, middle, high = (
                (cells[f"resident{at}_bytes"] / cells["requested_bytes"]).to_numpy("float64")
                for at in ("_low", "", "_high")
            )
            spread = [middle - low, high - middle]
            requested = cells["requested_bytes"] / MIB
            ax.errorbar(requested, middle, yerr=spread, linestyle="", markersize=4, elinewidth=0.8, **look)
        log2(ax, "x")
        ax.set(title=title, xlabel="requested peak of one step (MiB)", ylabel="resident / requested")
    key_above(figure, [Line2D([], [], linestyle="", **look, label=name) for name, look in _allocator_keys()])
    return figure, f"One point for each variant. {_resident_told(resident)} {constants(table, WORKLOAD)}"


@drawn()
def peers_resident(memory: pd.DataFrame, resident: pd.DataFrame) -> tuple[Figure, str]:
    """Requested and resident peaks of every framework's variants, with each allocator."""
    table = resident_peaks(memory, resident)
    parts = facets(table, WORKLOAD, marks=["name", "allocator"])
    figure, axes = _rows_of_points(parts, title=RESIDENT_TITLE)
    requested: dict[str, Any] = {"marker": "o", "color": INK, "markersize": 7, "markerfacecolor": "white"}
    for ax, (_, rows) in zip(axes, parts, strict=True):
        for place, (_, cell) in enumerate(rows.groupby("name", sort=False)):
            ax.plot(cell["requested_bytes"].iloc[0] / MIB, place, **requested)
            for row in each_row(cell):
                look = ALLOCATOR_LOOKS[row["allocator"]]
                span = [row["resident_low_bytes"] / MIB, row["resident_high_bytes"] / MIB]
                ax.plot(span, [place, place], color=look["color"], linewidth=1)
                ax.plot(row["resident_bytes"] / MIB, place, linestyle="", markersize=4.5, **look)
        ax.set(xlabel="peak of one step (MiB)", xlim=(0, None))
    keys = [Line2D([], [], **requested, linestyle="", label="requested")]
    keys += [Line2D([], [], linestyle="", **look, label=name) for name, look in _allocator_keys()]
    key_above(figure, keys)
    return figure, f"{_resident_told(resident)} {constants(table, WORKLOAD)}"


def _allocator_keys() -> list[tuple[str, Mapping[str, Any]]]:
    return [(f"resident, {name.replace('_', ' ')}", look) for name, look in ALLOCATOR_LOOKS.items()]


def _resident_told(resident: pd.DataFrame) -> str:
    return (
        "Requested: measured by memray. Resident: how far the process's resident memory rises in the step, without "
        f"memray. Median and range of {resident['repeat'].max() + 1} steps, with noise of a few hundred KiB. Resident "
        "beyond requested: memory that the step freed and the allocator did not return."
    )


def _rows_of_points(parts: list, *, title: str, **shared: Any) -> tuple[Figure, list]:
    """A panel for each case, one below the other, with a line for each name."""
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
