"""The profile command: what each block of a user's PyTorch model takes, measured."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from harness.commands.console import page
from harness.commands.names import path_given
from harness.commands.own_model import BlocksOption, DeviceOption, ModelFile
from harness.execute.models import OwnModel
from harness.files import write_atomically
from harness.sizes import format_bytes
from networks.planning.own_models import BlockProfile, ProfiledBlock

COLUMNS: dict[str, Callable[[ProfiledBlock], str]] = {
    "block": lambda block: block.name,
    "output": lambda block: format_bytes(sum(block.made_bytes)),
    "tape": lambda block: format_bytes(block.tape_bytes),
    "run": lambda block: format_bytes(block.run_bytes),
    "run with tape": lambda block: format_bytes(block.taped_run_bytes),
    "backward": lambda block: format_bytes(block.backward_bytes),
    "gradients": lambda block: format_bytes(block.gradient_bytes),
    "Mflops": lambda block: f"{block.forward_flops / 1e6:,.1f}",
    "ms": lambda block: "" if block.seconds is None else f"{1000 * block.seconds:.2f}",
    "random": lambda block: "yes" if block.random else "",
    "buffers": lambda block: str(len(block.buffers)) if block.buffers else "",
}
"""What the table shows of a block. A column that is empty for all of them is left out."""


def text(profile: BlockProfile) -> Iterator[Text | Table]:
    """What is printed: a row for each block."""
    yield Text(
        f"{len(profile.blocks)} blocks, inputs {profile.inputs}, PyTorch {profile.torch}, {profile.threads} thread"
    )
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    shown = {name: cell for name, cell in COLUMNS.items() if any(map(cell, profile.blocks))}
    for name in shown:
        table.add_column(name, justify="left" if name == "block" else "right", overflow="fold")
    for block in profile.blocks:
        table.add_row(*(cell(block) for cell in shown.values()))
    yield table
    yield Text("output: what the block makes for those above it. tape: what autograd saves beside inputs and outputs.")
    ms = " ms: a run without tape, median of five." if profile.is_timed else ""
    yield Text(f"run, run with tape, backward: peaks, without the block's input.{ms}")
    yield from map(Text, profile.notes)


def command(
    model: ModelFile,
    blocks: BlocksOption = None,
    device: DeviceOption = None,
    save: Annotated[
        Path | None, typer.Option(metavar="FILE", parser=path_given, help="Where to write the profile, as JSON.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the profile as JSON; sizes are integer bytes.")
    ] = False,
) -> None:
    """Measure what each block of a PyTorch model of your own takes, under memray in a fresh process.

    The file is run: it is your code. FUNCTION takes no arguments and returns the model in training mode, a sample (a
    tensor, or a tuple of the model's arguments), a loss function of the model's output, and perhaps a list of blocks.
    Equal blocks are measured once. The profile belongs to this machine, one thread, and inputs of the sample's shapes.
    With --device meta nothing is allocated, so the model may be larger than this machine: bytes of tensors are counted,
    without scratch of kernels, and no time is taken.
    """
    found = OwnModel.in_file(model, blocks, device or "cpu").profile()
    if save is not None:
        write_atomically(save, found.to_json().encode())
    if as_json:
        print(found.to_json())
        return
    for part in text(found):
        page().print(part)
    if save is not None:
        page().print(f"profile: {save}")
