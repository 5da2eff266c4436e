"""Checks of a worker's answer: each cell has rows, with the columns of the table and values of their types."""

from collections.abc import Callable, Iterator
from typing import Any

from harness.experiment.cell import Cell
from harness.experiment.columns import Column, Table
from harness.experiment.job import Job
from harness.experiment.measures import TABLES
from networks.wording import shown

_MACHINE_ID = Column(name="machine_id", description="Which of its kind the machine is; empty where unknown.")
_SECONDS = [
    Column(name=name, description="Of a layer's products.", type="number", minimum=0)
    for name in ("forward_seconds", "backward_seconds")
]


def nonsense(job: Job, answered: Any) -> str:
    """A line that says what is wrong with a worker's answer to `job`. Empty if nothing is."""
    match answered:
        case {"error": str(reason)} if reason.strip():
            return ""
        case {"rows": list(rows)}:
            return next(_problems(job, rows), "")
    return f"neither rows nor an error: {shown(answered)}"


def _problems(job: Job, answered: list[Any]) -> Iterator[str]:
    cells = job.cells or ((None,) if job.measure in WITHOUT_CELLS else ())
    if len(answered) != len(cells):
        yield f"rows of {len(answered)} cells, not of {len(cells)}"
        return
    for cell, rows in zip(cells, answered, strict=True):
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            yield f"the rows of a cell must be a list of objects, got {shown(rows)}"
            return
        if job.measure in TABLES:
            yield from _of_table(TABLES[job.measure], rows)
        else:
            yield from _OTHERS[job.measure](cell, rows)


def worker_columns(table: Table) -> list[Column]:
    """The columns of a table that the worker fills."""
    added = {*table.of_cell, *table.predicted, "error"}
    return [column for column in table.columns if column.name not in added]


def _of_table(table: Table, rows: list[dict[str, Any]]) -> Iterator[str]:
    columns = worker_columns(table)
    names = {column.name for column in columns}
    for row in rows:
        if strange := sorted(row.keys() - names):
            yield f"a column {shown(strange[0])}, which {table.name} has not"
        for column in columns:
            yield from _of_column(column, row.get(column.name))
    keys = {tuple(row.get(column) for column in table.key if column != "cell_id") for row in rows}
    if not rows or len(keys) != len(rows):
        yield f"{len(rows)} rows of a cell, {len(keys)} of them distinct by {' and '.join(table.key)}"


def _of_column(column: Column, value: Any) -> Iterator[str]:
    if value is None:
        if column.filled != "sometimes":
            yield f"no {column.name}"
    elif problem := column.problem(value):
        yield f"{column.name} {problem}"


def _of_environment(cell: None, rows: list[dict[str, Any]]) -> Iterator[str]:
    if len(rows) != 1 or not isinstance(rows[0].get("machine"), dict) or _MACHINE_ID.problem(rows[0].get("machine_id")):
        yield f"an environment must be one object with machine and machine_id, got {shown(rows)}"


def _of_products(cell: Cell, rows: list[dict[str, Any]]) -> Iterator[str]:
    if [row.get("layer") for row in rows] != list(range(1, cell.depth + 1)):
        yield f"products of layers 1 to {cell.depth} expected, got {shown(rows)}"
    for row in rows:
        for column in _SECONDS:
            yield from _of_column(column, row.get(column.name))


def _of_capture(cell: Cell, rows: list[dict[str, Any]]) -> Iterator[str]:
    if rows:
        yield f"a capture has no rows, got {shown(rows)}"


def _of_profile(cell: None, rows: list[dict[str, Any]]) -> Iterator[str]:
    if len(rows) != 1:
        yield f"one profile expected, got {shown(rows)}"


def _of_numbers(*names: str) -> Callable[[None, list[dict[str, Any]]], Iterator[str]]:
    def problems(cell: None, rows: list[dict[str, Any]]) -> Iterator[str]:
        if not rows or not all(isinstance(row.get(name), (int, float)) for row in rows for name in names):
            yield f"rows with {' and '.join(names)} expected, got {shown(rows)}"

    return problems


def _of_check(cell: Cell, rows: list[dict[str, Any]]) -> Iterator[str]:
    if any(not isinstance(row.get("problem"), str) for row in rows):
        yield f"the problems of a schedule expected, got {shown(rows)}"


_OTHERS: dict[str, Callable[[Any, list[dict[str, Any]]], Iterator[str]]] = {
    "environment": _of_environment,
    "products": _of_products,
    "capture": _of_capture,
    "profile": _of_profile,
    "model_peak": _of_numbers("peak_bytes", "loss"),
    "model_seconds": _of_numbers("variant", "repeat", "step_seconds"),
    "check": _of_check,
}

WITHOUT_CELLS = ("environment", "profile", "model_peak", "model_seconds")
"""Measures without cells of a grid: of the machine, or of a user's model."""
