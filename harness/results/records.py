"""The record of a finished job: its rows and their origin, with a seal that shows damage."""

from dataclasses import asdict, dataclass
from typing import Any

from harness.experiment.cell import digest
from harness.experiment.columns import Table
from harness.experiment.job import Job, Row
from harness.experiment.limits import Limits
from harness.experiment.measures import TABLES
from harness.files import format_json, parse_json
from harness.results.origin import Origin
from networks.wording import shown

SCHEMA_VERSION = 2


@dataclass(frozen=True, kw_only=True)
class Record:
    """The record of a job.

    Attributes:
        rows: its rows of the measure's table.
        log: the output of its worker.
        limits: the limits of its run.
        origin: the origin of the rows.
    """

    rows: list[Row]
    log: str
    limits: Limits
    origin: Origin


def format_record(record: Record, job: Job) -> bytes:
    """The content of a job's file."""
    content = asdict(record)
    return format_json({"record": content, "digest": _seal(content, job)})


def parse_record(content: bytes, job: Job) -> Record:
    """The inverse of `format_record`.

    Raises:
        ValueError: it is no record of this job, or has rows that no table may have. No content raises any other error.
    """
    match parse_json(content):
        case {"record": dict(kept), "digest": seal} if seal == _seal(kept, job):
            pass
        case _:
            raise ValueError("its seal is not that of this job and these rows")
    match kept:
        case {
            "rows": [_, *_] as rows,
            "log": str(log),
            "limits": {"timeout": None | int() | float() as timeout, "memory_limit": None | int() as memory_limit},
            "origin": {
                "code": str(code),
                "schedules": dict(schedules),
                "machine": dict(machine),
                "machine_id": str(machine_id),
                "variables": dict(variables),
            },
        } if all(isinstance(sha256, str) for sha256 in schedules.values()):
            _check_rows(rows, job)
            origin = Origin(code=code, schedules=schedules, machine=machine, machine_id=machine_id, variables=variables)
            return Record(rows=rows, log=log, limits=Limits(timeout=timeout, memory_limit=memory_limit), origin=origin)
    raise ValueError("it lacks rows, log, limits or origin")


def _seal(kept: Any, job: Job) -> str:
    return digest([SCHEMA_VERSION, job.configuration, kept])


def _check_rows(rows: list[Any], job: Job) -> None:
    """Raise ValueError unless all are rows of the job's table, and of its cells."""
    table = TABLES[job.measure]
    columns = sorted(set(table.of_cell) - {"status"})
    cells = {cell.cell_id: {name: getattr(cell, name) for name in columns} for cell in job.cells}
    for number, row in enumerate(rows, start=1):
        if problem := _problem_of_row(row, table):
            raise ValueError(f"row {number}, {problem}")
        told = {name: row.get(name) for name in columns}
        if told != cells.get(row["cell_id"]):
            raise ValueError(f"row {number} is of another cell, {shown(row['cell_id'])}")
        if row.get("allocator") not in (None, job.settings.get("allocator")):
            raise ValueError(f"row {number} is of another allocator, {row['allocator']}")
    if {row["cell_id"] for row in rows} != cells.keys():
        raise ValueError("it lacks rows of some cells")
    if len({row["status"] for row in rows}) > 1:
        raise ValueError("its rows differ in status, but cells of one process have the same")


def _problem_of_row(row: Any, table: Table) -> str:
    """Say what is wrong with a row by itself. Empty if nothing is wrong."""
    if not isinstance(row, dict):
        return f"which must have columns, is {shown(row)}"
    if strange := row.keys() - set(table.names):
        return f"column {shown(min(strange))}: is none of the table's"
    required = ("always", "if ok") if row.get("status") == "ok" else ("always",)
    for column in table.columns:
        value = row.get(column.name)
        if value is None or value == "":
            problem = "must not be empty" if column.filled in required else ""
        else:
            problem = column.problem(value)
        if problem:
            return f"column {column.name}: {problem}"
    return ""
