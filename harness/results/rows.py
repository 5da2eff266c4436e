"""Makes the rows of a table from a job and its outcome, with predictions beside measurements."""

from harness.experiment.cell import Cell
from harness.experiment.job import AnyCell, Job, Outcome
from harness.experiment.measures import TABLES
from harness.experiment.prediction import trace_of
from harness.results.store import Row

PREDICTED = ("forward_steps", "forward_flops", "hits", "misses", "peak_cached_layers")
"""Counts that a dry run also knows, so a cell has them even if it could not be measured."""


def rows_of(job: Job, outcome: Outcome) -> list[Row]:
    """The rows of a job's table. A failed job has one row for each cell, with the reason."""
    measured = [[{}] for _ in job.cells] if outcome.rows is None else outcome.rows
    return [
        {
            **key_columns(job.measure, cell, outcome.status),
            **_beside_prediction(job, cell, row),
            "error": outcome.error,
        }
        for cell, rows in zip(job.cells, measured, strict=True)
        for row in rows
    ]


def key_columns(measure: str, cell: AnyCell, status: str) -> Row:
    """The values of the columns that identify the cell in a measure's table."""
    return {name: status if name == "status" else getattr(cell, name) for name in TABLES[measure].of_cell}


def _beside_prediction(job: Job, cell: Cell, row: Row) -> Row:
    if not TABLES[job.measure].predicted or cell.peer is not None:
        return row
    trace = trace_of(cell)
    predicted = {
        "predicted_peak_bytes": trace.peak_bytes,
        **{f"predicted_{phase}_peak_bytes": nbytes for phase, nbytes in trace.peak_bytes_by_phase.items()},
    }
    if not row:
        return {**{name: getattr(trace, name) for name in PREDICTED}, **predicted}
    return {**row, **predicted, "residual_bytes": row["memray_peak_bytes"] - trace.peak_bytes}
