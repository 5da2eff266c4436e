"""The plan of dense layers: a budget of bytes in, a schedule out, with its cost and its rivals'."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from threading import Timer
from typing import Any

from rich.console import Console
from rich.status import Status
from rich.text import Text

from harness.commands.names import STEP_OPTIONS, as_typed
from harness.commands.plan_measured import measure_best, predict_times, rival_row, rows_by_name
from harness.commands.plan_parts import BudgetOption, bill_line, in_full, table, told_ratio
from harness.commands.schedule_text import searches_for, step_cell
from harness.commands.tables import Columns
from harness.experiment.job import Row
from harness.sizes import format_bytes
from networks.chain import Chain
from networks.checks import check_count, check_dtype
from networks.layer_lists import format_layers, parse_layers
from networks.planning.bill import Bill, bill
from networks.planning.network_rows import WORDS
from networks.planning.planner import Plan, max_depths, plan
from networks.planning.searches import Search
from networks.schedules.foreign import Source
from networks.schedules.spec import is_strange

DEPTH_LIMIT = 1024
PATIENCE_SECONDS = 2


def _filled(key: str, write: Callable[[Any], str]) -> Callable[[Row], str]:
    return lambda row: write(row[key]) if key in row else ""


COLUMNS: Columns = {
    "schedule": lambda row: row["schedule"] if "schedule" in row else row["name"],
    "fits": lambda row: "best" if row["best"] else "yes" if row["fits"] else "no",
    "predicted peak": _filled("predicted_peak_bytes", format_bytes),
    "allowance": _filled("allowance_bytes", format_bytes),
    "mostly": _filled("dominant_kind", WORDS.__getitem__),
    "forward steps": _filled("forward_steps", "{:,}".format),
    "work": _filled("work_ratio", "{:.3f}".format),
    "time": _filled("predicted_time_ratio", "{:.3f}".format),
    "measured peak": _filled("memray_peak_bytes", format_bytes),
    "measured time": told_ratio,
}
TIED = ("forward_flops", "predicted_peak_bytes")
"""What rows that tie have in common."""


def text(answer: Mapping[str, Any], width: int) -> Iterator[str]:
    """What is printed for people on a page of so many characters."""
    yield (
        f"layers {answer['layers']}, batch {answer['batch']:,}, {answer['dtype']}: "
        f"a training step ({answer['step']}) within {in_full(answer['budget_bytes'])}"
    )
    yield table(COLUMNS, answer["rows"], width=width)
    yield "work: forward operations, divided by those of store-all"
    if any("predicted_time_ratio" in row for row in answer["rows"]):
        yield "time: step time, divided by that of store-all; predicted from matrix products that are timed here"
    yield from (f"{row['name']}: {row['reason']}" for row in answer["rows"] if "reason" in row)
    named = answer["schedule"]
    yield f"best: {named if is_strange(named) else f'NetworkWithCheckpointing(layers, schedule={named})'}"
    yield from _tie(answer["rows"])
    yield from _rival(answer["rival"])
    yield f"the smallest budget that can be met: {in_full(answer['smallest_budget_bytes'])}"
    yield bill_line(answer["bill"])
    if "max_depths" in answer:
        depths = ", ".join(f"{name} {_depth(depth)}" for name, depth in answer["max_depths"].items())
        yield f"hidden layers of {answer['max_depth_width']} that fit: {depths}"
    yield from (line for line in (answer["advice"], *answer["notes"]) if line)


def _tie(rows: Sequence[Row]) -> Iterator[str]:
    """A line on the rows that are as good as the best, where the best is optimal."""
    (best,) = (row for row in rows if row["best"])
    others = (row for row in rows if row["fits"] and row is not best)
    even = [row["name"] for row in others if all(row[figure] == best[figure] for figure in TIED)]
    if even and best["name"] == "optimal":
        yield f"{', '.join(even)} and optimal tie in work and peak; a tie goes to optimal"


def _rival(rival: Row | None) -> Iterator[str]:
    if rival is None:
        yield "without recomputation: no train_step of Network(layers) fits, not even with micro_batch=1"
        return
    parts = rival["parts"]
    options, told = (
        ("..", "") if parts == 1 else (f".., micro_batch={rival['micro_batch']}", f", the batch in {parts:,} parts")
    )
    yield f"without recomputation: Network(layers).train_step({options}) fits{told}"
    time = _filled("predicted_time_ratio", ", time {:.3f}".format)(rival)
    peak, allowance = format_bytes(rival["predicted_peak_bytes"]), format_bytes(rival["allowance_bytes"])
    yield f"its predicted peak {peak}, allowance {allowance}, work {rival['work_ratio']:.3f}{time}"


def _depth(depth: int) -> str:
    return f"{depth:,} or more" if depth == DEPTH_LIMIT else f"{depth:,}"


@dataclass(frozen=True)
class TrainingOptions:
    """The training to plan, as it was typed. Only the bill needs the last two.

    Attributes:
        layers: widths as text, such as 64,512x3,10.
        batch: rows of the input.
        dtype: float32 or float64, in any of NumPy's spellings.
        step: backward or train_step.
        optimizer: its name in `OPTIMIZERS`.
        samples: rows of data; None is one batch.
    """

    layers: str
    batch: int
    dtype: str
    step: str
    optimizer: str
    samples: int | None

    @property
    def options(self) -> dict[str, Any]:
        """What a step is beside its layers."""
        return {"batch": self.batch, "dtype": self.dtype, "step": self.step}

    def chain(self, widths: tuple[int, ...]) -> Chain:
        """Check the step, and return the chain that it trains with these widths."""
        batch, itemsize = check_count("batch", self.batch), check_dtype(self.dtype).itemsize
        return Chain(widths, batch, itemsize, deltas_pile_up=self.step != "train_step")


def answer(
    asked: TrainingOptions, budget: BudgetOption, *, schedules: Sequence[str], max_depth: bool, measure: bool
) -> dict[str, Any]:
    """Plan a training step, and return the answer as plain data. Raises ValueError if nothing fits.

    Each of `schedules` has a row beside ours. With `max_depth` the deepest network that fits is planned.
    """
    also: dict[str, Search] = {}
    sources: tuple[Source, ...] = ()
    if schedules:
        also, sources = searches_for(schedules, step_cell(asked.layers, **asked.options), budget.nbytes)
    with as_typed((*STEP_OPTIONS, "optimizer", "samples"), size=budget.typed):
        widths, dtype = parse_layers(asked.layers), check_dtype(asked.dtype).name
        deepest = _max_depths(widths, budget, also=also, **asked.options) if max_depth else {}
        if deepest:
            depth = max(1, *deepest["max_depths"].values())  # what does not fit says why
            widths = (widths[0], *[widths[1]] * depth, widths[-1])
        chain = asked.chain(widths)
        held = bill(chain, samples=asked.samples, optimizer=asked.optimizer)
        found = _planned(chain, held, budget, dtype=dtype, step=asked.step, also=also)
    rows, rival = rows_by_name(found), rival_row(found)
    notes = predict_times(found, rows, rival, dtype=dtype)
    if measure:
        notes += measure_best(found, rows, dtype=dtype, sources=sources)
    return {
        "layers": format_layers(widths),
        **asked.options,
        "dtype": dtype,
        "budget_bytes": budget.of_a_step(held),
        "smallest_budget_bytes": found.smallest_budget_bytes,
        "schedule": found.schedule.__name__,
        "micro_batch": found.micro_batch,
        "rival": rival,
        "rows": list(rows.values()),
        "bill": _whole_bill(chain, held, found),
        "advice": found.advice,
        "notes": notes,
        **deepest,
    }


def _planned(chain: Chain, held: Bill, budget: BudgetOption, **options: Any) -> Plan:
    """The plan within the bytes that `budget` leaves for a step. An error names them if the budget is a total."""
    budget_bytes = budget.of_a_step(held)
    left = f"{budget} leaves {budget_bytes} bytes"
    try:
        with _patience("planning: deep chains take up to minutes"):
            found = plan(chain.layers, batch=chain.batch, budget_bytes=budget_bytes, **options)
    except ValueError as error:
        raise ValueError(f"{left} for a step: {error}" if budget.total else str(error)) from None
    update_bytes = _whole_bill(chain, held, found)["update_bytes"]
    if budget.total and update_bytes > budget_bytes:
        raise ValueError(
            f"{left}, but after a step {held.optimizer} takes {update_bytes} bytes to update the parameters, whatever "
            "the schedule: fewer or narrower layers lower that"
        )
    return found


def _whole_bill(chain: Chain, held: Bill, found: Plan) -> dict[str, Any]:
    """The bytes that are held between steps, and those that a step and an update take as well."""
    step_bytes = found.predicted_peak_bytes + found.allowance_bytes
    update_bytes = held.update_bytes + found.allowance_bytes if chain.deltas_pile_up else 0
    return {
        **asdict(held),
        "step_bytes": step_bytes,
        "update_bytes": update_bytes,
        "total_bytes": held.held_bytes + max(step_bytes, update_bytes),
    }


def _max_depths(widths: Sequence[int], budget: BudgetOption, **options: Any) -> dict[str, Any]:
    """For each schedule, how many hidden layers of the one width in `widths` fit into `budget`."""
    if budget.total or len(set(widths[1:-1])) != 1:
        raise ValueError("--max-depth needs --budget and hidden layers of one width, such as --layers 64,512,10")
    options |= {"budget_bytes": budget.nbytes, "limit": DEPTH_LIMIT}
    with _patience("searching the depths that fit") as tell:
        depths = max_depths(
            *(widths[0], widths[1], widths[-1]),
            **options,
            on_probe=lambda name, depth: tell(f"{name}, {depth:,} hidden layers"),
        )
    return {"max_depth_width": widths[1], "max_depths": depths}


@contextmanager
def _patience(line: str) -> Iterator[Callable[[str], None]]:
    """Say on stderr what is going on: on a terminal at once and with progress, elsewhere only if it takes long."""
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
