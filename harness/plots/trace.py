"""The picture of a schedule: layer against time, the afters it holds as bars, live bytes beneath."""

from collections.abc import Iterator, Sequence

import numpy as np
import seaborn as sns
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from harness.analysis.trace import Sweep, sweeps
from harness.plots.style import (
    BLUE,
    GREY,
    INK,
    LEFT,
    MIB,
    ORANGE,
    PALE,
    WIDTH_INCHES,
    key_above,
    our_look,
    write_caption,
)
from networks.dry_run import Trace
from networks.layer_lists import format_layers

GREEN = sns.color_palette("colorblind")[2]
POINTS_PER_INCH = 72
HEIGHTS = 4.2, 1.7
"""Inches of the layers' panel and of the bytes'."""


def draw_trace(trace: Trace, name: str, store_all: Trace) -> Figure:
    """Draw one training step by the schedule `name`, beside the peak that the `store_all` step has."""
    done = list(sweeps(trace))
    depth, operations = trace.chain.depth, sum(len(sweep.layers) for sweep in done)
    layer_points = POINTS_PER_INCH * HEIGHTS[0] / (1.06 * depth)
    look = {
        "after held": {"color": GREEN, "linewidth": np.clip(0.5 * layer_points, 1.0, 4.5), "alpha": 0.6},
        "run forward": {"color": BLUE, "linewidth": 1.4},
        "backward": {"color": ORANGE, "linewidth": 1.4},
    }
    with our_look():
        figure = Figure(figsize=(WIDTH_INCHES, sum(HEIGHTS) + 0.9), layout="constrained")
        figure.suptitle(name, **LEFT)
        layers, live = figure.subplots(2, 1, sharex=True, height_ratios=HEIGHTS)

        layers.add_collection(LineCollection(list(_bars(done)), **look["after held"], capstyle="butt"))
        paths = list(_paths(done))
        waiting = np.concatenate([path for sweep, path in zip(done, paths, strict=True) if sweep.backward])
        layers.plot(*waiting.T, color=ORANGE, linewidth=0.7, alpha=0.6)
        for label, backward in (("run forward", False), ("backward", True)):
            these = [path for sweep, path in zip(done, paths, strict=True) if sweep.backward == backward]
            layers.add_collection(LineCollection(these, **look[label], capstyle="round"))
        layers.set(xlim=(0, operations), ylim=(-0.03 * depth, 1.03 * depth), ylabel="layer")
        layers.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=10))

        live_bytes = np.array([nbytes for sweep in done for nbytes in sweep.live_bytes])
        live.stairs(live_bytes / MIB, fill=True, color=PALE)
        live.stairs(live_bytes / MIB, color=INK, linewidth=0.9)
        live.axhline(store_all.peak_bytes / MIB, color=GREY, linestyle="--", linewidth=1)
        live.set(ylim=(0, None), ylabel="live (MiB)", xlabel="operation")
        live.xaxis.set_major_locator(MaxNLocator(integer=True))
        key_above(figure, [Line2D([], [], label=label, **style) for label, style in look.items()])
        write_caption(figure, _caption(trace, store_all))
        figure.draw_without_rendering()  # ticks are made at the first draw: let them have this look
    return figure


def _caption(trace: Trace, store_all: Trace) -> str:
    chain = trace.chain
    return (
        f"[{format_layers(chain.layers)}], batch {chain.batch}: {trace.forward_steps} forward steps (store-all "
        f"{store_all.forward_steps}), peak {trace.peak_bytes / MIB:.2f} MiB (store-all, dashed: "
        f"{store_all.peak_bytes / MIB:.2f} MiB). An operation is one layer run forward or stepped back. Thin: the "
        "delta waits while afters are computed again."
    )


def _paths(done: Sequence[Sweep]) -> Iterator[np.ndarray]:
    """Each sweep as the corners of its way through (time, layer)."""
    time = 0
    for sweep in done:
        times = np.arange(time, time + len(sweep.layers) + 1)
        before = sweep.layers[0] if sweep.backward else sweep.layers[0] - 1
        after = [layer - 1 for layer in sweep.layers] if sweep.backward else sweep.layers
        yield np.column_stack([times, [before, *after]])
        time += len(sweep.layers)


def _bars(done: Sequence[Sweep]) -> Iterator[list[tuple[int, int]]]:
    """Each held after as two points (time, layer): when it is kept, and when it is dropped or becomes its delta."""
    since: dict[int, int] = {}
    time = 0
    for sweep in done:
        kept = set(sweep.kept)
        for layer in sweep.dropped:
            yield [(since.pop(layer), layer), (time, layer)]
        for layer in sweep.layers:
            time += 1
            if sweep.backward and layer - 1 in since:
                yield [(since.pop(layer - 1), layer - 1), (time, layer - 1)]
            elif layer in kept:
                since[layer] = time
