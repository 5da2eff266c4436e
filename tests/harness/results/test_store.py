"""The store: whole files or none, finished jobs found again, tables that are one set."""

import csv
import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from harness.experiment.columns import KEY_COLUMNS
from harness.experiment.job import Job, Outcome
from harness.experiment.limits import Limits
from harness.experiment.measures import TABLES
from harness.files import write_atomically
from harness.provenance import ROOT
from harness.results import store as store_module
from harness.results.datapackage import listed_tables, sha256_of
from harness.results.origin import Origin
from harness.results.records import SCHEMA_VERSION
from harness.results.rows import rows_of
from harness.results.store import DamagedError, Record, Store
from tests.support.cells import ENVIRONMENT, answer, store_all_cell

JOBS = {
    measure: Job(measure=measure, cells=(store_all_cell("64,128x2,10", batch=5),)) for measure in ("memory", "time")
}
ORIGIN = Origin(code="c", schedules={}, machine={}, variables={})
OK, TIMED = ([*rows_of(job, Outcome(answer(job)))] for job in JOBS.values())
FAILED, UNTIMED = (rows_of(job, Outcome(None, "killed")) for job in JOBS.values())


def stop_at(monkeypatch, name, call):
    """Let `call` (from 0) of the function `name` that writes a file fail, as on a full disk."""
    calls = []
    real = getattr(store_module.os, name)

    def failing(*arguments):
        calls.append(name)
        if len(calls) == call + 1:
            raise OSError(28, "No space left on device")
        return real(*arguments)

    monkeypatch.setattr(store_module.os, name, failing)


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "table.csv"
    write_atomically(path, b"old")
    stop_at(monkeypatch, "fsync", 0)
    with pytest.raises(OSError, match=f"No space left on device: '{path}'"):
        write_atomically(path, b"new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["table.csv"]
    assert path.read_bytes() == b"old"
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"


def record(rows, **changes):
    return Record(**{"rows": rows, "log": "trace", "limits": Limits(timeout=2.5), "origin": ORIGIN, **changes})


def test_a_record_comes_back_as_it_was_kept(tmp_path):
    store = Store(tmp_path)
    assert store.load(JOBS["memory"]) is None
    for rows in (FAILED, OK):
        store.save(JOBS["memory"], record(rows))
        assert store.load(JOBS["memory"]) == record(rows)
    assert store.load(JOBS["time"]) is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda content: b"",
        lambda content: b"{}",
        lambda content: b"[1]",
        lambda content: b"\xff" + content,
        lambda content: content.replace(b'"memray_peak_bytes": ', b'"memray_peak_bytes": 1'),
        lambda content: content.replace(b'"log"', b'"lag"'),
    ],
)
def test_a_damaged_record_is_told_from_a_whole_one(tmp_path, damage):
    store = Store(tmp_path)
    store.save(JOBS["memory"], record(OK))
    path = store.path(JOBS["memory"])
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DamagedError, match=f"^{path}: is damaged, or of another version: [^\n]+$"):
        store.load(JOBS["memory"])


def test_one_process_at_a_time_writes_to_a_folder(tmp_path):
    code = (
        "from harness.results.store import *\n"
        f"with Store(Path({str(tmp_path)!r})).held(): print('held', flush=True); input()"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdin=-1, stdout=-1) as holder:
        assert holder.stdout.readline() == b"held\n"
        said = rf"^{tmp_path}: is being written by process {holder.pid} of user \d+ \(.*python.*\); wait"
        with pytest.raises(ValueError, match=said), Store(tmp_path).held():
            pass
        holder.kill()


def test_what_a_kill_left_half_written_is_removed_and_what_others_left_is_not(tmp_path):
    (tmp_path / "cells").mkdir()
    own = [tmp_path / ".checkpointing-lab.memory.csv.tmp", tmp_path / "cells" / ".checkpointing-lab.memory-0.json.tmp"]
    foreign = [tmp_path / "memory.csv.tmp", tmp_path / "thesis.tmp", tmp_path / "cells" / "notes.tmp"]
    for path in (*own, *foreign):
        path.write_bytes(b"half")
    with Store(tmp_path).held():
        assert not any(path.exists() for path in own)
        assert all(path.exists() for path in foreign)


def test_a_file_that_is_being_written_has_the_name_that_is_swept(tmp_path, monkeypatch):
    names = []
    monkeypatch.setattr(store_module.os, "fsync", lambda _: names.append([path.name for path in tmp_path.iterdir()]))
    write_atomically(tmp_path / "memory.csv", b"whole")
    assert names == [[".checkpointing-lab.memory.csv.tmp"], ["memory.csv"]]


@pytest.mark.parametrize(
    "plant", [Path.symlink_to, lambda path, other: os.mkfifo(path), lambda path, other: path.mkdir()]
)
def test_a_planted_lock_is_one_line_and_nothing_is_written_through_it(tmp_path, plant):
    other, cells = tmp_path / "other", tmp_path / "cells"
    other.write_text("precious")
    cells.mkdir()
    plant(cells / "lock", other)
    with pytest.raises(ValueError, match=f"^{cells}/lock: is not a plain file; remove it$"), Store(tmp_path).held():
        pass
    assert other.read_text() == "precious"


def test_a_folder_that_is_held_without_a_word_is_told_by_who_holds_it(tmp_path):
    with Store(tmp_path).held():
        pass
    code = (
        f"import fcntl; file = open({str(tmp_path / 'cells/lock')!r}); fcntl.flock(file, 2); print(1, flush=1); input()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1) as blocker:
        blocker.stdout.readline()
        with (
            pytest.raises(ValueError, match=f"is being written by process {blocker.pid} of user"),
            Store(tmp_path).held(),
        ):
            pass
        blocker.communicate(b"\n")


def test_a_folder_that_cannot_be_written_is_one_line():
    said = r"^/sys/results: cannot be written: .*; choose another folder with --results$"
    with pytest.raises(ValueError, match=said), Store(Path("/sys/results")).held():
        pass


def test_a_table_has_all_its_columns_and_plain_line_ends(tmp_path):
    memory, package, environment = Store(tmp_path).publish({"memory": OK}, {"code": "c"})
    header, row, end = memory.read_bytes().decode().split("\n")
    assert tuple(header.split(",")) == TABLES["memory"].names
    assert row.startswith(f'{OK[0]["cell_id"]},Network,"64,128x2,10",3,128,5,float32,relu,,,,backward,,0,ok,3,')
    assert end == ""
    told = {"schema_version": SCHEMA_VERSION, "datapackage_hash": sha256_of(package.read_bytes()), "code": "c"}
    assert json.loads(environment.read_text()) == told


def test_a_failed_cell_is_a_row_with_what_is_known(tmp_path):
    memory, *_ = Store(tmp_path).publish({"memory": FAILED}, {})
    (row,) = csv.DictReader(memory.read_text().splitlines())
    predicted = {f"predicted_{part}peak_bytes" for part in ("", "forward_", "backward_")}
    counts = {"forward_steps", "forward_flops", "hits", "misses", "peak_cached_layers"}
    filled = {name for name in row if row[name]}
    assert filled - set(KEY_COLUMNS) == {*counts, *predicted, "error"}
    assert (row["status"], row["error"]) == ("failed", "killed")
    assert {name: row[name] for name in filled} == {name: str(FAILED[0][name]) for name in filled}


def test_a_table_that_breaks_its_description_is_not_published(tmp_path):
    store = Store(tmp_path)
    paths = store.publish({"memory": OK}, {})
    before = [path.read_bytes() for path in paths]
    broken = [{**OK[0], "residual_bytes": 1}]
    with pytest.raises(
        ValueError, match=r"^memory\.csv as measured: line 2, column residual_bytes: must be memray_peak"
    ):
        store.publish({"memory": broken}, {"code": "new"})
    assert [path.read_bytes() for path in paths] == before


def test_publishing_replaces_the_whole_set(tmp_path):
    store = Store(tmp_path)
    store.publish({"memory": OK, "time": TIMED}, {})
    store.publish({"memory": FAILED}, {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["datapackage.json", "environment.json", "memory.csv"]
    assert "killed" in (tmp_path / "memory.csv").read_text()


def test_publishing_removes_no_table_that_no_run_wrote(tmp_path):
    store = Store(tmp_path)
    store.publish({"memory": OK}, {})
    (tmp_path / "time.csv").write_text("mine")
    store.publish({"memory": FAILED}, {})
    assert (tmp_path / "time.csv").read_text() == "mine"


@pytest.mark.parametrize("call", range(9))
def test_a_kill_leaves_no_table_that_is_not_known_as_ours(tmp_path, monkeypatch, call):
    store = Store(tmp_path)
    store.publish({"memory": OK}, {})
    stop_at(monkeypatch, "fsync", call)
    with suppress(OSError):
        store.publish({"memory": OK, "time": TIMED}, {})
    monkeypatch.undo()
    listed = listed_tables((tmp_path / "datapackage.json").read_bytes())
    assert {path.stem for path in tmp_path.glob("*.csv")} <= listed.keys()


CELLS = {"memory": {OK[0]["cell_id"]}, "time": {TIMED[0]["cell_id"]}}


@pytest.mark.parametrize(
    ("title", "cells", "lost"),
    [
        ("Tiny", {"memory": {"another"}}, ""),
        ("Edited", CELLS, ""),
        ("Edited", CELLS | {"memory": CELLS["memory"] | {"more"}}, ""),
        ("Another", {"memory": CELLS["memory"]}, "time.csv"),
        ("Another", {"memory": {"another"}, "time": {"another"}}, "memory.csv, time.csv"),
    ],
)
def test_another_experiments_results_are_written_over_only_where_that_is_asked_for(tmp_path, title, cells, lost):
    store = Store(tmp_path)
    store.publish({"memory": OK, "time": TIMED}, ENVIRONMENT)
    store.require_own(title, cells, replace=True)
    if not lost:
        store.require_own(title, cells)
        return
    said = (
        f"^{tmp_path}: holds the results of another experiment, 'Tiny', whose {lost} would be lost; .* use --replace$"
    )
    with pytest.raises(ValueError, match=said):
        store.require_own(title, cells)


def test_a_torn_set_is_written_over_by_whoever_runs_next(tmp_path):
    store = Store(tmp_path)
    *_, environment = store.publish({"memory": OK}, ENVIRONMENT)
    environment.unlink()
    store.require_own("Another", {"memory": {"another"}})


@pytest.mark.parametrize("name", ["memory.csv", "datapackage.json", "environment.json"])
@pytest.mark.parametrize("content", ["mine", '{"resources": [{"name": "mine"}]}'])
def test_files_that_no_run_wrote_are_written_over_only_where_that_is_asked_for(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    store = Store(tmp_path)
    with pytest.raises(
        ValueError, match=f"^{tmp_path / name}: is not what a run wrote; move it away, or .* --replace$"
    ):
        store.require_own("Tiny", {"memory": set()})
    store.require_own("Tiny", {"time": set()}, replace=True)
    (tmp_path / name).unlink()
    (tmp_path / name).mkdir()
    with pytest.raises(ValueError, match=f"^{tmp_path / name}: is a folder where a file belongs; move it away$"):
        store.require_own("Tiny", {"memory": set()}, replace=True)


@pytest.mark.parametrize("call", range(8))
def test_a_set_that_was_not_completed_has_no_environment(tmp_path, monkeypatch, call):
    store = Store(tmp_path)
    old = {"memory": OK, "time": TIMED}
    store.publish(old, {"machine": "old"})
    stop_at(monkeypatch, "fsync", call)
    with pytest.raises(OSError, match="No space"):
        store.publish({"memory": FAILED, "time": UNTIMED}, {"machine": "new"})
    environment = Path(tmp_path / "environment.json")
    assert not environment.exists() or json.loads(environment.read_text())["machine"] == "new"
    monkeypatch.undo()
    store.publish(old, {"machine": "old"})
    assert json.loads(environment.read_text())["machine"] == "old"
