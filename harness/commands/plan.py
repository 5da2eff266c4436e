"""The command that finds a schedule for a budget of bytes, and says what it and its rivals cost."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from threading import Timer
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.status import Status
from rich.table import Table
from rich.text import Text

from harness.commands import plan_model
from harness.commands.console import page
from harness.commands.names import STEP_OPTIONS, as_typed, path_given, refuse
from harness.commands.own_model import BlocksOption, DeviceOption, GradientsOption
from harness.commands.plan_measured import Record, measure_best, predict_times, records
from harness.commands.schedule_text import ScheduleTexts, searches_for, step_cell
from harness.execute.models import OwnModel
from harness.sizes import format_bytes, parse_bytes
from networks.chain import Chain
from networks.checks import check_count, check_dtype
from networks.layer_lists import format_layers, parse_layers
from networks.planning.bill import OPTIMIZERS, Bill, bill
from networks.planning.planner import Plan, max_depths, plan
from networks.planning.searches import Search
from networks.rounding import ceil_div
from networks.schedules.foreign import Source
from networks.schedules.spec import is_strange

DEPTH_LIMIT = 1024
PATIENCE_SECONDS = 2


def _filled(key: str, write: Callable[[Any], str]) -> Callable[[Record], str]:
    return lambda record: write(record[key]) if key in record else ""


COLUMNS: dict[str, Callable[[Record], str]] = {
    "schedule": lambda record: record["schedule"] if "schedule" in record else record["name"],
    "fits": lambda record: "best" if record["best"] else "yes" if record["fits"] else "no",
    "predicted peak": _filled("predicted_peak_bytes", format_bytes),
    "allowance": _filled("allowance_bytes", format_bytes),
    "mostly": _filled("dominant_kind", lambda kind: kind.replace("_", " ")),
    "forward steps": _filled("forward_steps", "{:,}".format),
    "work": _filled("work_ratio", "{:.3f}".format),
    "time": _filled("predicted_time_ratio", "{:.3f}".format),
    "measured peak": _filled("memray_peak_bytes", format_bytes),
    "measured time": lambda record: (
        "{time_ratio:.3f} [{time_ratio_low:.3f}, {time_ratio_high:.3f}]".format(**record)
        if "time_ratio" in record
        else ""
    ),
}
"""What the table shows of a record; a column that is empty in all of them is left out."""


def text(answer: Mapping[str, Any]) -> Iterator[Text | Table]:
    """What is printed for people."""
    yield Text(
        f"layers {answer['layers']}, batch {answer['batch']:,}, {answer['dtype']}: "
        f"a training step ({answer['step']}) within {_in_full(answer['budget_bytes'])}"
    )
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    shown = {name: cell for name, cell in COLUMNS.items() if any(map(cell, answer["rows"]))}
    for name in shown:
        table.add_column(name, justify="left" if name in ("schedule", "mostly") else "right", overflow="fold")
    for record in answer["rows"]:
        table.add_row(*(cell(record) for cell in shown.values()), style="bold" if record["best"] else "")
    yield table
    yield Text("work: forward operations over store-all's")
    if "time" in shown:
        yield Text("time: over store-all's, predicted from how long the layers' matrix products take on this machine")
    yield from (Text(f"{record['name']}: {record['reason']}") for record in answer["rows"] if "reason" in record)
    named = answer["schedule"]
    yield Text(f"best: {named if is_strange(named) else f'NetworkWithCheckpointing(layers, schedule={named})'}")
    yield Text(f"without recomputation: {_rival(answer['batch'], answer['micro_batch'])}")
    yield Text(f"the smallest budget that can be met: {_in_full(answer['smallest_budget_bytes'])}")
    yield Text(_bill(answer["bill"]))
    if "max_depths" in answer:
        depths = ", ".join(f"{name} {_depth(depth)}" for name, depth in answer["max_depths"].items())
        yield Text(f"hidden layers of {answer['max_depth_width']} that fit: {depths}")
    yield from (Text(line) for line in (answer["advice"], *answer["notes"]) if line)


def _rival(batch: int, micro_batch: int | None) -> str:
    if micro_batch is None:
        return "no train_step of Network(layers) fits, not even with micro_batch=1"
    if micro_batch == batch:
        return "Network(layers).train_step(..) fits"
    parts = ceil_div(batch, micro_batch)
    return f"Network(layers).train_step(.., micro_batch={micro_batch}) fits, the batch in {parts:,} parts"


def _bill(bill: Mapping[str, Any]) -> str:
    size = {name: format_bytes(nbytes) for name, nbytes in bill.items() if name.endswith("_bytes")}
    return (
        f"the whole bill: parameters {size['parameters_bytes']}, state of {bill['optimizer']} "
        f"{size['optimizer_state_bytes']}, data {size['data_bytes']}, and the larger of step {size['step_bytes']} and "
        f"update {size['update_bytes']}; in all {_in_full(bill['total_bytes'])}"
    )


def _in_full(nbytes: int) -> str:
    return f"{format_bytes(nbytes)} ({nbytes:,} bytes)"


def _depth(depth: int) -> str:
    return f"{depth:,} or more" if depth == DEPTH_LIMIT else f"{depth:,}"


def command(
    layers: Annotated[str | None, typer.Option(metavar="WIDTHS", help="Such as 64,512,64x6,256x12,10.")] = None,
    batch: Annotated[int | None, typer.Option(metavar="ROWS", help="Rows of the input.")] = None,
    model: Annotated[
        str | None, typer.Option(metavar="FILE.py:FUNCTION", help="A PyTorch model of your own, instead of --layers.")
    ] = None,
    blocks: BlocksOption = None,
    gradients: GradientsOption = None,
    save: Annotated[
        Path | None,
        typer.Option(metavar="FILE", parser=path_given, help="Of a model: where to write the plan, as JSON."),
    ] = None,
    device: DeviceOption = None,
    budget: Annotated[str | None, typer.Option(metavar="SIZE", help="Of a step's peak: 24MiB, 1.5GB, bytes.")] = None,
    budget_total: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Of the whole bill, instead of --budget.")
    ] = None,
    dtype: Annotated[str | None, typer.Option(help="float32, the default, or float64.")] = None,
    step: Annotated[
        str | None, typer.Option(help="backward, the default, or train_step, which frees deltas as it goes.")
    ] = None,
    schedule: ScheduleTexts = None,
    optimizer: Annotated[str, typer.Option(help=f"For the bill: {', '.join(OPTIMIZERS)}.")] = "sgd",
    samples: Annotated[int | None, typer.Option(help="For the bill: rows of data; else one batch.")] = None,
    max_depth: Annotated[
        bool, typer.Option("--max-depth", help="Plan the most hidden layers of one width that fit: --layers 64,512,10.")
    ] = False,
    measure: Annotated[
        bool, typer.Option("--measure", help="Run the best and store-all under memray and under the clock.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON; sizes are integer bytes.")] = False,
) -> None:
    """Find the schedule that trains a network with the least work within a budget of bytes.

    The budget bounds the peak that memray measures over one training step: what is predicted, and an allowance for the
    interpreter's own objects. One line for each kind of schedule says whether it fits, its peak and what that mostly
    is, its forward steps and work, and its time. Beside the best stands the rival that recomputes nothing: a step by
    parts of the batch, as few as fit. The bill adds the parameters, the optimiser's state and the data. With
    --max-depth the network is the deepest that fits, whatever the number of hidden layers given.

    Where no schedule fits, the exit code is 2, and the message says which budget can be met.

    With --model it is a PyTorch model of your own. Its blocks are profiled first, and its file is run: it is your code.
    """
    given: dict[str, Any] = {
        "--layers": layers,
        "--batch": batch,
        "--dtype": dtype,
        "--step": step,
        "--samples": samples,
    }
    given |= {"--max-depth": max_depth or None, "--schedule": schedule or None}
    given_of_model = {"--blocks": blocks, "--gradients": gradients, "--save": save, "--device": device}
    if model is not None:
        refuse(given, "--model")
        plan_model.run(
            OwnModel.in_file(model, blocks, device or "cpu"),
            budget=budget,
            budget_total=budget_total,
            gradients=gradients or "kept",
            optimizer=optimizer,
            measure=measure,
            save=save,
            as_json=as_json,
        )
        return
    refuse(given_of_model, "--layers")
    if layers is None or batch is None:
        raise ValueError("--layers and --batch must be given, or --model")
    dtype, step = dtype or "float32", step or "backward"
    if (budget is None) == (budget_total is None):
        one = "one" if budget is None else "only one"
        raise ValueError(f"{one} of --budget and --budget-total must be given")
    also, sources = _searches(schedule or [], budget or budget_total, layers, batch=batch, dtype=dtype, step=step)
    with as_typed((*STEP_OPTIONS, "optimizer"), size=budget or budget_total):
        widths, dtype = parse_layers(layers), check_dtype(dtype).name
        deepest = _max_depths(widths, budget, batch=batch, dtype=dtype, step=step, also=also) if max_depth else {}
        if deepest:
            depth = max(1, *deepest["max_depths"].values())  # what does not fit says why
            widths = (widths[0], *[widths[1]] * depth, widths[-1])
        chain = Chain(
            widths, check_count("batch", batch), check_dtype(dtype).itemsize, deltas_pile_up=step != "train_step"
        )
        held = bill(chain, samples=samples, optimizer=optimizer)
        budget_bytes = _budget_of_a_step(budget, budget_total, held)
        found = _planned(chain, held, budget_bytes, total=budget_total, dtype=dtype, step=step, also=also)
    answer = {
        "layers": format_layers(widths),
        "batch": batch,
        "dtype": dtype,
        "step": step,
        "budget_bytes": budget_bytes,
        **_answer(found, _whole_bill(chain, held, found), dtype=dtype, measure=measure, sources=sources),
        **deepest,
    }
    if as_json:
        print(json.dumps(answer, indent=2))
        return
    for part in text(answer):
        page().print(part)


def _searches(
    schedules: Sequence[str], budget: str | None, layers: str, **step: Any
) -> tuple[dict[str, Search], tuple[Source, ...]]:
    """The searches of the schedules that have a row more, and their files."""
    if not schedules:
        return {}, ()
    assert budget is not None, "one of the two is given"
    return searches_for(schedules, step_cell(layers, **step), parse_bytes(budget, name="--budget"))


def _planned(chain: Chain, held: Bill, budget_bytes: int, *, total: str | None, **options: Any) -> Plan:
    """The plan within `budget_bytes`; an error says so where they are what a `total` budget leaves."""
    left = f"--budget-total {total} leaves {budget_bytes} bytes"
    try:
        with _patience("planning: deep chains take up to minutes"):
            found = plan(chain.layers, batch=chain.batch, budget_bytes=budget_bytes, **options)
    except ValueError as error:
        raise ValueError(f"{left} for a step: {error}" if total else str(error)) from None
    update_bytes = _whole_bill(chain, held, found)["update_bytes"]
    if total and update_bytes > budget_bytes:
        raise ValueError(
            f"{left}, but after a step {held.optimizer} takes {update_bytes} bytes to update the parameters, whatever "
            "the schedule: fewer or narrower layers lower that"
        )
    return found


def _whole_bill(chain: Chain, held: Bill, found: Plan) -> dict[str, Any]:
    """What is held between steps, and what a step and an update take beside it."""
    step_bytes = found.predicted_peak_bytes + found.allowance_bytes
    update_bytes = held.update_bytes + found.allowance_bytes if chain.deltas_pile_up else 0
    return {
        **asdict(held),
        "step_bytes": step_bytes,
        "update_bytes": update_bytes,
        "total_bytes": held.held_bytes + max(step_bytes, update_bytes),
    }


def _answer(
    found: Plan, whole_bill: Mapping[str, Any], *, dtype: str, measure: bool, sources: Sequence[Source]
) -> dict[str, Any]:
    """What the plan found, with the times that are predicted, and those that are measured if asked for."""
    rows = records(found)
    notes = predict_times(found, rows, dtype=dtype)
    if measure:
        notes += measure_best(found, rows, dtype=dtype, sources=sources)
    return {
        "smallest_budget_bytes": found.smallest_budget_bytes,
        "schedule": found.schedule.__name__,
        "micro_batch": found.micro_batch,
        "rows": list(rows.values()),
        "bill": whole_bill,
        "advice": found.advice,
        "notes": notes,
    }


def _max_depths(widths: Sequence[int], budget: str | None, **options: Any) -> dict[str, Any]:
    """How many hidden layers, of the one width that `widths` has, fit into `budget`, for each schedule."""
    if budget is None or len(set(widths[1:-1])) != 1:
        raise ValueError("--max-depth needs --budget and hidden layers of one width, such as --layers 64,512,10")
    options |= {"budget_bytes": parse_bytes(budget, name="--budget"), "limit": DEPTH_LIMIT}
    with _patience("searching the depths that fit") as tell:
        depths = max_depths(
            *(widths[0], widths[1], widths[-1]),
            **options,
            on_probe=lambda name, depth: tell(f"{name}, {depth:,} hidden layers"),
        )
    return {"max_depth_width": widths[1], "max_depths": depths}


@contextmanager
def _patience(line: str) -> Iterator[Callable[[str], None]]:
    """Say on stderr what is going on: on a terminal at once, with what is told meanwhile; else if it takes long."""
    console = Console(stderr=True, highlight=False, markup=False)
    if console.is_terminal:
        with Status(Text(line), console=console) as status:
            yield lambda told: status.update(Text(f"{line}: {told}"))
        return
    timer = Timer(PATIENCE_SECONDS, print, args=[line], kwargs={"file": sys.stderr})
    timer.start()
    try:
        yield lambda told: None
    finally:
        timer.cancel()


def _budget_of_a_step(budget: str | None, total: str | None, held: Bill) -> int:
    if total is None:
        assert budget is not None, "one of the two is given"
        return parse_bytes(budget, name="--budget")
    left = parse_bytes(total, name="--budget-total") - held.held_bytes
    if left < 1:
        raise ValueError(
            f"--budget-total {total} leaves nothing for a step: parameters take {held.parameters_bytes} bytes, "
            f"the optimiser's state {held.optimizer_state_bytes} bytes and the data {held.data_bytes} bytes"
        )
    return left
