"""Tries schedules of others by dry run, before anything is measured or planned. This is no measurement."""

import faulthandler
import inspect
from dataclasses import replace

from harness.experiment.cell import Cell
from harness.experiment.job import Job, Row
from harness.experiment.prediction import trace_of
from networks.planning.searches import search_named
from networks.schedules.foreign import announced, line_of, passed_by
from networks.schedules.replay import replay
from networks.schedules.spec import Call, calls_in, parse_schedule
from networks.wording import cut, in_a_line


def check_schedules(job: Job) -> list[list[Row]]:
    """The `problem` of each cell's schedule, if it has one. The process ends if a schedule takes too long.

    With `budget_bytes` in the settings, the schedule is the one that a plan finds within that budget.
    """
    rows: list[list[Row]] = []
    for cell in job.cells:
        faulthandler.dump_traceback_later(job.settings["seconds"], exit=True)
        problem = _problem(cell, job.settings["budget_bytes"])
        rows.append([{"problem": problem}] if problem else [])
    faulthandler.cancel_dump_traceback_later()
    return rows


def _problem(cell: Cell, budget_bytes: int | None) -> str:
    """The first problem of a cell's schedule: of the strangers in it, the innermost first, or of the whole."""
    assert cell.schedule is not None
    whole, *inner = calls_in(cell.schedule)
    strangers = [call for call in reversed(inner) if call.place or call.name in announced()]
    for call in (*strangers, whole):
        if problem := _problem_of(replace(cell, schedule=str(call)), call, budget_bytes):
            return problem
    return ""


def _problem_of(cell: Cell, call: Call, budget_bytes: int | None) -> str:
    try:
        if budget_bytes is None:
            schedule = parse_schedule(str(call), cell.sources)
        else:
            search = search_named(str(call), cell.sources)
    except ValueError as error:
        return str(error)
    asked: object = None
    try:
        if budget_bytes is not None:
            try:
                schedule = search(cell.chain, budget_bytes)
            except ValueError:
                return ""  # nothing fits, and its row of the plan says so
        asked = inspect.unwrap(schedule)
        keep = schedule(cell.chain)
        asked = keep if callable(keep) else asked
        trace = trace_of(replace(cell, schedule=schedule.__name__))
        if cell.micro_batch is None:
            again = replay(cell.chain, keep)
            if (again.peak_bytes, again.forward_steps) != (trace.peak_bytes, trace.forward_steps):
                raise ValueError(f"{call} answers the same question differently when it is asked again")
    except Exception as error:
        return _told(error, call, cell, asked)
    return ""


def _told(error: Exception, call: Call, cell: Cell, asked: object) -> str:
    """An error in a line: its place and its message. The place is where it was raised, or the function `asked`."""
    if not call.is_strange:
        return f"{call} cannot serve layers {cut(cell.layers)}: {error}"
    line = line_of(asked)
    where = passed_by(error, call.code) or (call.code if line is None else f"{call.code}:{line}")
    said = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
    return f"{where}: {in_a_line(said)}, with layers {cut(cell.layers)} and a batch of {cell.batch}"
