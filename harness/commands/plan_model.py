"""The plan of a user's own PyTorch model: a budget of bytes in, a schedule of its blocks out, measured if asked."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from harness.commands.console import page
from harness.commands.names import as_typed
from harness.execute.models import OwnModel
from harness.files import write_atomically
from harness.sizes import format_bytes, parse_bytes
from networks.planning.bill import Bill, check_optimizer
from networks.planning.block_rows import BlockRow
from networks.planning.own_models import BlockPlan, check_gradients

Record = dict[str, Any]

COLUMNS: dict[str, Callable[[Record], str]] = {
    "schedule": lambda record: record["schedule"],
    "fits": lambda record: "best" if record["best"] else "yes" if record["fits"] else "no",
    "predicted peak": lambda record: format_bytes(record["predicted_peak_bytes"]),
    "work": lambda record: f"{record['work_ratio']:.3f}",
    "time": lambda record: f"{record['predicted_time_ratio']:.3f}",
    "measured peak": lambda record: format_bytes(record["peak_bytes"]) if "peak_bytes" in record else "",
    "measured time": lambda record: f"{record['time_ratio']:.3f}" if "time_ratio" in record else "",
}
"""What the table shows of a record. A column that is empty in all of them is left out."""


def run(
    own: OwnModel,
    *,
    budget: str | None,
    budget_total: str | None,
    gradients: str,
    optimizer: str,
    measure: bool,
    save: Path | None,
    as_json: bool,
) -> None:
    """Profile a model, plan it, and print what came of it; `save` the plan."""
    if (budget is None) == (budget_total is None):
        raise ValueError(f"{'one' if budget is None else 'only one'} of --budget and --budget-total must be given")
    parse_bytes(budget or budget_total or "", name="--budget" if budget else "--budget-total")
    with as_typed(("gradients", "optimizer"), size=budget or budget_total):
        check_gradients(gradients)
        check_optimizer(optimizer)
        profile = own.profile()
        bill = profile.bill(gradients=gradients, optimizer=optimizer)
        plan = profile.plan(budget_bytes=_budget_of_a_step(budget, budget_total, bill), gradients=gradients)
    answer = _answer(own, plan, bill, measure=measure)
    if save is not None:
        write_atomically(save, plan.to_json().encode())
    if as_json:
        print(json.dumps(answer, indent=2))
        return
    for part in text(answer):
        page().print(part)
    if save is not None:
        page().print(f"plan: {save}")


def _budget_of_a_step(budget: str | None, budget_total: str | None, bill: Bill) -> int:
    if budget is not None:
        return parse_bytes(budget, name="--budget")
    assert budget_total is not None  # one of the two is given
    left = parse_bytes(budget_total, name="--budget-total") - bill.held_bytes
    if left < max(1, bill.update_bytes):
        raise ValueError(
            f"--budget-total {budget_total} leaves {left} bytes for a step: parameters take {bill.parameters_bytes} "
            f"bytes, the optimiser's state {bill.optimizer_state_bytes} bytes, the data {bill.data_bytes} bytes, and "
            f"gradients {bill.update_bytes} bytes as the optimiser updates"
        )
    return left


def _answer(own: OwnModel, plan: BlockPlan, bill: Bill, *, measure: bool) -> Record:
    """The plan as plain data, and what was measured of it."""
    records = [_record(plan, row) for row in plan.rows]
    if measure:
        _measure(own, plan, records)
    return {
        "model": own.name,
        "blocks": len(plan.profile.blocks),
        "inputs": plan.profile.inputs,
        "gradients": plan.gradients,
        "budget_bytes": plan.budget_bytes,
        "predicted_peak_bytes": plan.predicted_peak_bytes,
        "allowance_bytes": plan.allowance_bytes,
        "smallest_budget_bytes": plan.smallest_budget_bytes,
        "schedule": plan.best.schedule,
        "work_ratio": plan.work,
        "rows": records,
        "bill": _billed(bill, plan.predicted_peak_bytes + plan.allowance_bytes),
        "advice": plan.advice,
        "notes": list(plan.profile.notes),
    }


def _record(plan: BlockPlan, row: BlockRow) -> Record:
    return {
        "name": row.name,
        "schedule": row.schedule,
        "fits": row.fits,
        "best": row.schedule == plan.best.schedule,
        "predicted_peak_bytes": row.peak_bytes,
        "work_ratio": row.work,
        "predicted_time_ratio": row.slow_down,
    }


def _billed(bill: Bill, step_bytes: int) -> Record:
    return {
        "optimizer": bill.optimizer,
        "parameters_bytes": bill.parameters_bytes,
        "optimizer_state_bytes": bill.optimizer_state_bytes,
        "data_bytes": bill.data_bytes,
        "step_bytes": step_bytes,
        "update_bytes": bill.update_bytes,
        "total_bytes": bill.held_bytes + max(step_bytes, bill.update_bytes),
    }


def _measure(own: OwnModel, plan: BlockPlan, records: list[Record]) -> None:
    """Add peaks and times of plain autograd, of the best of `torch.utils.checkpoint`, and of the plan."""
    variants: dict[int, Any] = {}
    for number, record in enumerate(records):
        match record["name"]:
            case "plain":
                variants[number] = "plain"
            case "torch checkpoint":
                variants[number] = {"torch_checkpoint": int(record["schedule"].partition("(")[2].rstrip(")"))}
        if record["best"]:
            variants[number] = {"plan": plan.to_json()}
    for number, variant in variants.items():
        records[number]["peak_bytes"] = own.peak_bytes(variant, gradients=plan.gradients)
    rows = own.seconds(list(variants.values()), gradients=plan.gradients)
    seconds = {
        (row["repeat"], number): row["step_seconds"] for row in rows for number in [list(variants)[row["variant"]]]
    }
    plain = next(number for number, variant in variants.items() if variant == "plain")
    for number in variants:
        ratios = [seconds[repeat, number] / seconds[repeat, plain] for repeat, other in seconds if other == number]
        records[number]["time_ratio"] = median(ratios)


def text(answer: Mapping[str, Any]) -> Iterator[Text | Table]:
    """What is printed for people."""
    yield Text(
        f"{answer['model']}: {answer['blocks']} blocks, inputs {answer['inputs']}; a training step within "
        f"{_in_full(answer['budget_bytes'])}, gradients {answer['gradients']}"
    )
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    shown = {name: cell for name, cell in COLUMNS.items() if any(map(cell, answer["rows"]))}
    for name in shown:
        table.add_column(name, justify="left" if name == "schedule" else "right", overflow="fold")
    for record in answer["rows"]:
        table.add_row(*(cell(record) for cell in shown.values()), style="bold" if record["best"] else "")
    yield table
    yield Text(
        "work: forward operations over plain autograd's; time: over plain autograd's, predicted from the profile"
    )
    yield Text(
        f"predicted peak {answer['predicted_peak_bytes']:,} bytes, and an allowance of {answer['allowance_bytes']:,}; "
        f"the smallest budget that can be met: {_in_full(answer['smallest_budget_bytes'])}"
    )
    yield Text(_bill(answer["bill"]))
    yield from (Text(line) for line in (answer["advice"], *answer["notes"]) if line)


def _bill(bill: Mapping[str, Any]) -> str:
    size = {name: format_bytes(nbytes) for name, nbytes in bill.items() if name.endswith("_bytes")}
    return (
        f"the whole bill: parameters {size['parameters_bytes']}, state of {bill['optimizer']} "
        f"{size['optimizer_state_bytes']}, data {size['data_bytes']}, and the larger of step {size['step_bytes']} and "
        f"update {size['update_bytes']}; in all {_in_full(bill['total_bytes'])}"
    )


def _in_full(nbytes: int) -> str:
    return f"{format_bytes(nbytes)} ({nbytes:,} bytes)"
