"""What a worker answers is held against its table, column by column."""

import pytest

from harness.execute.answers import nonsense, worker_columns
from harness.experiment.job import Job
from harness.experiment.measures import TABLES
from tests.support.cells import answer, store_all_cell

CELL = store_all_cell("8,4,3", batch=5)
VALUES = {"string": "a", "integer": 7, "number": 0.5}
PRODUCTS = [{"layer": layer, "forward_seconds": 0.1, "backward_seconds": 0.2} for layer in (1, 2)]


def row(measure):
    return {c.name: c.values[0] if c.values else VALUES[c.type] for c in worker_columns(TABLES[measure])}


@pytest.mark.parametrize("measure", TABLES)
def test_each_column_of_each_table_must_be_there_and_of_its_type(measure):
    job = Job(measure=measure, cells=(CELL,))
    assert nonsense(job, {"rows": [[row(measure)]]}) == ""
    for column in worker_columns(TABLES[measure]):
        wrong = {"string": 7, "integer": 0.5, "number": "a"}[column.type]
        for value in (wrong, True, [], "a\nb", 2**63 if column.type == "integer" else {}):
            assert nonsense(job, {"rows": [[{**row(measure), column.name: value}]]}).startswith(
                f"{column.name} must be"
            )
        if column.minimum is not None:
            least = f"{column.name} must be at least {column.minimum}, got {column.minimum - 1}"
            assert nonsense(job, {"rows": [[{**row(measure), column.name: column.minimum - 1}]]}) == least
        lacking = {name: value for name, value in row(measure).items() if name != column.name}
        expected = "" if column.filled == "sometimes" else f"no {column.name}"
        assert nonsense(job, {"rows": [[lacking]]}) == expected
    assert (
        nonsense(job, {"rows": [[{**row(measure), "status": "ok"}]]}) == f"a column 'status', which {measure} has not"
    )


def test_a_cell_has_rows_and_no_two_of_one_key():
    memory, time = (Job(measure=measure, cells=(CELL,)) for measure in ("memory", "time"))
    assert nonsense(memory, {"rows": answer(memory)}) == nonsense(time, {"rows": answer(time)}) == ""
    assert nonsense(memory, {"rows": [[]]}) == "0 rows of a cell, 0 of them distinct by cell_id"
    assert nonsense(memory, {"rows": [answer(memory)[0] * 2]}) == "2 rows of a cell, 1 of them distinct by cell_id"
    repeated = "4 rows of a cell, 2 of them distinct by cell_id and repeat"
    assert nonsense(time, {"rows": [answer(time)[0] * 2]}) == repeated


@pytest.mark.parametrize(
    ("measure", "right", "wrong"),
    [
        ("environment", [{"machine": {}, "machine_id": ""}], [[], [{}], [{"machine": "one", "machine_id": ""}]]),
        ("capture", [], [[{}]]),
        ("products", PRODUCTS, [[], PRODUCTS[:1], [PRODUCTS[0], {"layer": 2}]]),
    ],
)
def test_what_has_no_table_has_its_own_shape(measure, right, wrong):
    job = Job(measure=measure, cells=() if measure == "environment" else (CELL,))
    assert nonsense(job, {"rows": [right]}) == ""
    for rows in wrong:
        assert nonsense(job, {"rows": [rows]})
