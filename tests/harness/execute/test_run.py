"""A run: what it measures again, and what it takes up."""

import json
from dataclasses import replace

import pytest

from harness.errors import RunAbortedError
from harness.execute.run import UNRECORDED
from harness.experiment.limits import NO_LIMITS, Limits
from harness.experiment.prediction import trace_of
from tests.support.cells import REPEATS
from tests.support.runs import TEXT, again, table


def test_a_run_measures_every_job_and_publishes_the_tables_in_grid_order(start, workers):
    run = start()
    finished = list(run.execute())
    assert run.cells == sum(len(one.job.cells) for one in finished) == 8
    paths = run.publish()
    assert [path.name for path in paths] == ["memory.csv", "time.csv", "datapackage.json", "environment.json"]
    rows = table(paths, "memory.csv")
    assert [(row["layers"], row["checkpoint_frequency"]) for row in rows] == [
        ("8,4x3,3", ""),
        ("8,4x3,3", "2"),
        ("8,4x4,3", ""),
        ("8,4x4,3", "2"),
    ]
    for row, cell in zip(rows, [cell for job in workers.jobs[:4] for cell in job.cells], strict=True):
        predicted = trace_of(cell).peak_bytes
        assert int(row["predicted_peak_bytes"]) == predicted
        assert int(row["residual_bytes"]) == int(row["memray_peak_bytes"]) - predicted
    assert [row["cell_id"] for row in table(paths, "time.csv")[::REPEATS]] == [row["cell_id"] for row in rows]


def test_an_interrupted_run_goes_on_where_it_stopped(start, workers, tmp_path):
    steps = start().execute()
    for _ in range(3):
        next(steps)
    steps.close()
    assert not (tmp_path / "results" / "memory.csv").exists()
    before = list(workers.jobs)
    finished = list(start().execute())
    assert [one.resumed for one in finished] == [True] * 3 + [False] * 3
    assert [job for job in workers.jobs if job in before] == before  # none of them twice


def test_tables_after_an_interruption_equal_those_of_an_undisturbed_run(start, tmp_path):
    run = start()
    list(run.execute())
    undisturbed = [path.read_bytes() for path in run.publish()]
    for path in sorted(tmp_path.glob("results/cells/*"))[::2]:
        path.unlink()
    run = start()
    list(run.execute())
    assert [path.read_bytes() for path in run.publish()] == undisturbed


def test_a_failed_job_is_a_row_a_cell_and_is_tried_again(start, workers):
    workers.broken = {"memory", "time"}
    run = start()
    assert {one.error for one in run.execute()} == {"the worker was killed by signal 9 (Killed)"}
    paths = run.publish()
    for name in ("memory.csv", "time.csv"):
        assert [row["status"] for row in table(paths, name)] == ["killed"] * 4
        assert {row["error"] for row in table(paths, name)} == {"the worker was killed by signal 9 (Killed)"}
    row = table(paths, "memory.csv")[0]
    assert int(row["predicted_peak_bytes"]) > 0
    assert row["memray_peak_bytes"] == row["residual_bytes"] == ""
    workers.broken = {"time"}
    run = start()
    finished = list(run.execute())
    assert not any(one.resumed for one in finished)
    assert [one.error != "" for one in finished] == [False] * 4 + [True] * 2
    assert json.loads(finished[-1].path.read_text())["record"]["log"] == "its last words"
    assert again(run) == {"ended as killed before": 8}


def test_a_change_of_settings_measures_again_only_what_depends_on_them(start, workers):
    list(start().execute())
    workers.jobs.clear()
    list(start(TEXT.replace('"t"', '"another title"') + "seed = [0, 1]\n[time]\nrepeats = 21").execute())
    assert [(job.measure, job.cells[0].seed) for job in workers.jobs] == [
        *[("memory", 1)] * 4,
        *[("time", 0), ("time", 1)] * 2,
    ]


def test_what_was_published_and_is_measured_again_with_other_settings_is_said(start):
    run = start()
    assert not run.again
    list(run.execute())
    run.publish()
    run = start(TEXT + "seed = [0, 1]\n[time]\nrepeats = 21")
    assert [(job.measure, job.cells[0].seed) for jobs in run.again.values() for job in jobs] == [("time", 0)] * 2
    assert again(run) == {UNRECORDED: 4}


def test_a_damaged_record_is_measured_again_and_said(start):
    first = next(start().execute())
    first.path.write_text("{}")
    run = start()
    said = f"{first.path}: is damaged, or of another version: its seal is not that of this job and these rows"
    assert again(run) == {said: 1}
    assert not any(one.resumed for one in run.execute())


def test_records_that_were_swapped_or_copied_are_measured_again_and_the_tables_are_as_they_were(start, workers):
    run = start()
    a, b, c, *_ = [one.path for one in run.execute()]
    undisturbed = [path.read_bytes() for path in run.publish()]
    contents = a.read_bytes(), b.read_bytes()
    a.write_bytes(contents[1])
    b.write_bytes(contents[0])
    c.write_bytes(contents[0])
    workers.jobs.clear()
    run = start()
    assert [reason.partition(":")[0] for reason in again(run)] == [str(path) for path in (a, b, c)]
    list(run.execute())
    assert len(workers.jobs) == 3
    assert [path.read_bytes() for path in run.publish()] == undisturbed


def test_a_record_of_another_grid_is_measured_again(start):
    other = start(TEXT.replace("batch = [5]", "batch = [6]"))
    (foreign, *_) = [one.path for one in other.execute()]
    run = start()
    (own, *_) = [one.path for one in run.execute()]
    own.write_bytes(foreign.read_bytes())
    run = start()
    assert sum(again(run).values()) == 1
    list(run.execute())
    assert {row["batch"] for row in table(run.publish(), "memory.csv")} == {"5"}


def test_a_whole_record_that_breaks_a_rule_of_its_table_is_measured_again(start):
    run = start()
    first, *others = run.execute()
    record = run._store.load(first.job)
    (row,) = record.rows
    broken = replace(record, rows=[row | {"residual_bytes": row["residual_bytes"] + 1}])
    run._store.save(first.job, broken)
    run = start()
    ((reason, cells),) = again(run).items()
    assert cells == 1
    assert reason.startswith(f"{first.path}: its rows: line 2, column residual_bytes: must be memray_peak_bytes less ")
    assert [one.resumed for one in run.execute()] == [True] * len(others) + [False]
    run.publish()


def test_a_cell_that_a_limit_ended_is_tried_again_when_that_is_raised(start, workers):
    workers.fault = "timeout"
    workers.broken = {"memory"}
    list(start(limits=Limits(timeout=2)).execute())
    workers.broken = set()
    for limits in (Limits(timeout=2), Limits(timeout=1, memory_limit=1)):
        run = start(limits=limits)
        assert not run.again
        assert all(one.resumed for one in run.execute())
    for limits in (Limits(timeout=3), NO_LIMITS):
        assert again(start(limits=limits)) == {"ended as timeout before": 4}


@pytest.mark.parametrize(
    ("status", "settled_by"),
    [
        ("ok", {0, 1, 2, 3}),
        ("failed", set()),
        ("killed", set()),
        ("skipped_too_large", set()),
        ("timeout", {1, 3}),
        ("out_of_memory", {2, 3}),
    ],
)
def test_what_ended_under_limits_is_settled_by_those_that_are_no_laxer(status, settled_by):
    now = [NO_LIMITS, Limits(timeout=1), Limits(memory_limit=7), Limits(timeout=2, memory_limit=8)]
    earlier = Limits(timeout=2, memory_limit=8)
    assert {number for number, limits in enumerate(now) if limits.settle(status, earlier)} == settled_by
    assert Limits(memory_limit=7).settle(status, NO_LIMITS) == (status == "ok")


def test_a_run_without_workers_says_why(start, workers):
    workers.machine = None
    with pytest.raises(RunAbortedError, match=r"no worker can be started: .* No module named 'numpy'"):
        start()


def test_the_environment_names_no_host_no_user_and_no_path(start):
    run = start()
    list(run.execute())
    environment = run.publish()[-1].read_text()
    loaded = json.loads(environment)
    assert loaded.keys() == {
        "schema_version",
        "datapackage_hash",
        "experiment",
        "code",
        "schedules",
        "machine",
        "variables",
        "drawn_with",
    }
    assert loaded["experiment"]["time"] == {"repeats": 15, "order_seed": 0}
    assert "/" not in environment
