"""The command that finds a schedule for a budget of bytes, and says what it and its rivals cost."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from threading import Timer
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from harness.bill import OPTIMIZERS, Bill, bill
from harness.cell import Cell, Job
from harness.executors import Outcome, run_in_subprocess
from harness.machine_lock import at_work
from harness.names import STEP_OPTIONS, as_typed
from harness.page import page
from harness.pool import BESIDE_OTHERS
from harness.sizes import format_bytes, parse_bytes
from networks.chain import Chain
from networks.dry_run import Trace
from networks.layer_lists import check_count, format_layers, parse_layers
from networks.planner import Plan, Row, max_depths, plan
from networks.validation import check_dtype

STORE_ALL = "store_all"
TIME_SETTINGS = {"repeats": 15, "order_seed": 0}
DEPTH_LIMIT = 1024
PATIENCE_SECONDS = 2

Record = dict[str, Any]


def records(found: Plan) -> dict[str, Record]:
    """What is known without measuring of each row, by name."""
    store_all = next(row for row in found.rows if row.name == STORE_ALL)
    return {row.name: _record(row, found.best, store_all) for row in found.rows}


def _record(row: Row, best: Row, store_all: Row) -> Record:
    if row.trace is None:
        return {"name": row.name, "fits": False, "best": False, "reason": row.reason}
    return {
        "name": row.name,
        "schedule": row.schedule.__name__,
        "fits": row.fits,
        "best": row is best,
        "predicted_peak_bytes": row.predicted_peak_bytes,
        "allowance_bytes": row.allowance_bytes,
        "forward_steps": row.forward_steps,
        "forward_flops": row.forward_flops,
        "work_ratio": row.forward_flops / store_all.forward_flops,
        "dominant_kind": row.dominant_kind,
        "peak_bytes_by_kind": row.trace.peak_bytes_by_kind,
    }


def _cell(row: Row, *, dtype: str) -> Cell:
    chain, store_all = row.trace.chain, row.name == STORE_ALL
    step = "backward" if chain.deltas_pile_up else "train_step"
    return Cell(
        network="Network" if store_all else "NetworkWithCheckpointing",
        layers=format_layers(chain.layers),
        batch=chain.batch,
        dtype=dtype,
        activation="relu",
        checkpoint_frequency=None,
        recompute=None,
        schedule=None if store_all else row.schedule.__name__,
        step=step,
        seed=0,
    )


def predict_times(found: Plan, to: dict[str, Record], *, dtype: str) -> list[str]:
    """Add `predicted_time_ratio`: time over store-all's, by the layers' matrix products as they are timed here.

    Returns what went wrong, in lines for people.
    """
    traces = {row.name: row.trace for row in found.rows if row.trace is not None}
    (store_all,) = (_cell(row, dtype=dtype) for row in found.rows if row.name == STORE_ALL)
    outcome = _measured(Job(measure="products", cells=(store_all,)))
    if outcome.rows is None:
        return [f"time is not predicted, because no matrix products could be timed: {outcome.error}"]
    (products,) = outcome.rows
    forward = {row["layer"]: row["forward_seconds"] for row in products}
    backward = sum(row["backward_seconds"] for row in products)

    def seconds(trace: Trace) -> float:
        return backward + sum(forward[event.layer] for event in trace.timeline if event.action == "forward")

    for name, trace in traces.items():
        to[name]["predicted_time_ratio"] = seconds(trace) / seconds(traces[STORE_ALL])
    return []


def _measured(job: Job) -> Outcome:
    with at_work(alone=job.measure not in BESIDE_OTHERS):
        return run_in_subprocess(job)


def measure_best(found: Plan, to: dict[str, Record], *, dtype: str) -> list[str]:
    """Add `memray_peak_bytes` and `time_ratio` with its interval to the best row and to store-all's.

    Returns what went wrong, in lines for people.
    """
    from harness.analysis import median_interval  # imports pandas and scipy, for which only who measures waits

    cells = {row.name: _cell(row, dtype=dtype) for row in found.rows if row.name == STORE_ALL or row is found.best}
    notes = []
    for name, cell in cells.items():
        outcome = _measured(Job(measure="memory", cells=(cell,)))
        if outcome.rows is None:
            notes.append(f"the peak of {name} could not be measured: {outcome.error}")
        else:
            to[name]["memray_peak_bytes"] = outcome.rows[0][0]["memray_peak_bytes"]
    outcome = _measured(Job(measure="time", cells=tuple(cells.values()), settings=TIME_SETTINGS))
    if outcome.rows is None:
        return [*notes, f"time could not be measured: {outcome.error}"]
    seconds = {name: [row["step_seconds"] for row in rows] for name, rows in zip(cells, outcome.rows, strict=True)}
    for name in cells:
        ratios = sorted(own / base for own, base in zip(seconds[name], seconds[STORE_ALL], strict=True))
        low, high = map(float, median_interval(ratios))
        to[name] |= {"time_ratio": ratios[len(ratios) // 2], "time_ratio_low": low, "time_ratio_high": high}
    return notes


def _filled(key: str, write: Callable[[Any], str]) -> Callable[[Record], str]:
    return lambda record: write(record[key]) if key in record else ""


COLUMNS: dict[str, Callable[[Record], str]] = {
    "schedule": lambda record: record.get("schedule", record["name"]),
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
    yield Text(f"best: NetworkWithCheckpointing(layers, schedule={answer['schedule']})")
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
    parts = -(-batch // micro_batch)
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


def plan_command(
    layers: Annotated[str, typer.Option(metavar="WIDTHS", help="Such as 64,512,64x6,256x12,10.")],
    batch: Annotated[int, typer.Option(metavar="ROWS", help="Rows of the input.")],
    budget: Annotated[str | None, typer.Option(metavar="SIZE", help="Of a step's peak: 24MiB, 1.5GB, bytes.")] = None,
    budget_total: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Of the whole bill, instead of --budget.")
    ] = None,
    dtype: Annotated[str, typer.Option(help="float32 or float64.")] = "float32",
    step: Annotated[str, typer.Option(help="backward, or train_step, which frees deltas as it goes.")] = "backward",
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
    """
    with as_typed(STEP_OPTIONS, size=budget or budget_total):
        if (budget is None) == (budget_total is None):
            one = "one" if budget is None else "only one"
            raise ValueError(f"{one} of --budget and --budget-total must be given")
        widths = parse_layers(layers)
        dtype = check_dtype(dtype).name
        piling_up = step != "train_step"
        depths: dict[str, int] = {}
        if max_depth:
            depths = _max_depths(widths, budget, batch=batch, dtype=dtype, step=step)
            inputs, width, *_, outputs = widths
            widths = (inputs, *[width] * max(1, *depths.values()), outputs)  # what does not fit says why
        chain = Chain(widths, check_count("batch", batch), check_dtype(dtype).itemsize, deltas_pile_up=piling_up)
        held = bill(chain, samples=samples, optimizer=optimizer)
        budget_bytes = _budget_of_a_step(budget, budget_total, held)
        try:
            with _patience("planning: deep chains take up to minutes"):
                found = plan(widths, batch=batch, budget_bytes=budget_bytes, dtype=dtype, step=step)
        except ValueError as error:
            left = f"--budget-total {budget_total} leaves {budget_bytes} bytes for a step: " if budget is None else ""
            raise ValueError(f"{left}{error}") from None
        step_bytes = found.predicted_peak_bytes + found.allowance_bytes
        update_bytes = held.update_bytes + found.allowance_bytes if piling_up else 0
        if budget is None and update_bytes > budget_bytes:
            raise ValueError(
                f"--budget-total {budget_total} leaves {budget_bytes} bytes, but after a step {optimizer} takes "
                f"{update_bytes} bytes to update the parameters, whatever the schedule: fewer or narrower layers "
                "lower that"
            )
    rows = records(found)
    notes = predict_times(found, rows, dtype=dtype)
    if measure:
        notes += measure_best(found, rows, dtype=dtype)
    answer: dict[str, Any] = {
        "layers": format_layers(widths),
        "batch": batch,
        "dtype": dtype,
        "step": step,
        "budget_bytes": budget_bytes,
        "smallest_budget_bytes": found.smallest_budget_bytes,
        "schedule": found.schedule.__name__,
        "micro_batch": found.micro_batch,
        "rows": list(rows.values()),
        "bill": {
            **asdict(held),
            "step_bytes": step_bytes,
            "update_bytes": update_bytes,
            "total_bytes": held.held_bytes + max(step_bytes, update_bytes),
        },
        "advice": found.advice,
        "notes": notes,
    }
    if max_depth:
        answer |= {"max_depth_width": width, "max_depths": depths}
    if as_json:
        print(json.dumps(answer, indent=2))
        return
    for part in text(answer):
        page().print(part)


def _max_depths(widths: Sequence[int], budget: str | None, **options: Any) -> dict[str, int]:
    """How many hidden layers, of the one width that `widths` has, fit into `budget`, for each schedule."""
    if budget is None or len(set(widths[1:-1])) != 1:
        raise ValueError("--max-depth needs --budget and hidden layers of one width, such as --layers 64,512,10")
    budget_bytes = parse_bytes(budget, name="--budget")
    with _patience("searching the depths that fit: each that is tried is planned"):
        return max_depths(widths[0], widths[1], widths[-1], budget_bytes=budget_bytes, limit=DEPTH_LIMIT, **options)


@contextmanager
def _patience(line: str) -> Iterator[None]:
    """Say on stderr what is going on where it takes over two seconds."""
    timer = Timer(PATIENCE_SECONDS, print, args=[line], kwargs={"file": sys.stderr})
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _budget_of_a_step(budget: str | None, budget_total: str | None, held: Bill) -> int:
    if budget is not None:
        return parse_bytes(budget, name="--budget")
    left = parse_bytes(budget_total, name="--budget-total") - held.held_bytes
    if left < 1:
        raise ValueError(
            f"--budget-total {budget_total} leaves nothing for a step: parameters take {held.parameters_bytes} bytes, "
            f"the optimiser's state {held.optimizer_state_bytes} bytes and the data {held.data_bytes} bytes"
        )
    return left
