"""The plan of a user's own PyTorch model: a budget of bytes in, a schedule of its blocks out."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.commands.names import as_typed, refuse
from harness.commands.plan_parts import BudgetOption, bill_line, in_full, table, told_ratio
from harness.commands.tables import Columns
from harness.execute.models import OwnModel
from harness.experiment.job import Row
from harness.experiment.model_cell import PLAIN, variant_of
from harness.files import write_atomically
from harness.sizes import format_bytes
from networks.planning import model_rows
from networks.planning.bill import Bill, check_optimizer
from networks.planning.model_rows import BlockRow
from networks.planning.own_models import BlockPlan, BlockProfile, check_gradients

COLUMNS: Columns = {
    "schedule": lambda row: row["schedule"],
    "fits": lambda row: "best" if row["best"] else "yes" if row["fits"] else "no",
    "predicted peak": lambda row: format_bytes(row["predicted_peak_bytes"]),
    "work": lambda row: f"{row['work_ratio']:.3f}",
    "time": lambda row: f"{row['predicted_time_ratio']:.3f}",
    "measured peak": lambda row: format_bytes(row["peak_bytes"]) if "peak_bytes" in row else "",
    "measured time": told_ratio,
}


def answer(
    found: OwnModel | BlockProfile,
    name: str,
    budget: BudgetOption,
    *,
    repeat: str | None,
    gradients: str,
    optimizer: str,
    measure: bool,
    save: Path | None,
) -> dict[str, Any]:
    """Plan a model, which is profiled first if it was not before. Return the answer as plain data, and `save` the plan.

    Raises ValueError if nothing fits, or if a model that cannot be run is to be measured.
    """
    if isinstance(found, BlockProfile):
        refuse({"--measure": measure or None}, "a profile in a file")
    elif not found.can_run:
        refuse({"--measure": measure or None}, "--device meta")
    with as_typed(("gradients", "optimizer"), size=budget.typed):
        check_gradients(gradients)
        check_optimizer(optimizer)
        profile = found if isinstance(found, BlockProfile) else found.profile()
        if repeat is not None:
            profile = _repeated(profile, repeat)
        bill = profile.bill(gradients=gradients, optimizer=optimizer)
        plan = _planned(profile, bill, _budget_of_a_step(budget, bill), gradients)
    rows = [_row(plan, row) for row in plan.rows]
    if measure and isinstance(found, OwnModel):
        _measure(found, plan, rows)
    if save is not None:
        write_atomically(save, plan.to_json().encode())
    return _as_data(name, plan, bill, rows)


def _planned(profile: BlockProfile, bill: Bill, budget_bytes: int, gradients: str) -> BlockPlan:
    try:
        return profile.plan(budget_bytes=budget_bytes, gradients=gradients)
    except ValueError as error:
        smallest, _ = profile.budgets(gradients)
        whole = _billed(bill, smallest)["total_bytes"]
        raise ValueError(
            f"{error}; with parameters, state of {bill.optimizer} and data, that is {whole} bytes in all"
        ) from None


def _repeated(profile: BlockProfile, repeat: str) -> BlockProfile:
    name, equals, times = repeat.rpartition("=")
    if not equals or not times.isdecimal():
        raise ValueError(f"--repeat must be a block and its number of repeats, such as layers.0=96, got {repeat!r}")
    try:
        return profile.repeated(name, int(times))
    except ValueError as error:
        raise ValueError(f"--repeat {repeat}: {error}") from None


def _budget_of_a_step(budget: BudgetOption, bill: Bill) -> int:
    left = budget.of_a_step(bill)
    if budget.total and left < bill.update_bytes:
        raise ValueError(
            f"{budget} leaves {left} bytes for a step, but gradients take {bill.update_bytes} bytes as the optimiser "
            "updates, whatever the plan"
        )
    return left


def _as_data(name: str, plan: BlockPlan, bill: Bill, rows: list[Row]) -> dict[str, Any]:
    return {
        "model": name,
        "blocks": len(plan.profile.blocks),
        "inputs": plan.profile.inputs,
        "gradients": plan.gradients,
        "budget_bytes": plan.budget_bytes,
        "predicted_peak_bytes": plan.predicted_peak_bytes,
        "allowance_bytes": plan.allowance_bytes,
        "smallest_budget_bytes": plan.smallest_budget_bytes,
        "schedule": plan.best.schedule,
        "work_ratio": plan.work,
        "rows": rows,
        "checkpoints": [_row(plan, row) for row in plan.checkpoints],
        "times_predicted_from": "the profile" if plan.profile.is_timed else "operations",
        "bill": _billed(bill, plan.predicted_peak_bytes + plan.allowance_bytes),
        "advice": plan.advice,
        "notes": list(plan.profile.notes),
    }


def _row(plan: BlockPlan, row: BlockRow) -> Row:
    return {
        "name": row.name,
        "schedule": row.schedule,
        "fits": row.fits,
        "best": row.schedule == plan.best.schedule,
        "predicted_peak_bytes": row.peak_bytes,
        "work_ratio": row.work,
        "predicted_time_ratio": row.slow_down,
    }


def _billed(bill: Bill, step_bytes: int) -> dict[str, Any]:
    return {
        "optimizer": bill.optimizer,
        "parameters_bytes": bill.parameters_bytes,
        "optimizer_state_bytes": bill.optimizer_state_bytes,
        "data_bytes": bill.data_bytes,
        "step_bytes": step_bytes,
        "update_bytes": bill.update_bytes,
        "total_bytes": bill.held_bytes + max(step_bytes, bill.update_bytes),
    }


def _measure(own: OwnModel, plan: BlockPlan, rows: list[Row]) -> None:
    """Add peaks and times of plain autograd, of the best of `torch.utils.checkpoint`, and of the plan."""
    from harness.analysis.time import paired_ratio  # takes a second to import, and only --measure needs it

    variants: dict[int, Any] = {}
    for number, row in enumerate(rows):
        match row["name"]:
            case model_rows.PLAIN:
                variants[number] = PLAIN
            case model_rows.CHECKPOINT:
                variants[number] = variant_of(row["schedule"])
        if row["best"]:
            variants[number] = {"plan": plan.to_json()}
    for number, variant in variants.items():
        rows[number]["peak_bytes"] = own.peak_bytes(variant, gradients=plan.gradients)
    seconds = dict(zip(variants, own.seconds(list(variants.values()), gradients=plan.gradients), strict=True))
    plain = next(number for number, variant in variants.items() if variant == PLAIN)
    for number in variants:
        rows[number] |= paired_ratio(seconds[number], seconds[plain])


def text(answer: Mapping[str, Any], width: int) -> Iterator[str]:
    """What is printed for people on a page of so many characters."""
    yield (
        f"{answer['model']}: {answer['blocks']} blocks, inputs {answer['inputs']}; a training step within "
        f"{in_full(answer['budget_bytes'])}, gradients {answer['gradients']}"
    )
    yield table(COLUMNS, answer["rows"], width=width)
    yield (
        "work and time: forward operations and time of a step, divided by those of plain autograd; "
        "time is predicted from "
        f"{answer['times_predicted_from']}"
    )
    yield (
        f"predicted peak {answer['predicted_peak_bytes']:,} bytes, and an allowance of {answer['allowance_bytes']:,}; "
        f"the smallest budget that can be met: {in_full(answer['smallest_budget_bytes'])}"
    )
    yield bill_line(answer["bill"])
    yield from (line for line in (answer["advice"], *answer["notes"]) if line)
