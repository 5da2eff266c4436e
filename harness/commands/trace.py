"""The trace command: prints and draws what a schedule does in one training step."""

from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from harness.analysis.block_trace import told_blocks
from harness.analysis.trace import StepTold, Sweep, told
from harness.commands.console import new_console
from harness.commands.names import as_typed, path_given, refuse
from harness.commands.own_model import GradientsOption, read_profile
from harness.commands.schedule_text import WRITTEN, made_for, step_cell
from harness.experiment.cell import Cell
from harness.sizes import format_apart, format_bytes
from networks.planning.own_models import check_gradients
from networks.schedules.blocks import block_schedule
from networks.trace import STEPS, dry_run

RUN, HELD, TAPE, BACKWARD, IDLE = "━●■◂·"
STYLES = {RUN: "blue", HELD: "bold green", TAPE: "bold magenta", BACKWARD: "dark_orange", IDLE: "bright_black"}

MAP_COLUMNS = 64
"""Most characters of a sweep's map. In a deeper network one character stands for several layers."""

LISTED = 4
"""How many layers, or ranges of layers, are listed at most."""


def text(step: StepTold, reference: StepTold, *, map_columns: int) -> Iterator[Text | Table]:
    """The printed text: a line for each sweep, and the cost of the step beside `reference`, which keeps everything."""
    yield Text(f"{step.name}: {step.of}")
    columns = min(map_columns, step.depth)
    taped = step.part == "block"
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in (f"{step.part}s", "keeps", *(["tapes"] if taped else []), "drops"):
        table.add_column(heading)
    table.add_column(f"1{step.depth:>{columns - 1}}" if columns > 1 else "1", no_wrap=True)
    table.add_column("steps", justify="right")
    table.add_column("live", justify="right")
    forward_steps = 0
    for sweep in step.sweeps:
        forward_steps += 0 if sweep.backward else len(sweep.layers)
        peak = max(sweep.live_bytes)
        table.add_row(
            f"{'back' if sweep.backward else 'run'} {_span(sweep.layers[0], sweep.layers[-1])}",
            listed(sweep.kept),
            *([listed(sweep.kept_tapes)] if taped else []),
            listed((*sweep.dropped, *sweep.dropped_tapes)),
            _map(sweep, step.depth, columns),
            f"{forward_steps:,}",
            Text(format_bytes(peak, like=step.peak_bytes), style="bold" if peak == step.peak_bytes else ""),
        )
    yield table
    key = [part for part in _KEY if taped or part[0] != TAPE]
    yield Text.assemble(*(part for mark, word in key for part in ((mark, STYLES[mark]), f" {word}  ")))
    extra_work = step.forward_flops / max(1, reference.forward_flops) - 1
    yield Text(
        f"forward steps {step.forward_steps:,} ({step.reference} {reference.forward_steps:,}), "
        f"{extra_work:.1%} more forward work"
    )
    own, everything = format_apart(step.peak_bytes, reference.peak_bytes)
    yield Text(f"peak {step.peak_bytes:,} bytes, {own} ({step.reference} {everything})")
    by_kind = sorted(step.peak_bytes_by_kind.items(), key=lambda item: -item[1])
    parts = (f"{kind} {format_bytes(nbytes, like=step.peak_bytes)}" for kind, nbytes in by_kind)
    yield Text(f"of which {', '.join(parts)}")


_KEY = ((RUN, "run forward"), (HELD, "held when the sweep ends"), (TAPE, "tape held then"), (BACKWARD, "backward"))


def listed(layers: Iterable[int]) -> str:
    """Layers in short form: `4, 7..9`, or `4, 8, 12, .. 96 (24)` if there are many ranges."""
    ordered = sorted(layers)
    starts = [at for at, (before, layer) in enumerate(pairwise([-1, *ordered])) if layer != before + 1]
    runs = [_span(ordered[start], ordered[stop - 1]) for start, stop in pairwise([*starts, len(ordered)])]
    if len(runs) > LISTED:
        runs = [*runs[: LISTED - 1], f".. {runs[-1]} ({len(ordered)})"]
    return ", ".join(runs)


def _span(first: int, last: int) -> str:
    return f"{first}" if first == last else f"{first}..{last}"


def _map(sweep: Sweep, depth: int, columns: int) -> Text:
    """One character for each layer, or for several: tape held, output held, done in this sweep, or none of these."""
    marks = (
        (TAPE, sweep.held_tapes),
        (HELD, sweep.held),
        (BACKWARD if sweep.backward else RUN, frozenset(sweep.layers)),
    )
    row = Text()
    for column in range(columns):
        layers = range(1 + column * depth // columns, 1 + (column + 1) * depth // columns)
        mark = next((mark for mark, of in marks if not of.isdisjoint(layers)), IDLE)
        row.append(mark, STYLES[mark])
    return row


def command(
    layers: Annotated[
        str | None, typer.Option(metavar="WIDTHS", help="Widths of the layers, such as 64,128x10,10.")
    ] = None,
    batch: Annotated[int | None, typer.Option(metavar="ROWS", help="Rows of the input.")] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            metavar="PROFILE", parser=path_given, help="The profile of your own PyTorch model, from profile --save."
        ),
    ] = None,
    schedule: Annotated[
        str | None, typer.Option(metavar="CALL", help=f"{WRITTEN}. The default keeps everything.")
    ] = None,
    dtype: Annotated[str | None, typer.Option(help="float32, the default, or float64.")] = None,
    step: Annotated[str | None, typer.Option(help=f"{' or '.join(STEPS)}. backward is the default.")] = None,
    micro_batch: Annotated[int | None, typer.Option(metavar="ROWS", help="For a train_step: rows of a part.")] = None,
    gradients: GradientsOption = None,
    output: Annotated[Path, typer.Option(metavar="FILE", parser=path_given, help="The picture, .png or .svg.")] = Path(
        "trace.png"
    ),
) -> None:
    """Print and draw what a schedule does in a training step.

    Each line is one sweep over the layers. It tells which layers run forward or backward, what the schedule keeps and
    drops, what it holds at the end of the sweep, the forward steps so far, and the most live bytes in the sweep. The
    picture shows layer against time, with a bar for everything that is held, and the live bytes below. This is a dry
    run: nothing is computed.

    With --model the layers are the blocks of your own PyTorch model, and a schedule may hold their tapes.
    """
    if output.suffix not in (".png", ".svg"):
        raise ValueError(f"--output must end in .png or .svg, got {str(output)!r}")
    of_network = {"--layers": layers, "--batch": batch, "--dtype": dtype, "--step": step, "--micro-batch": micro_batch}
    if model is not None:
        refuse(of_network, "--model")
        shown, reference = _told_model(model, schedule or "plain()", gradients or "kept")
    else:
        refuse({"--gradients": gradients}, "--layers")
        if layers is None or batch is None:
            raise ValueError("--layers and --batch must be given, or --model")
        cell = step_cell(
            layers, batch=batch, dtype=dtype or "float32", step=step or "backward", micro_batch=micro_batch
        )
        shown, reference = _told_network(cell, schedule or "store_all()")

    console = new_console()
    for part in text(shown, reference, map_columns=min(MAP_COLUMNS, console.width // 2)):
        console.print(part)

    from harness.commands import figures as drawing  # imports pandas and seaborn for seconds, after the text is printed
    from harness.plots.trace import draw_trace

    drawing.save(draw_trace(shown, reference), output)
    console.print(f"picture: {output}")


def _told_network(cell: Cell, schedule: str) -> tuple[StepTold, StepTold]:
    """The step of a network by `schedule`, and by store-all."""
    chosen = made_for(schedule, cell)
    options: dict[str, Any] = {"batch": cell.batch, "dtype": cell.dtype, "step": cell.step}
    traced = dry_run(cell.widths, schedule=chosen, micro_batch=cell.micro_batch, **options)
    name = chosen.__name__ + ("" if cell.step == "backward" else f", {cell.step}")
    name += "" if cell.micro_batch is None else f", micro_batch={cell.micro_batch}"
    return told(traced, name), told(dry_run(cell.widths, **options), "store_all()")


def _told_model(path: Path, schedule: str, gradients: str) -> tuple[StepTold, StepTold]:
    """The step of a profiled model by `schedule`, and by plain autograd."""
    profile = read_profile(path)
    with as_typed(("schedule", "gradients")):
        check_gradients(gradients)
        chain = profile.chain(gradients)
        of = f"{len(profile.blocks)} blocks, inputs {profile.inputs}, gradients {gradients}"
        return told_blocks(chain, block_schedule(schedule), of), told_blocks(chain, block_schedule("plain()"), of)
