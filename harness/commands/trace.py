"""The command that prints and draws what a schedule does in one training step."""

from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from harness.analysis.trace import Sweep, sweeps
from harness.commands.console import page
from harness.commands.names import path_given
from harness.commands.schedule_text import ScheduleText, made_for, step_cell
from harness.sizes import format_apart, format_bytes
from networks.dry_run import STEPS, Trace, dry_run
from networks.layer_lists import format_layers

RUN, HELD, BACKWARD, IDLE = "━●◂·"
STYLES = {RUN: "blue", HELD: "bold green", BACKWARD: "dark_orange", IDLE: "bright_black"}

MAP_COLUMNS = 64
"""Most characters of a sweep's map of the layers; a deeper network has several layers to a character."""

LISTED = 4
"""Most layers, or runs of layers, that are listed one by one."""


def text(trace: Trace, name: str, store_all: Trace, *, map_columns: int) -> Iterator[Text | Table]:
    """What is printed: a line for each sweep, and what the step comes to beside store-all's."""
    chain = trace.chain
    yield Text(f"{name}: layers {format_layers(chain.layers)}, batch {chain.batch:,}, {8 * chain.itemsize}-bit floats")
    columns = min(map_columns, chain.depth)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("layers")
    table.add_column("keeps")
    table.add_column("drops")
    table.add_column(f"1{chain.depth:>{columns - 1}}" if columns > 1 else "1", no_wrap=True)
    table.add_column("steps", justify="right")
    table.add_column("live", justify="right")
    forward_steps = 0
    for sweep in sweeps(trace):
        forward_steps += 0 if sweep.backward else len(sweep.layers)
        peak = max(sweep.live_bytes)
        table.add_row(
            f"{'back' if sweep.backward else 'run'} {_span(sweep.layers[0], sweep.layers[-1])}",
            listed(sweep.kept),
            listed(sweep.dropped),
            _map(sweep, chain.depth, columns),
            f"{forward_steps:,}",
            Text(format_bytes(peak, like=trace.peak_bytes), style="bold" if peak == trace.peak_bytes else ""),
        )
    yield table
    yield Text.assemble(*(part for mark, word in _KEY for part in ((mark, STYLES[mark]), f" {word}  ")))
    extra_work = trace.forward_flops / store_all.forward_flops - 1
    yield Text(
        f"forward steps {trace.forward_steps:,} (store-all {store_all.forward_steps:,}), "
        f"{extra_work:.1%} more forward work"
    )
    own, everything = format_apart(trace.peak_bytes, store_all.peak_bytes)
    yield Text(f"peak {trace.peak_bytes:,} bytes, {own} (store-all {everything})")
    by_kind = sorted(trace.peak_bytes_by_kind.items(), key=lambda item: -item[1])
    parts = (f"{kind.replace('_', ' ')} {format_bytes(nbytes, like=trace.peak_bytes)}" for kind, nbytes in by_kind)
    yield Text(f"of which {', '.join(parts)}")


_KEY = ((RUN, "run forward"), (HELD, "held when the sweep ends"), (BACKWARD, "backward"))


def listed(layers: Iterable[int]) -> str:
    """Layers as short as they can be told: `4, 7..9`, or `4, 8, 12, .. 96 (24)` where there are many runs."""
    ordered = sorted(layers)
    starts = [at for at, (before, layer) in enumerate(pairwise([-1, *ordered])) if layer != before + 1]
    runs = [_span(ordered[start], ordered[stop - 1]) for start, stop in pairwise([*starts, len(ordered)])]
    if len(runs) > LISTED:
        runs = [*runs[: LISTED - 1], f".. {runs[-1]} ({len(ordered)})"]
    return ", ".join(runs)


def _span(first: int, last: int) -> str:
    return f"{first}" if first == last else f"{first}..{last}"


def _map(sweep: Sweep, depth: int, columns: int) -> Text:
    """One character for each layer, or for several of them: held, done in this sweep, or neither."""
    done = set(sweep.layers)
    moving = BACKWARD if sweep.backward else RUN
    row = Text()
    for column in range(columns):
        layers = range(1 + column * depth // columns, 1 + (column + 1) * depth // columns)
        mark = HELD if not sweep.held.isdisjoint(layers) else IDLE if done.isdisjoint(layers) else moving
        row.append(mark, STYLES[mark])
    return row


def command(
    layers: Annotated[str, typer.Option(metavar="WIDTHS", help="Such as 64,128x10,10.")],
    batch: Annotated[int, typer.Option(metavar="ROWS", help="Rows of the input.")],
    schedule: ScheduleText = "store_all()",
    dtype: Annotated[str, typer.Option(help="float32 or float64.")] = "float32",
    step: Annotated[str, typer.Option(help=f"{' or '.join(STEPS)}.")] = "backward",
    micro_batch: Annotated[int | None, typer.Option(metavar="ROWS", help="Of a train_step: rows of a part.")] = None,
    output: Annotated[Path, typer.Option(metavar="FILE", parser=path_given, help="The picture, .png or .svg.")] = Path(
        "trace.png"
    ),
) -> None:
    """Print and draw what a schedule does in a training step.

    Each line is one sweep over the layers: which are run or stepped back, what is kept and dropped, what is held when
    it ends, the forward steps so far and the most bytes live in it. The picture shows layer against time, kept afters
    as bars, and live bytes beneath. It is a dry run: nothing is computed.
    """
    if output.suffix not in (".png", ".svg"):
        raise ValueError(f"--output must end in .png or .svg, got {str(output)!r}")
    cell = step_cell(layers, batch=batch, dtype=dtype, step=step, micro_batch=micro_batch)
    chosen = made_for(schedule, cell)
    traced = dry_run(cell.widths, batch=batch, schedule=chosen, dtype=dtype, step=step, micro_batch=micro_batch)
    store_all = dry_run(cell.widths, batch=batch, dtype=dtype, step=step)

    name = chosen.__name__ + ("" if step == "backward" else f", {step}")
    name += "" if micro_batch is None else f", micro_batch={micro_batch}"

    console = page()
    for part in text(traced, name, store_all, map_columns=min(MAP_COLUMNS, console.width // 2)):
        console.print(part)

    from harness.commands import figures as drawing  # imports pandas and seaborn: seconds that the text need not wait
    from harness.plots.trace import draw_trace

    drawing.save(draw_trace(traced, name, store_all), output)
    console.print(f"picture: {output}")
