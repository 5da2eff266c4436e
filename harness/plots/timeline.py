"""The figure of timeline.csv: live bytes at every event of one training step."""

from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from harness.plots.looks import INK, ORANGE, PALE
from harness.plots.recipes import drawn
from harness.plots.style import constants, facets, key_above, panels
from harness.sizes import KIB, MIB

SETTING = ["layers", "batch", "dtype", "activation", "seed"]


@drawn()
def timeline(timeline: pd.DataFrame) -> tuple[Figure, str]:
    """Live bytes over one step, a panel for each variant: the tracker's line on top of memray's."""
    timeline = timeline.assign(tracker=timeline["live_bytes"] / MIB, memray=timeline["memray_live_bytes"] / MIB)
    parts = facets(timeline, ["variant", *SETTING], marks=["event"])
    figure, axes = panels(
        len(parts),
        title="Live memory over one training step",
        columns=2,
        height=1.9,
        sharex=True,
        sharey=True,
    )
    memray: dict[str, Any] = {"color": ORANGE, "linewidth": 4.5}
    tracker: dict[str, Any] = {"color": INK, "linewidth": 0.9}
    backward: dict[str, Any] = {"color": PALE, "alpha": 0.35, "linewidth": 0}
    for ax, (title, rows) in zip(axes, parts, strict=True):
        ax.plot(rows["event"], rows["memray"], drawstyle="steps-post", **memray)
        ax.plot(rows["event"], rows["tracker"], drawstyle="steps-post", **tracker)
        passes = (rows["phase"] != rows["phase"].shift()).cumsum()
        for _, events in rows.loc[rows["phase"] == "backward", "event"].groupby(passes):
            ax.axvspan(events.min(), events.max(), **backward)
        ax.grid(visible=False, axis="x")
        peak = f"peak {rows['memray'].max():.1f} MiB"
        ax.set(title=f"{title}: {peak}" if title else peak, xlabel="event of the step", ylabel="live (MiB)")
    axes[0].set(ylim=(0, None))
    key_above(
        figure,
        [
            Line2D([], [], label="memray", **memray),
            Line2D([], [], label="tracker", **tracker),
            Patch(label="backward pass", **backward),
        ],
    )
    apart = (timeline["memray_live_bytes"] - timeline["live_bytes"]).abs().max() / KIB
    return figure, (
        "At an event a layer is computed, or a buffer is kept, used again or freed. Recomputation makes the backward "
        f"pass longer. The two lines are at most {apart:.1f} KiB apart. Each variant is one step, the same to the byte "
        f"in every repeat. {constants(timeline, SETTING)}"
    )
