"""The command that finds a schedule for a budget of bytes, and says what it costs."""

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.cell import Cell, Job
from harness.executors import run_in_subprocess
from harness.sizes import format_bytes, parse_bytes
from networks.dry_run import Trace
from networks.layer_lists import format_layers, parse_layers
from networks.planner import Plan, Row, max_depths, plan
from networks.validation import check_dtype

OPTIMIZER_STATES = {"sgd": 0, "momentum": 1, "adam": 2}
"""Arrays of the size of the parameters that each optimiser holds."""

LABEL_BYTES = 8
REPEATS = 15
PAGE_COLUMNS = 150
"""Characters of a line where the output is not a terminal."""


@dataclass(frozen=True)
class Bill:
    """Bytes held through a training beside the peak of a step; `optimizer` chooses the state that is counted."""

    parameters_bytes: int
    states_bytes: Mapping[str, int]
    data_bytes: int
    optimizer: str

    @property
    def total_bytes(self) -> int:
        """All of it, with the chosen optimiser's state."""
        return self.parameters_bytes + self.states_bytes[self.optimizer] + self.data_bytes


def bill(widths: list[int], *, batch: int, samples: int | None, dtype: str, optimizer: str) -> Bill:
    """What training `widths` holds all the time; the data are `samples` rows and labels, or else one batch."""
    if optimizer not in OPTIMIZER_STATES:
        raise ValueError(f"--optimizer must be one of {', '.join(OPTIMIZER_STATES)}, got {optimizer!r}")
    if samples is not None and samples < 1:
        raise ValueError(f"--samples must be an integer of at least 1, got {samples}")
    itemsize = check_dtype(dtype).itemsize
    parameters = sum((inputs + 1) * outputs * itemsize for inputs, outputs in pairwise(widths))
    states = {name: arrays * parameters for name, arrays in OPTIMIZER_STATES.items()}
    data = (samples or batch) * (widths[0] * itemsize + LABEL_BYTES)
    return Bill(parameters, states, data, optimizer)


def _ask(job: Job) -> list[list[dict[str, Any]]]:
    outcome = run_in_subprocess(job)
    if outcome.rows is None:
        raise ValueError(f"the {job.measure} could not be measured: {outcome.error}")
    return outcome.rows


def _cell(layers: str, *, batch: int, dtype: str, schedule: str | None) -> Cell:
    return Cell(
        network="Network" if schedule is None else "NetworkWithCheckpointing",
        layers=layers,
        batch=batch,
        dtype=dtype,
        activation="relu",
        checkpoint_frequency=None,
        recompute=None,
        schedule=schedule,
        seed=0,
    )


def _slow_downs(rows: tuple[Row, ...], store_all: Cell) -> dict[str, float]:
    """Predicted time over store-all's, from this machine's times of the layers' matrix products."""
    (products,) = _ask(Job(measure="products", cells=(store_all,)))
    forward = {row["layer"]: row["forward_seconds"] for row in products}
    backward = sum(row["backward_seconds"] for row in products)

    def seconds(trace: Trace) -> float:
        return backward + sum(forward[event.layer] for event in trace.timeline if event.action == "forward")

    everything = backward + sum(forward.values())
    return {row.name: seconds(row.trace) / everything for row in rows if row.trace is not None}


def _measure(best: Cell, store_all: Cell) -> dict[str, Any]:
    """memray's peak of `best` and its time over store-all's, with the interval of the median."""
    from harness.analysis import median_interval  # imports pandas and scipy: only who measures waits for them

    ((memory,),) = _ask(Job(measure="memory", cells=(best,)))
    settings = {"repeats": REPEATS, "order_seed": 0}
    times = _ask(Job(measure="time", cells=(store_all, best), settings=settings))
    base, own = ([row["step_seconds"] for row in rows] for rows in times)
    ratios = [after / before for before, after in zip(base, own, strict=True)]
    low, high = median_interval(ratios)
    return {
        "memray_peak_bytes": memory["memray_peak_bytes"],
        "time_ratio": median(ratios),
        "time_ratio_low": float(low),
        "time_ratio_high": float(high),
        "repeats": REPEATS,
    }


def _record(row: Row, found: Plan, slow_downs: Mapping[str, float], store_all_flops: int) -> dict[str, Any]:
    if row.trace is None:
        return {"name": row.name, "fits": False, "best": False, "reason": row.reason}
    return {
        "name": row.name,
        "schedule": row.schedule.__name__,
        "fits": row.fits,
        "best": row.schedule is found.schedule,
        "predicted_peak_bytes": row.predicted_peak_bytes,
        "allowance_bytes": row.allowance_bytes,
        "forward_steps": row.forward_steps,
        "forward_flops": row.forward_flops,
        "work_ratio": row.forward_flops / store_all_flops,
        "predicted_time_ratio": slow_downs[row.name],
        "dominant_kind": row.dominant_kind,
        "peak_bytes_by_kind": row.trace.peak_bytes_by_kind,
    }


def _text(answer: Mapping[str, Any]) -> Iterator[Text | Table]:
    yield Text(
        f"layers {answer['layers']}, batch {answer['batch']:,}, {answer['dtype']}: "
        f"a step within {answer['budget_bytes']:,} bytes ({format_bytes(answer['budget_bytes'])})"
    )
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    table.add_column("schedule")
    for column in ("fits", "predicted peak", "allowance", "forward steps", "work", "time, predicted"):
        table.add_column(column, justify="right")
    table.add_column("mostly")
    for row in answer["rows"]:
        table.add_row(*_cells(row), style="bold" if row["best"] else None)
    yield table
    yield Text(
        "work: forward operations over store-all's; time: of the matrix products alone, as this machine takes for them"
    )
    if "measured" in answer:
        measured = answer["measured"]
        yield Text(
            f"measured: memray peak {measured['memray_peak_bytes']:,} bytes "
            f"({answer['budget_bytes'] - measured['memray_peak_bytes']:,} under the budget), time "
            f"{measured['time_ratio']:.3f} of store-all's [{measured['time_ratio_low']:.3f}, "
            f"{measured['time_ratio_high']:.3f}], {measured['repeats']} pairs"
        )
    held = answer["bill"]
    states = ", ".join(f"{name} {format_bytes(nbytes)}" for name, nbytes in held["states_bytes"].items())
    yield Text(
        f"beside the step: parameters {format_bytes(held['parameters_bytes'])}, optimiser state ({states}), data "
        f"{format_bytes(held['data_bytes'])}; with {held['optimizer']} and the best step "
        f"{format_bytes(held['total_bytes'])} in all"
    )
    if "max_depths" in answer:
        depths = ", ".join(f"{name} {depth}" for name, depth in answer["max_depths"].items())
        yield Text(f"most hidden layers of width {answer['max_depth_width']} within the budget: {depths}")
    if answer["advice"]:
        yield Text(answer["advice"])


def _cells(row: Mapping[str, Any]) -> list[str]:
    if "schedule" not in row:
        return ["", row["name"], "no", "", "", "", "", "", row["reason"]]
    return [
        "→" if row["best"] else "",
        row["schedule"],
        "yes" if row["fits"] else "no",
        format_bytes(row["predicted_peak_bytes"]),
        format_bytes(row["allowance_bytes"]),
        f"{row['forward_steps']:,}",
        f"{row['work_ratio']:.3f}",
        f"{row['predicted_time_ratio']:.3f}",
        row["dominant_kind"].replace("_", " "),
    ]


def plan_command(
    layers: Annotated[str, typer.Option(metavar="WIDTHS", help="Such as 64,512,64x6,256x12,10.")],
    batch: Annotated[int, typer.Option(metavar="ROWS", help="Rows of the input.")],
    budget: Annotated[str | None, typer.Option(metavar="SIZE", help="Of a step's peak: 24MiB, 1.5GB, bytes.")] = None,
    budget_total: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Of the sum: parameters, optimiser, data, step.")
    ] = None,
    dtype: Annotated[str, typer.Option(help="float32 or float64.")] = "float32",
    optimizer: Annotated[str, typer.Option(help=f"For the bill: {', '.join(OPTIMIZER_STATES)}.")] = "sgd",
    samples: Annotated[int | None, typer.Option(help="Rows of data held in memory; else one batch.")] = None,
    max_depth: Annotated[
        bool, typer.Option("--max-depth", help="Also: how many hidden layers of the widest width would fit.")
    ] = False,
    measure: Annotated[
        bool,
        typer.Option("--measure", help="Run the best one under memray, and beside store-all under the clock."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON; sizes are whole bytes.")] = False,
) -> None:
    """Find the schedule that trains a network with the least work within a budget of bytes.

    The budget bounds the peak that memray measures over one training step: the prediction, plus an allowance for the
    interpreter's own objects. One line for each kind of schedule; the arrow marks the best. Exit code 2 where no
    schedule fits; the message says which budget would do.
    """
    if (budget is None) == (budget_total is None):
        raise ValueError("one of --budget and --budget-total must be given")
    widths = parse_layers(layers)
    held = bill(widths, batch=batch, samples=samples, dtype=dtype, optimizer=optimizer)
    budget_bytes = parse_bytes(budget or budget_total)
    if budget is None:
        if budget_bytes <= held.total_bytes:
            raise ValueError(
                f"--budget-total {budget_total} leaves nothing for a step: parameters, {optimizer} state and data take "
                f"{held.total_bytes} bytes"
            )
        budget_bytes -= held.total_bytes
    found = plan(widths, batch=batch, budget_bytes=budget_bytes, dtype=dtype)
    short = format_layers(widths)
    store_all = _cell(short, batch=batch, dtype=dtype, schedule=None)
    slow_downs = _slow_downs(found.rows, store_all)
    store_all_flops = min(row.forward_flops for row in found.rows if row.trace is not None)
    answer: dict[str, Any] = {
        "layers": short,
        "batch": batch,
        "dtype": dtype,
        "budget_bytes": budget_bytes,
        "rows": [_record(row, found, slow_downs, store_all_flops) for row in found.rows],
        "bill": {
            "parameters_bytes": held.parameters_bytes,
            "states_bytes": held.states_bytes,
            "data_bytes": held.data_bytes,
            "optimizer": optimizer,
            "total_bytes": held.total_bytes + found.predicted_peak_bytes + found.allowance_bytes,
        },
        "advice": found.advice,
    }
    if max_depth:
        width = max(widths[1:-1], default=widths[0])
        answer["max_depth_width"] = width
        answer["max_depths"] = max_depths(
            widths[0], width, widths[-1], batch=batch, budget_bytes=budget_bytes, dtype=dtype
        )
    if measure:
        best = _cell(short, batch=batch, dtype=dtype, schedule=found.schedule.__name__)
        answer["measured"] = _measure(best, store_all)
    if as_json:
        print(json.dumps(answer, indent=2))
        return
    console = Console(highlight=False, width=None if sys.stdout.isatty() else PAGE_COLUMNS)
    for part in _text(answer):
        console.print(part)
