"""The plan command: finds a schedule for a budget of bytes, and compares its cost with its rivals'."""

import json
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.commands import plan_model, plan_network
from harness.commands.console import new_console, print_parts
from harness.commands.names import path_given, refuse
from harness.commands.own_model import BlocksOption, DeviceOption, GradientsOption, named_model
from harness.commands.plan_parts import BudgetOption
from harness.commands.schedule_text import ScheduleTexts
from networks.planning.bill import OPTIMIZERS

Layers = Annotated[
    str | None, typer.Option(metavar="WIDTHS", help="Widths of the layers, such as 64,512,64x6,256x12,10.")
]
Batch = Annotated[int | None, typer.Option(metavar="ROWS", help="Rows of the input.")]
ModelText = Annotated[
    str | None,
    typer.Option(metavar="FILE.py:FUNCTION", help="Your own PyTorch model, or a .json file with its profile."),
]
Repeat = Annotated[
    str | None, typer.Option(metavar="BLOCK=TIMES", help="For a model: plan it with this block so many times.")
]
Save = Annotated[
    Path | None, typer.Option(metavar="FILE", parser=path_given, help="For a model: the file for the plan, as JSON.")
]
OfAStep = Annotated[str | None, typer.Option(metavar="SIZE", help="Budget of a step's peak: 24MiB, 1.5GB, or bytes.")]
OfAll = Annotated[str | None, typer.Option(metavar="SIZE", help="Budget of the whole bill, instead of --budget.")]
Dtype = Annotated[str | None, typer.Option(help="float32 (default) or float64.")]
StepKind = Annotated[
    str | None,
    typer.Option(help="backward (default), or train_step, which frees each layer's weight gradient at once."),
]
Optimizer = Annotated[str, typer.Option(help=f"For the bill: {', '.join(OPTIMIZERS)}.")]
Samples = Annotated[int | None, typer.Option(help="For the bill: rows of data. The default is one batch.")]
MaxDepth = Annotated[
    bool,
    typer.Option("--max-depth", help="Plan the deepest network of one hidden width that fits: --layers 64,512,10."),
]
Measured = Annotated[
    bool,
    typer.Option("--measure", help="Measure the peak and the time of the best schedule and of the step without one."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON; sizes are integer bytes.")]


def command(
    layers: Layers = None,
    batch: Batch = None,
    model: ModelText = None,
    blocks: BlocksOption = None,
    repeat: Repeat = None,
    gradients: GradientsOption = None,
    save: Save = None,
    device: DeviceOption = None,
    budget: OfAStep = None,
    budget_total: OfAll = None,
    dtype: Dtype = None,
    step: StepKind = None,
    schedule: ScheduleTexts = None,
    optimizer: Optimizer = "sgd",
    samples: Samples = None,
    max_depth: MaxDepth = False,
    measure: Measured = False,
    as_json: AsJson = False,
) -> None:
    """Find the schedule that trains a network with the least work within a budget of bytes.

    The budget bounds the peak that memray measures over one training step: the predicted peak, and an allowance for
    the interpreter's own objects. One line for each kind of schedule says whether it fits, its peak, what fills most
    of the peak, its forward steps, its work and its time. One more line has a step without recomputation: it runs the
    batch in the fewest parts that fit. The bill adds the parameters, the optimiser's state and the data. With
    --max-depth the network is the deepest that fits; the number of hidden layers that you give is ignored.

    If no schedule fits, the exit code is 2, and the message names the smallest budget that can be met.

    With --model the plan is for your own PyTorch model. The command runs the model's file, and profiles its
    blocks. With a profile that `profile --save` wrote, it does neither.
    """
    of_layers: dict[str, Any] = {"--layers": layers, "--batch": batch, "--dtype": dtype, "--step": step}
    of_layers |= {"--samples": samples, "--max-depth": max_depth or None, "--schedule": schedule or None}
    of_model = {"--blocks": blocks, "--gradients": gradients, "--save": save, "--device": device, "--repeat": repeat}
    if model is not None:
        refuse(of_layers, "--model")
        answer = plan_model.answer(
            named_model(model, blocks, device),
            Path(model).name,
            BudgetOption.given(budget, budget_total),
            repeat=repeat,
            gradients=gradients or "kept",
            optimizer=optimizer,
            measure=measure,
            save=save,
        )
        text = plan_model.text
    else:
        refuse(of_model, "--layers")
        if layers is None or batch is None:
            raise ValueError("--layers and --batch must be given, or --model")
        asked = plan_network.TrainingOptions(layers, batch, dtype or "float32", step or "backward", optimizer, samples)
        size = BudgetOption.given(budget, budget_total)
        answer = plan_network.answer(asked, size, schedules=schedule or [], max_depth=max_depth, measure=measure)
        text = plan_network.text
    _tell(answer, text, as_json=as_json, saved=save)


def _tell(
    answer: Mapping[str, Any],
    text: Callable[[Mapping[str, Any], int], Iterable[str]],
    *,
    as_json: bool,
    saved: Path | None,
) -> None:
    if as_json:
        print(json.dumps(answer, indent=2))
        return
    print_parts(partial(text, answer))
    if saved is not None:
        new_console().print(f"plan: {saved}")
