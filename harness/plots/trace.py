"""The picture of a schedule: layer or block against time, bars for what it holds, and live bytes below."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from harness.analysis.trace import StepTold, Sweep
from harness.plots.looks import BLUE, GREEN, GREY, INK, ORANGE, PALE, PURPLE, WIDTH_INCHES, our_look
from harness.plots.style import LEFT, POINTS_PER_INCH, key_above, write_caption
from harness.sizes import MIB

HEIGHTS = 4.2, 1.7
"""Heights of the layers' panel and of the bytes' panel in inches."""

Bar = tuple[tuple[int, float], tuple[int, float]]
"""Two points (time, layer)."""


def draw_trace(step: StepTold, reference: StepTold) -> Figure:
    """Draw one training step beside the peak of `reference`, the step that keeps everything."""
    depth, operations = step.depth, sum(len(sweep.layers) for sweep in step.sweeps)
    layer_points = POINTS_PER_INCH * HEIGHTS[0] / (1.06 * depth)
    bar = {"linewidth": np.clip(0.5 * layer_points, 1.0, 4.5)}
    bars, tapes = list(_bars(step.sweeps)), list(_tape_bars(step.sweeps))
    look = {
        "output held": {"color": GREEN, **bar},
        **({"tape held": {"color": PURPLE, **bar}} if tapes else {}),
        "run forward": {"color": BLUE, "linewidth": 1.4},
        "backward": {"color": ORANGE, "linewidth": 1.4},
    }
    with our_look():
        figure = Figure(figsize=(WIDTH_INCHES, sum(HEIGHTS) + 0.9), layout="constrained")
        figure.suptitle(step.name, **LEFT)
        layers, live = figure.subplots(2, 1, sharex=True, height_ratios=HEIGHTS)

        layers.add_collection(LineCollection(bars, **look["output held"], capstyle="butt"))
        if tapes:
            layers.add_collection(LineCollection(tapes, **look["tape held"], capstyle="butt"))
        paths = list(_paths(step.sweeps))
        waiting = np.concatenate([path for sweep, path in zip(step.sweeps, paths, strict=True) if sweep.backward])
        layers.plot(*waiting.T, color=ORANGE, linewidth=0.7, alpha=0.6)
        for label, backward in (("run forward", False), ("backward", True)):
            these = [path for sweep, path in zip(step.sweeps, paths, strict=True) if sweep.backward == backward]
            layers.add_collection(LineCollection(these, **look[label], capstyle="round"))
        layers.set(xlim=(0, operations), ylim=(-0.03 * depth, 1.03 * depth), ylabel=step.part)
        layers.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=10))

        live_bytes = np.array([nbytes for sweep in step.sweeps for nbytes in sweep.live_bytes])
        live.stairs(live_bytes / MIB, fill=True, color=PALE)
        live.stairs(live_bytes / MIB, color=INK, linewidth=0.9)
        live.axhline(reference.peak_bytes / MIB, color=GREY, linestyle="--", linewidth=1)
        live.set(ylim=(0, None), ylabel="live (MiB)", xlabel="operation")
        live.xaxis.set_major_locator(MaxNLocator(integer=True))
        key_above(figure, [Line2D([], [], label=label, **style) for label, style in look.items()])
        write_caption(figure, _caption(step, reference))
        figure.draw_without_rendering()  # ticks are made at the first draw: let them have this look
    return figure


def _caption(step: StepTold, reference: StepTold) -> str:
    return (
        f"{step.of}: {step.forward_steps} forward steps ({step.reference} {reference.forward_steps}), peak "
        f"{step.peak_bytes / MIB:.2f} MiB ({step.reference}, dashed: {reference.peak_bytes / MIB:.2f} MiB). An "
        f"operation runs one {step.part} forward or backward. Thin: the gradient waits while outputs are recomputed."
    )


def _paths(done: Sequence[Sweep]) -> Iterator[np.ndarray]:
    """Each sweep as the corners of its path through (time, layer)."""
    time = 0
    for sweep in done:
        times = np.arange(time, time + len(sweep.layers) + 1)
        before = sweep.layers[0] if sweep.backward else sweep.layers[0] - 1
        after = [layer - 1 for layer in sweep.layers] if sweep.backward else sweep.layers
        yield np.column_stack([times, [before, *after]])
        time += len(sweep.layers)


def _bars(done: Sequence[Sweep]) -> Iterator[Bar]:
    """Each held output as a bar. It ends when the output is dropped or becomes its gradient."""
    held = ((sweep, sweep.kept, sweep.dropped) for sweep in done)
    return _held(held, below=1)


def _tape_bars(done: Sequence[Sweep]) -> Iterator[Bar]:
    """Each held tape as a bar. It ends with the backward pass of its block, or with a drop."""
    held = ((sweep, sweep.kept_tapes, sweep.dropped_tapes) for sweep in done)
    return (((start, block - 0.5), (stop, block - 0.5)) for (start, block), (stop, _) in _held(held, below=0))


def _held(done: Iterable[tuple[Sweep, tuple[int, ...], tuple[int, ...]]], *, below: int) -> Iterator[Bar]:
    """Bars of what sweeps keep until they drop it. A layer's backward step uses the entry `below` layers down."""
    since: dict[int, int] = {}
    time = 0
    for sweep, kept, dropped in done:
        for layer in dropped:
            yield (since.pop(layer), layer), (time, layer)
        for layer in sweep.layers:
            time += 1
            if sweep.backward and layer - below in since:
                yield (since.pop(layer - below), layer - below), (time, layer - below)
            elif layer in kept:
                since[layer] = time
