"""A job's file: sealed with its job, read whatever it holds, and of rows that a table may have."""

import json
import os
from dataclasses import asdict, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import DamagedError
from harness.experiment.job import Job, Outcome
from harness.experiment.limits import NO_LIMITS
from harness.results import records
from harness.results.origin import Origin
from harness.results.records import Record, format_record, parse_record
from harness.results.rows import rows_of
from harness.results.store import Store
from tests.support.cells import answer, store_all_cell

CELL = store_all_cell("8,4x3,3", batch=5)
JOB = Job(measure="memory", cells=(CELL,))
OTHER = Job(measure="memory", cells=(replace(CELL, seed=1),))
ORIGIN = Origin(code="c", schedules={}, machine={"cpu": "one"}, variables={})


def record_of(job: Job) -> Record:
    return Record(rows=rows_of(job, Outcome(answer(job))), log="", limits=NO_LIMITS, origin=ORIGIN)


def sealed(kept: object, job: Job = JOB) -> bytes:
    """A file whose seal is right, whatever it holds."""
    return json.dumps({"record": kept, "digest": records._seal(kept, job)}).encode()


def kept(**changes: object) -> dict[str, object]:
    return json.loads(format_record(record_of(JOB), JOB))["record"] | changes


def row(**changes: object) -> dict[str, object]:
    return kept()["rows"][0] | changes


def complaint(content: bytes, job: Job = JOB) -> str:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        parse_record(content, job)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("other", [OTHER, replace(JOB, settings={"repeats": 3}), replace(JOB, measure="peers_memory")])
def test_the_seal_is_that_of_one_job(other):
    content = format_record(record_of(JOB), JOB)
    assert parse_record(content, JOB) == record_of(JOB)
    assert complaint(content, other) == "its seal is not that of this job and these rows"


def nested(levels: int) -> dict[str, object]:
    value: dict[str, object] = {}
    for _ in range(levels):
        value = {"inner": value}
    return value


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"", "Expecting value"),
        (b"[]", "its seal is not"),
        (b'{"record": [], "digest": "0"}', "its seal is not"),
        (b'{"record": {}, "digest": []}', "its seal is not"),
        (b"[" * 100_000, "it is nested more than 32 deep"),
        (b"[" * 100_000 + b"]" * 100_000, "it is nested more than 32 deep"),
        (b'{"a":' * 100_000, "it is nested more than 32 deep"),
        (b"1" * 5_000, "Exceeds the limit"),
        (b'{"record": "\\ud800"}', "'utf-8' codec can't encode character"),
        (b"\xff", "'utf-8' codec can't decode"),
        ("{}".encode("utf-16"), "it is UTF-16, and must be UTF-8"),
        (sealed({}), "it lacks rows, log, limits or origin"),
        (sealed(kept(rows=[])), "it lacks rows, log, limits or origin"),
        (sealed(kept(rows={})), "it lacks rows, log, limits or origin"),
        (sealed(kept(log=None)), "it lacks rows, log, limits or origin"),
        (sealed(kept(limits={})), "it lacks rows, log, limits or origin"),
        (sealed(kept(limits={"timeout": "1", "memory_limit": None})), "it lacks rows, log, limits or origin"),
        (sealed(kept(limits={"timeout": -1, "memory_limit": None})), "timeout must be a number of seconds above 0"),
        (sealed(kept(origin=[])), "it lacks rows, log, limits or origin"),
        (sealed(kept(origin=asdict(ORIGIN) | {"code": 1})), "it lacks rows, log, limits or origin"),
        (sealed(kept(origin=asdict(ORIGIN) | {"machine": nested(100)})), "it is nested more than 32 deep"),
        (sealed(kept(rows=[1])), "row 1, which must have columns, is 1"),
        (sealed(kept(rows=[{}])), "row 1, column cell_id: must not be empty"),
        (sealed(kept(rows=[row(strange=1)])), "row 1, column 'strange': is none of the table's"),
        (sealed(kept(rows=[row(cell_id=[])])), "row 1, column cell_id: must be text, got []"),
        (sealed(kept(rows=[row(status="done")])), "row 1, column status: must be one of ok, failed, timeout"),
        (sealed(kept(rows=[row(hits=None)])), "row 1, column hits: must not be empty"),
        (sealed(kept(rows=[row(hits=1.5)])), "row 1, column hits: must be an integer, got 1.5"),
        (sealed(kept(rows=[row(hits=True)])), "row 1, column hits: must be an integer, got True"),
        (sealed(kept(rows=[row(hits={"a": 1})])), "row 1, column hits: must be an integer, got {'a': 1}"),
        (sealed(kept(rows=[row(hits=-1)])), "row 1, column hits: must be at least 0, got -1"),
        (sealed(kept(rows=[row(hits=2**63)])), f"row 1, column hits: must be an integer of 64 bits, got {2**63}"),
        (sealed(kept(rows=[row(dtype="int8")])), "row 1, column dtype: must be one of float32, float64, got 'int8'"),
        (sealed(kept(rows=[row(error="a\nb", status="failed")])), "row 1, column error: must be one line, got 'a"),
        (sealed(kept(rows=[row(batch=6)])), f"row 1 is of another cell, {CELL.cell_id!r}"),
        (sealed(kept(rows=record_of(OTHER).rows)), f"row 1 is of another cell, {OTHER.cells[0].cell_id!r}"),
        (sealed(kept(rows=[row(), row(status="failed", error="lost")])), "its rows differ in status"),
    ],
)
def test_what_is_no_record_of_the_job_is_one_line_with_a_valid_seal_too(content, line):
    assert complaint(content).startswith(line)


def test_each_cell_of_a_job_has_rows():
    job = Job(measure="time", cells=(CELL, replace(CELL, seed=1)))
    whole = record_of(job)
    assert parse_record(format_record(whole, job), job) == whole
    assert complaint(format_record(replace(whole, rows=whole.rows[:2]), job), job) == "it lacks rows of some cells"


def test_resident_rows_are_of_the_allocator_that_was_asked_for():
    job = Job(measure="resident", cells=(CELL,), settings={"repeats": 1, "allocator": "glibc"})
    measured = {"allocator": "glibc", "repeat": 0, "resident_before_bytes": 1, "resident_peak_bytes": 1}
    for allocator in ("glibc", "glibc_fixed_threshold"):
        rows = rows_of(job, Outcome([[measured | {"allocator": allocator}]]))
        content = format_record(replace(record_of(JOB), rows=rows), job)
        if allocator == "glibc":
            assert parse_record(content, job).rows == rows
        else:
            assert complaint(content, job) == "row 1 is of another allocator, glibc_fixed_threshold"


def test_a_byte_order_mark_is_read_over():
    assert parse_record(b"\xef\xbb\xbf" + format_record(record_of(JOB), JOB), JOB) == record_of(JOB)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(VALUES, st.sampled_from(["rows", "log", "limits", "origin", *row()]))
def test_whatever_is_sealed_is_a_record_or_a_value_error(value, name):
    for content in (value, kept(**{name: value}), kept(rows=[row(**{name: value})]), kept(rows=[value])):
        try:
            parse_record(sealed(content), JOB)
        except ValueError as error:
            assert "\n" not in str(error)  # noqa: PT017


@given(st.binary())
def test_whatever_bytes_are_read_is_a_value_error(content):
    complaint(content)


def test_a_fifo_in_place_of_a_record_is_damage_and_is_replaced(tmp_path):
    store = Store(tmp_path)
    store.save(JOB, record_of(JOB))
    store.path(JOB).unlink()
    os.mkfifo(store.path(JOB))
    with pytest.raises(DamagedError, match=r": is damaged, or of another version: it is not a regular file$"):
        store.load(JOB)
    store.save(JOB, record_of(JOB))
    assert store.load(JOB) == record_of(JOB)


@pytest.mark.parametrize("place", [Store.path, Store.capture_path])
def test_a_folder_in_place_of_a_record_is_told_before_anything_is_measured(tmp_path, place):
    store = Store(tmp_path)
    place(store, JOB).mkdir(parents=True)
    with pytest.raises(
        ValueError, match=f"^{place(store, JOB)}: is a folder where a file belongs; move it away$"
    ) as told:
        store.load(JOB)
    assert not isinstance(told.value, DamagedError)
