"""What a worker may answer: for each cell of its job, rows with the columns of its table and values of their types."""

from collections.abc import Iterator, Mapping
from typing import Any

from harness.cell import Cell, Job
from harness.tables import FRAMEWORK_COLUMNS, KEY_COLUMNS, TABLES, Column, Table

TYPES: Mapping[str, tuple[type, ...]] = {"string": (str,), "integer": (int,), "number": (int, float)}
LARGEST = 2**63 - 1
SHOWN = 60
"""How many letters of a wrong value are shown."""

_ADDED = {*KEY_COLUMNS, *FRAMEWORK_COLUMNS, "error", "residual_bytes"}
"""Columns that the process adds that starts the worker, beside those that begin with `predicted_`."""


def nonsense(job: Job, answered: Any) -> str:
    """What is wrong with a worker's answer to `job`, in a line; empty where it is as it must be."""
    match answered:
        case {"error": str(reason)} if reason.strip():
            return ""
        case {"rows": list(rows)}:
            return next(_problems(job, rows), "")
    return f"neither rows nor an error: {_shown(answered)}"


def _problems(job: Job, answered: list[Any]) -> Iterator[str]:
    cells = job.cells or ((None,) if job.measure == "environment" else ())
    if len(answered) != len(cells):
        yield f"rows of {len(answered)} cells, not of {len(cells)}"
        return
    for cell, rows in zip(cells, answered, strict=True):
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            yield f"the rows of a cell must be a list of objects, got {_shown(rows)}"
            return
        if job.measure in TABLES:
            yield from _of_table(TABLES[job.measure], rows)
        else:
            yield from _OTHERS[job.measure](cell, rows)


def worker_columns(table: Table) -> list[Column]:
    """The columns of a table that the worker fills."""
    return [
        column for column in table.columns if column.name not in _ADDED and not column.name.startswith("predicted_")
    ]


def _of_table(table: Table, rows: list[dict[str, Any]]) -> Iterator[str]:
    columns = worker_columns(table)
    names = {column.name for column in columns}
    for row in rows:
        if strange := sorted(row.keys() - names):
            yield f"a column {_shown(strange[0])}, which {table.name} has not"
        for column in columns:
            yield from _of_column(column, row.get(column.name))
    keys = {tuple(row.get(column) for column in table.key if column != "cell_id") for row in rows}
    if not rows or len(keys) != len(rows):
        yield f"{len(rows)} rows of a cell, {len(keys)} of them distinct by {' and '.join(table.key)}"


def _of_column(column: Column, value: Any) -> Iterator[str]:
    if value is None:
        if column.filled != "sometimes":
            yield f"no {column.name}"
    elif not _is(column.type, value):
        yield f"{column.name} must be {'an' if column.type == 'integer' else 'a'} {column.type}, got {_shown(value)}"
    elif column.values and value not in column.values:
        yield f"{column.name} must be one of {', '.join(column.values)}, got {_shown(value)}"
    elif column.minimum is not None and value < column.minimum:
        yield f"{column.name} must be at least {column.minimum}, got {_shown(value)}"


def _is(kind: str, value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, TYPES[kind]):
        return False
    return value.isprintable() if isinstance(value, str) else not isinstance(value, int) or abs(value) <= LARGEST


def _of_environment(cell: None, rows: list[dict[str, Any]]) -> Iterator[str]:
    if len(rows) != 1 or not isinstance(rows[0].get("machine"), dict) or not _is("string", rows[0].get("machine_id")):
        yield f"an environment must be one object with machine and machine_id, got {_shown(rows)}"


def _of_products(cell: Cell, rows: list[dict[str, Any]]) -> Iterator[str]:
    if [row.get("layer") for row in rows] != list(range(1, cell.depth + 1)):
        yield f"products of layers 1 to {cell.depth} expected, got {_shown(rows)}"
    for row in rows:
        for name in ("forward_seconds", "backward_seconds"):
            if not _is("number", row.get(name)) or not row[name] >= 0:
                yield f"{name} must be a number of at least 0, got {_shown(row.get(name))}"


def _of_capture(cell: Cell, rows: list[dict[str, Any]]) -> Iterator[str]:
    if rows:
        yield f"a capture has no rows, got {_shown(rows)}"


_OTHERS = {"environment": _of_environment, "products": _of_products, "capture": _of_capture}


def _shown(value: Any) -> str:
    return repr(value)[:SHOWN]
