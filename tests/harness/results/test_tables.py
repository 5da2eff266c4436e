"""What a table must be, by name, unit and value; and that every committed result is that."""

import csv
import json
import re
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.experiment.columns import KEY_COLUMNS
from harness.experiment.file import MODEL_MEASURES
from harness.experiment.job import Job, Outcome
from harness.experiment.measures import TABLES
from harness.experiment.tables import RANKING
from harness.provenance import ROOT
from harness.results.folder import read_results
from harness.results.records import SCHEMA_VERSION
from harness.results.rows import rows_of
from harness.results.schemas import MEMORY_PARTS, RULES, parse_table
from harness.results.store import Store
from harness.results.store import _csv as csv_of
from tests.support.cells import answer, store_all_cell
from tests.support.tables import model_cells, model_rows

RESULTS = sorted(path.parent for path in ROOT.glob("results/*/environment.json"))
UNITS = {"_bytes": "byte", "_seconds": "second", "_flops": "operation"}


def job_of(depth: int, measure: str = "memory") -> Job:
    return Job(measure=measure, cells=(store_all_cell(f"64,128x{depth},10", batch=5),))


def published(folder: Path, measure: str = "memory", depths=(2, 3)) -> Path:
    jobs = [job_of(depth, measure) for depth in depths]
    rows = [row for job in jobs for row in rows_of(job, Outcome(answer(job)))]
    return Store(folder).publish({measure: rows}, {})[0]


@pytest.fixture
def memory(tmp_path) -> list[dict[str, str]]:
    with published(tmp_path).open() as file:
        return list(csv.DictReader(file))


def content(rows: list[dict[str, str]]) -> bytes:
    quoted = [",".join(f'"{value}"' for value in values) for values in (rows[0], *(row.values() for row in rows))]
    return ("\n".join(quoted) + "\n").encode()


def complaint(name: str, data: bytes) -> str:
    with pytest.raises(ValueError, match=r"^results/x\.csv: ") as error:
        parse_table(name, data, where="results/x.csv")
    assert "\n" not in str(error.value)
    return str(error.value).removeprefix("results/x.csv: ")


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_every_column_is_described_once_and_its_unit_is_that_of_its_name(table):
    assert len(set(table.names)) == len(table.names)
    assert set(table.key) <= set(table.names)
    assert {column for column, *_ in RULES.get(table.name, ())} <= set(table.names)
    for column in table.columns:
        assert re.fullmatch(r"\S.*\.", column.description), column.name
        named = [unit for ending, unit in UNITS.items() if f"_{column.name}".endswith(ending)]
        assert named == [column.unit] * bool(column.unit), column.name


@pytest.mark.parametrize("folder", RESULTS, ids=lambda folder: folder.name)
def test_the_committed_results_are_what_the_tables_say(folder):
    version = json.loads((folder / "environment.json").read_text())["schema_version"]
    if version != SCHEMA_VERSION:
        pytest.skip(f"measured under schema version {version}, this is {SCHEMA_VERSION}: measure it again")
    tables = read_results(folder).tables()
    there = {path.stem for path in folder.glob("*.csv")} - {RANKING.name}  # which is made from them
    assert sorted(tables) == sorted(there)
    assert all(len(table) > 0 for table in tables.values())


def test_values_are_read_with_the_types_their_columns_promise(memory):
    memory[0] |= {"cell_id": "1234567890123456", "forward_flops": str(2**53 + 1)}
    memory[1] |= {"cell_id": "12e4567890123456", "status": "failed", "error": "None", "tracker_peak_bytes": ""}
    read = parse_table("memory", content(memory), where="here")
    assert read["cell_id"].tolist() == ["1234567890123456", "12e4567890123456"]
    assert read["layers"].tolist() == ["64,128x2,10", "64,128x3,10"]
    assert read["checkpoint_frequency"].dtype == "Int64"
    assert read["forward_flops"][0] == 2**53 + 1  # a float would have lost the last digit
    assert read["tracker_peak_bytes"].isna().tolist() == [False, True]
    assert read["error"][1] == "None"
    assert pd.isna(read["recompute"][0])


DAMAGES = [
    ({"batch": "1x6"}, "line 3, column batch: must be an integer, got 1x6"),
    ({"batch": "1" * 5_000}, f"line 3, column batch: must be an integer of 64 bits, got {'1' * 120}...{'1' * 60}"),
    ({"batch": str(2**63)}, f"line 3, column batch: must be an integer of 64 bits, got {2**63}"),
    ({"residual_bytes": str(-(2**63) - 1)}, "line 3, column residual_bytes: must be an integer of 64 bits, got -92"),
    (
        {"batch": "\N{ARABIC-INDIC DIGIT ONE}"},
        "line 3, column batch: must be an integer, got \N{ARABIC-INDIC DIGIT ONE}",
    ),
    ({"layers": "8,4\n,3"}, "line 3, column layers: must be one line, got '8,4\\n,3'"),
    ({"batch": "0"}, "line 3, column batch: must be at least 1, got 0"),
    ({"dtype": "int8"}, "line 3, column dtype: must be one of float32, float64, got int8"),
    ({"hits": ""}, "line 3, column hits: must not be empty"),
    ({"layers": ""}, "line 3, column layers: must not be empty"),
    ({"status": ""}, "line 3, column status: must not be empty"),
    ({"error": "killed"}, "line 3, column error: must be empty where status is ok, and only there, got killed"),
    ({"status": "failed"}, "line 3, column error: must be empty where status is ok, and only there"),
    ({"recompute": "each"}, "line 3, column recompute: must be there with checkpoint_frequency, got each"),
    ({"schedule": "sqrt()"}, "line 3, column network: must be NetworkWithCheckpointing where, and only where"),
    ({"tracker_deltas_bytes": "7"}, "line 3, column tracker_peak_bytes: must be the sum of its parts"),
    ({"memray_other_bytes": "7"}, "line 3, column memray_peak_bytes: must be the sum of its parts"),
    ({"residual_bytes": "7"}, "line 3, column residual_bytes: must be memray_peak_bytes less predicted_peak_bytes"),
    ({"predicted_peak_bytes": "7"}, "line 3, column tracker_peak_bytes: must be predicted_peak_bytes"),
    ({"predicted_backward_peak_bytes": "7"}, "line 3, column predicted_peak_bytes: must be the larger of both passes'"),
    ({"memray_backward_peak_bytes": "7"}, "line 3, column memray_peak_bytes: must be the larger of both passes'"),
    ({"memray_peak_bytes": "0"}, "line 3, column memray_peak_bytes: must be at least 1, got 0"),
    (
        {"memray_forward_peak_bytes": "7"},
        "line 3, column memray_forward_peak_bytes: must be at least predicted_forward",
    ),
]


@pytest.mark.parametrize(("damage", "line"), DAMAGES, ids=lambda value: str(value)[:100])
def test_a_damaged_row_is_one_line_with_its_place(memory, damage, line):
    assert complaint("memory", content([memory[0], memory[1] | damage])).startswith(line)


def test_no_row_comes_twice(memory):
    expected = f"line 4, column cell_id: must be unique by cell_id, got {memory[0]['cell_id']}"
    assert complaint("memory", content([*memory, memory[0]])) == expected


def test_step_seconds_are_both_passes(tmp_path):
    text = published(tmp_path, "time").read_text()
    assert complaint("time", text.replace("0.75", "0.7", 1).encode()).startswith("line 2, column step_seconds: must be")


def test_a_peak_below_the_predicted_one_is_refused_though_its_parts_agree(memory):
    cut = dict.fromkeys(MEMORY_PARTS, "0") | {"memray_other_bytes": "9", "memray_peak_bytes": "9"}
    cut |= {"memray_forward_peak_bytes": "9", "memray_backward_peak_bytes": "9"}
    cut["residual_bytes"] = str(9 - int(memory[1]["predicted_peak_bytes"]))
    expected = "line 3, column memray_peak_bytes: must be at least predicted_peak_bytes, got 9"
    assert complaint("memory", content([memory[0], memory[1] | cut])).startswith(expected)


NUMBERS = [
    (table.name, column.name)
    for table in TABLES.values()
    for column in table.columns
    if column.type == "number" and column.name not in ("train_loss", "test_loss")
]


def a_row(table: str) -> dict[str, str]:
    """A row as it is written: of a committed table, or one that is made."""
    if table in MODEL_MEASURES:
        text = csv_of(table, model_rows(table)).decode()
    else:
        text = next(ROOT.glob(f"results/*/{table}.csv")).read_text()
    return next(csv.DictReader(text.splitlines()))


@pytest.mark.parametrize("table", MODEL_MEASURES)
def test_a_model_that_failed_has_rows_without_numbers(table):
    job = Job(measure=table, cells=tuple(model_cells()[:3]))
    rows = rows_of(job, Outcome(None, "ValueError: no model"))
    read = parse_table(table, csv_of(table, rows), where=table)
    assert list(read["status"]) == ["failed"] * 3


@pytest.mark.parametrize(("table", "column"), NUMBERS)
@pytest.mark.parametrize("written", ["nan", "inf", "-inf", "1e999"])
def test_no_number_but_a_loss_may_be_none(table, column, written):
    row = a_row(table)
    assert complaint(table, content([row | {column: written}])).startswith(
        f"line 2, column {column}: must be a number, got {written.replace('1e999', 'inf')}"
    )


SECONDS = [pair for pair in NUMBERS if pair[1].endswith("_seconds")]


@pytest.mark.parametrize(("table", "column"), SECONDS)
def test_nothing_takes_no_time(table, column):
    row = a_row(table)
    assert f"column {column}: must be at least 1e-09, got 0" in complaint(table, content([row | {column: "0.0"}]))


@pytest.mark.parametrize("column", ["predicted_peak_bytes", "tracker_peak_bytes", "residual_bytes"])
def test_our_own_row_beside_other_frameworks_has_its_prediction(column):
    with (ROOT / "results" / "peers" / "peers_memory.csv").open() as file:
        rows = {row["framework"]: row for row in csv.DictReader(file)}
    line = "line 2, column {}: must be there where, and only where, the framework is networks"
    assert complaint("peers_memory", content([rows["networks"] | {column: ""}])).startswith(line.format(column))
    assert complaint("peers_memory", content([rows["sklearn"] | {column: "7"}])).startswith(line.format(column))


def test_live_bytes_are_the_sum_of_a_cells_changes(memory):
    keys = {name: memory[0][name] for name in TABLES["timeline"].names[: len(KEY_COLUMNS)]}
    events = [(0, 10, 10), (1, -4, 6), (2, 1, 8)]
    rows = [
        keys
        | {"event": event, "phase": "forward", "action": "keep", "layer": 1}
        | {"bytes": change, "live_bytes": live, "memray_live_bytes": 20, "error": ""}
        for event, change, live in events
    ]
    assert len(parse_table("timeline", content(rows[:2]), where="here")) == 2
    line = "line 4, column live_bytes: must be the sum of the cell's bytes so far, got 8"
    assert complaint("timeline", content(rows)) == line


def test_a_training_that_diverges_is_no_damage(memory):
    keys = {name: memory[0][name] for name in TABLES["training"].names[: len(KEY_COLUMNS)]}
    row = keys | {
        "epoch": 1,
        "cpu": 1,
        "train_loss": "nan",
        "train_accuracy": 0.1,
        "test_loss": "inf",
        "test_accuracy": 1e-05,
    }
    read = parse_table("training", content([row | {"epoch_seconds": 0.5, "error": ""}]), where="here")
    assert read["train_loss"].isna().all()


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"", "has no column cell_id (and 37 more); it is not of this version: run the experiment again"),
        (b"a,b\n1,2\n", "has no column cell_id (and 37 more); it is not of this version: run the experiment again"),
        (b"\xff", "is not a CSV table: 'utf-8' codec can't decode"),
        ("cell_id".encode("utf-16"), "is not a CSV table: it is UTF-16, and must be UTF-8"),
        ("cell_id".encode("utf-16-le"), "is not a CSV table: it is UTF-16, and must be UTF-8"),
        (b"\x00" * 9, "is not a CSV table: it is UTF-16"),
        (b'cell_id\n"a', "is not a CSV table: unexpected end of data"),
    ],
    ids=["empty", "another table", "no text", "UTF-16", "UTF-16 without a mark", "zeros", "cut in a quotation"],
)
def test_a_file_that_is_no_table_says_so(data, line):
    assert complaint("memory", data).startswith(line)


def test_a_byte_order_mark_is_read_over(memory):
    data = content(memory)
    assert parse_table("memory", b"\xef\xbb\xbf" + data, where="x").equals(parse_table("memory", data, where="x"))


@settings(max_examples=30)
@given(st.data())
def test_whatever_a_file_holds_is_a_table_or_one_line(data):
    rows = [row for depth in (2, 3) for row in rows_of(job_of(depth), Outcome(answer(job_of(depth))))]
    whole = csv_of("memory", rows)
    start = data.draw(st.integers(0, len(whole)))
    piece = data.draw(st.binary(max_size=8) | st.sampled_from([b'"', b",", b"\n", b"\r", b"1e999", b"9" * 30, b"\0"]))
    damaged = whole[:start] + piece + whole[start + data.draw(st.integers(0, 20)) :]
    try:
        parse_table("memory", damaged, where="x.csv")
    except ValueError as error:
        assert str(error).startswith("x.csv: ")  # noqa: PT017
        assert "\n" not in str(error)  # noqa: PT017


def test_a_file_that_was_cut_short_names_the_line(tmp_path):
    assert complaint("memory", published(tmp_path).read_bytes()[:-40]).startswith("line 3 has 3")


def test_the_data_package_describes_the_files_beside_it(tmp_path):
    path = published(tmp_path)
    (resource,) = json.loads((tmp_path / "datapackage.json").read_text())["resources"]
    assert resource["path"] == path.name
    assert resource["bytes"] == path.stat().st_size
    fields = resource["schema"]["fields"]
    assert [field["name"] for field in fields] == path.read_text().splitlines()[0].split(",")
    (peak,) = (field for field in fields if field["name"] == "memray_peak_bytes")
    assert peak["type"] == "integer"
    assert peak["unit"] == "byte"
    assert peak["constraints"] == {"minimum": 1}


@pytest.mark.parametrize("measure", ["memory", "time"])
def test_the_data_package_is_valid_where_frictionless_is_installed(tmp_path, measure):
    frictionless = pytest.importorskip("frictionless")
    published(tmp_path, measure)
    package = frictionless.Package(str(tmp_path / "datapackage.json"))
    report = package.validate()
    assert report.valid, report.flatten(["rowNumber", "fieldName", "message"])
    with (tmp_path / f"{measure}.csv").open("a") as file:
        file.write("damaged\n")
    assert not package.validate().valid
