"""Workers beside each other: never more than there is room for, each job once, and no number changed by it."""

import sys
import time
from threading import Event, Lock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from harness.commands.command_line import app
from harness.execute.admission import WORKER_BYTES, available_bytes, needed_bytes
from harness.execute.pool import Pool
from harness.execute.process import run_in_subprocess
from harness.experiment.job import Job, Outcome
from harness.experiment.measures import MEASURES
from harness.experiment.prediction import trace_of
from tests.support.cells import store_all_cell

NAMES = ("memory", "timeline", "time", "training")


class Machine:
    """Stands in for worker processes: notes what runs beside what."""

    def __init__(self):
        self.lock = Lock()
        self.running = {}
        self.started = []
        self.together = []

    def run(self, job, *, on_start):
        with self.lock:
            self.started.append(job.settings["name"])
            self.running[job.settings["name"]] = job
            self.together.append(list(self.running.values()))
        time.sleep(job.settings["pause"])
        with self.lock:
            del self.running[job.settings["name"]]
        return Outcome([[{"name": job.settings["name"]}]])


def job(name, measure="memory", *, needs=1, pause=0.0):
    return Job(measure=measure, cells=(), settings={"name": name, "needs": needs, "pause": pause})


def needs(job):
    return job.settings["needs"]


@settings(max_examples=60)
@given(
    drawn=st.lists(st.tuples(st.sampled_from(NAMES), st.integers(1, 12), st.sampled_from([0.0, 0.001, 0.003]))),
    jobs=st.integers(1, 4),
    room=st.integers(1, 20),
)
def test_what_runs_together_has_room_and_every_job_runs_once(drawn, jobs, room):
    named = {str(n): job(str(n), measure, needs=size, pause=pause) for n, (measure, size, pause) in enumerate(drawn)}
    machine = Machine()
    outcomes = list(Pool(jobs=jobs, room_bytes=room, run=machine.run, needs=needs)(named))
    assert sorted(machine.started) == sorted(named)
    assert sorted(name for name, _ in outcomes) == sorted(named)
    assert all(outcome.rows == [[{"name": name}]] for name, outcome in outcomes)
    for together in machine.together:
        assert len(together) <= jobs
        if len(together) > 1:
            assert sum(map(needs, together)) <= room
            assert all(MEASURES[one.measure].counts_bytes for one in together)


def test_jobs_run_beside_each_other_where_there_is_room():
    both = [Event(), Event()]

    def run(job, *, on_start):
        both[job.settings["needs"]].set()
        return Outcome([[{"met": both[1 - job.settings["needs"]].wait(20)}]])

    pool = Pool(jobs=2, room_bytes=1, run=run, needs=needs)
    assert [outcome.rows for _, outcome in pool({"a": job("a", needs=0), "b": job("b", needs=1)})] == [
        [[{"met": True}]],
        [[{"met": True}]],
    ]


def test_no_job_passes_an_earlier_one():
    machine = Machine()
    sizes = [9, 1, 20, 1, 5, 1]  # the third waits until it can run alone, and so do those behind it
    named = {str(n): job(str(n), needs=size, pause=0.002) for n, size in enumerate(sizes)}
    list(Pool(jobs=3, room_bytes=10, run=machine.run, needs=needs)(named))
    assert sorted(machine.started[:2]) == ["0", "1"]
    assert machine.started[2] == "2"


def test_one_at_a_time_keeps_the_order():
    machine = Machine()
    named = {str(n): job(str(n), measure) for n, measure in enumerate(NAMES * 2)}
    outcomes = list(Pool(jobs=1, room_bytes=1, run=machine.run, needs=needs)(named))
    assert machine.started == [name for name, _ in outcomes] == list(named)


def test_what_stops_one_worker_from_starting_stops_the_pool():
    def run(job, *, on_start):
        raise OSError("too many processes")

    with pytest.raises(OSError, match="too many processes"):
        list(Pool(jobs=2, room_bytes=1, run=run, needs=needs)({"a": job("a"), "b": job("b")}))


def test_a_pool_that_is_closed_kills_what_is_running():
    code = "import json, sys, time; time.sleep(json.load(sys.stdin)['settings']['pause']); print('{\"rows\": []}')"
    started = []

    def run(job, *, on_start):
        note = lambda process: (started.append(process), on_start(process))  # noqa: E731
        return run_in_subprocess(job, command=(sys.executable, "-c", code), on_start=note)

    outcomes = Pool(jobs=3, room_bytes=3, run=run, needs=needs)(
        {"a": job("a"), "b": job("b", pause=600), "c": job("c", pause=600), "d": job("d", pause=600)}
    )
    assert next(outcomes)[0] == "a"
    outcomes.close()
    assert sorted(process.returncode for process in started) == [-9, -9, 0]


def test_a_job_needs_its_worker_its_networks_and_its_largest_step():
    small, large = store_all_cell("64,128x4,10", batch=256), store_all_cell("64,512x4,10", batch=1024)
    parameters = 4 * (65 * 512 + 3 * 513 * 512 + 513 * 10)
    alone = needed_bytes(Job(measure="memory", cells=(large,)))
    assert alone >= WORKER_BYTES + parameters + trace_of(large).peak_bytes
    together = needed_bytes(Job(measure="time", cells=(small, large)))
    assert alone < together < alone + trace_of(small).peak_bytes + 2**20
    assert 0 < available_bytes() < 2**50


TEXT = """
title = "Tiny"
measure = ["memory", "timeline"]
[grid]
layers = ["8,4x3,3", "64,128x4,10"]
batch = [64]
checkpoint_frequency = [2]
"""


def test_tables_of_several_jobs_at_once_equal_those_of_one_at_a_time(tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text(TEXT)
    tables = []
    for jobs in ("1", "3"):
        folder = tmp_path / jobs
        result = CliRunner().invoke(app, ["run", str(path), "--results", str(folder), "--jobs", jobs])
        assert result.exit_code == 0, result.stderr
        tables.append({file.name: file.read_bytes() for file in (folder / "tiny").glob("*.csv")})
    assert tables[0].keys() == {"memory.csv", "timeline.csv"}
    assert tables[0] == tables[1]
