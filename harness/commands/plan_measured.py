"""The rows of a plan as plain data, with predicted times, and with measurements of the best."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace

from harness.execute.machine_lock import at_work
from harness.execute.process import run_in_subprocess
from harness.experiment.cell import Cell, own_cell
from harness.experiment.job import Job, Outcome, Row
from harness.experiment.measures import MEASURES
from harness.experiment.settings import TimeSettings
from networks.chain import Chain
from networks.planning.network_rows import PlanRow
from networks.planning.planner import Plan
from networks.schedules.foreign import Source
from networks.trace import Trace

STORE_ALL_ROW = "store_all"


def rows_by_name(found: Plan) -> dict[str, Row]:
    """The facts of each row of a plan that need no measurement, by the row's name."""
    return {row.name: _row(row, found.best, _traces(found)[STORE_ALL_ROW]) for row in found.rows}


def _traces(found: Plan) -> dict[str, Trace]:
    return {row.name: row.trace for row in found.rows if row.trace is not None}


def _row(row: PlanRow, best: PlanRow, store_all: Trace) -> Row:
    if row.trace is None or row.schedule is None:
        return {"name": row.name, "fits": False, "best": False, "reason": row.reason}
    return {
        "name": row.name,
        "schedule": row.schedule.__name__,
        "fits": row.fits,
        "best": row is best,
        "predicted_peak_bytes": row.predicted_peak_bytes,
        "allowance_bytes": row.allowance_bytes,
        "forward_steps": row.trace.forward_steps,
        "forward_flops": row.trace.forward_flops,
        "work_ratio": row.trace.forward_flops / store_all.forward_flops,
        "dominant_kind": row.dominant_kind,
        "peak_bytes_by_kind": row.trace.peak_bytes_by_kind,
    }


def rival_row(found: Plan) -> Row | None:
    """The facts of the rival that need no measurement. None if no parts fit."""
    return None if found.rival is None else {**asdict(found.rival), "work_ratio": 1.0}


def _cell(chain: Chain, schedule: str | None, *, dtype: str, sources: Iterable[Source] = ()) -> Cell:
    """A step by this schedule. None is store-all, by `Network`."""
    step = "backward" if chain.deltas_pile_up else "train_step"
    cell = own_cell(chain.layers, batch=chain.batch, dtype=dtype, step=step)
    return cell if schedule is None else cell.scheduled(schedule, sources)


def predict_times(found: Plan, to: dict[str, Row], rival: Row | None, *, dtype: str) -> list[str]:
    """Add `predicted_time_ratio`: time over store-all's, by the layers' matrix products as they are timed here.

    Those of the `rival` are timed on the rows of a part. Adding up the weight gradients of parts is not counted.

    Returns what went wrong, in lines for people.
    """
    traces = _traces(found)
    whole = _cell(traces[STORE_ALL_ROW].chain, None, dtype=dtype)
    parts = [] if rival is None else [replace(whole, batch=rival["micro_batch"])]
    outcome = _measured(Job(measure="products", cells=(whole, *parts)))
    if outcome.rows is None:
        return [f"time is not predicted, because no matrix products could be timed: {outcome.error}"]
    products, *of_parts = outcome.rows
    forward = {row["layer"]: row["forward_seconds"] for row in products}
    backward = sum(row["backward_seconds"] for row in products)

    def seconds(trace: Trace) -> float:
        return backward + sum(map(forward.__getitem__, trace.layers_run))

    for name, trace in traces.items():
        to[name]["predicted_time_ratio"] = seconds(trace) / seconds(traces[STORE_ALL_ROW])
    if rival is not None:
        part_seconds = sum(row["forward_seconds"] + row["backward_seconds"] for row in of_parts[0])
        times = whole.batch / rival["micro_batch"]
        rival["predicted_time_ratio"] = times * part_seconds / seconds(traces[STORE_ALL_ROW])
    return []


def _measured(job: Job) -> Outcome:
    with at_work(alone=not MEASURES[job.measure].counts_bytes):
        return run_in_subprocess(job)


def measure_best(found: Plan, to: dict[str, Row], *, dtype: str, sources: Sequence[Source] = ()) -> list[str]:
    """Add `memray_peak_bytes` and `time_ratio` with its interval to the best row and to store-all's.

    `sources` are the files of the best schedule.

    Returns a line for each problem.
    """
    from harness.analysis.time import paired_ratio  # takes a second to import, and only --measure needs it

    chain = _traces(found)[STORE_ALL_ROW].chain
    cells = {found.best.name: _cell(chain, found.schedule.__name__, dtype=dtype, sources=sources)}
    cells[STORE_ALL_ROW] = _cell(chain, None, dtype=dtype)
    notes = []
    for name, cell in cells.items():
        outcome = _measured(Job(measure="memory", cells=(cell,)))
        if outcome.rows is None:
            notes.append(f"the peak of {name} could not be measured: {outcome.error}")
        else:
            to[name]["memray_peak_bytes"] = outcome.rows[0][0]["memray_peak_bytes"]
    outcome = _measured(Job(measure="time", cells=tuple(cells.values()), settings=TimeSettings().model_dump()))
    if outcome.rows is None:
        return [*notes, f"time could not be measured: {outcome.error}"]
    seconds = {name: [row["step_seconds"] for row in rows] for name, rows in zip(cells, outcome.rows, strict=True)}
    for name in cells:
        to[name] |= paired_ratio(seconds[name], seconds[STORE_ALL_ROW])
    return notes
