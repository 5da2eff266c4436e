"""The profile command: measures the memory and time of each block of a user's PyTorch model."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from harness.commands.console import new_console, print_parts
from harness.commands.names import path_given
from harness.commands.own_model import BlocksOption, DeviceOption, ModelFile
from harness.commands.tables import Columns, aligned, told_by
from harness.execute.models import OwnModel
from harness.files import write_atomically
from harness.sizes import format_bytes
from networks.planning.own_models import BlockProfile

COLUMNS: Columns = {
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


def text(profile: BlockProfile, width: int) -> Iterator[str]:
    """What is printed for people on a page of so many characters: a row for each block."""
    yield f"{len(profile.blocks)} blocks, inputs {profile.inputs}, PyTorch {profile.torch}, {profile.threads} thread"
    yield f"\n{aligned(told_by(COLUMNS, profile.blocks), left=['block'], width=width)}\n"
    yield "output: what the block gives to the blocks above. tape: what else autograd holds, but no parameters."
    ms = " ms: a run without tape, median of five." if profile.is_timed else ""
    yield f"run, run with tape, backward: peaks, without the block's input.{ms}"
    yield from profile.notes


def command(
    model: ModelFile,
    blocks: BlocksOption = None,
    device: DeviceOption = None,
    save: Annotated[
        Path | None, typer.Option(metavar="FILE", parser=path_given, help="The file for the profile, as JSON.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the profile as JSON; sizes are integer bytes.")
    ] = False,
) -> None:
    """Measure the memory and time of each block of your own PyTorch model, in a fresh process.

    The command runs the file. FUNCTION takes no arguments. It returns the model in training mode, a
    sample (a tensor, or a tuple of the model's arguments), a loss function of the model's output, and optionally a list
    of blocks.

    Equal blocks are measured once. The profile belongs to this machine, one thread, and inputs of the sample's shapes.
    With --device meta nothing is allocated, so the model may be larger than this machine. Bytes of tensors are counted
    without the scratch memory of kernels, and no time is measured.
    """
    found = OwnModel.in_file(model, blocks, device or "cpu").profile()
    if save is not None:
        write_atomically(save, found.to_json().encode())
    if as_json:
        print(found.to_json())
        return
    print_parts(partial(text, found))
    if save is not None:
        new_console().print(f"profile: {save}")
