"""From a job and what its worker answered to the rows of a table, the prediction beside what was measured."""

from harness.cell import Cell, Job
from harness.executors import Outcome
from harness.store import Row
from networks import Trace, dry_run


def predict(cell: Cell) -> Trace:
    """What one training step of `cell` would do, by dry run."""
    return dry_run(cell.widths, batch=cell.batch, dtype=cell.dtype, **cell.checkpointing)


def rows_of(job: Job, outcome: Outcome) -> list[Row]:
    """The rows of a job's table: those measured, or one for each cell with the reason why there are none."""
    failed = outcome.rows is None
    status, measured = ("failed", [[{}] for _ in job.cells]) if failed else ("ok", outcome.rows)
    return [
        {**cell.key_columns(status), **_against_prediction(job, cell, row), "error": outcome.error}
        for cell, rows in zip(job.cells, measured, strict=True)
        for row in rows
    ]


def _against_prediction(job: Job, cell: Cell, row: Row) -> Row:
    if job.measure != "memory":
        return row
    predicted = predict(cell).peak_bytes
    residual = {"residual_bytes": row["memray_peak_bytes"] - predicted} if row else {}
    return {**row, "predicted_peak_bytes": predicted, **residual}
