"""A worker process: whatever becomes of it is an outcome, and little of the caller's environment reaches it."""

import fcntl
import os
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
from cells import store_all_cell

from harness.cell import Job
from harness.executors import SETTINGS, run_in_subprocess
from harness.provenance import ROOT

CELL = store_all_cell("8,4,3", batch=5)
JOB = Job(measure="memory", cells=(CELL,))


def outcome_of(code, job=JOB):
    return run_in_subprocess(job, command=(sys.executable, "-c", code))


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("import os; os.kill(os.getpid(), 9)", "the worker was killed by signal 9 (Killed)"),
        ("import os; os.abort()", "the worker was killed by signal 6 (Aborted)"),
        ("import sys; sys.exit('no memory')", "the worker exited with 1 without an answer: no memory"),
        ("print('{\"rows\": [[')", "the worker exited with 0 without an answer: "),
        ("print('[]')", "the worker exited with 0 without an answer: "),
        ("print('{}')", "the worker exited with 0 without an answer: "),
        ('print(\'{"error": "MemoryError: 1 TiB"}\')', "MemoryError: 1 TiB"),
    ],
)
def test_a_worker_that_fails_is_an_outcome_with_its_reason(code, error):
    outcome = outcome_of(code)
    assert (outcome.rows, outcome.error) == (None, error)


def test_a_worker_gets_the_job_and_its_answer_and_log_come_back():
    code = (
        "import json, sys; print('a note', file=sys.stderr)\n"
        "json.dump({'rows': json.load(sys.stdin)['cells']}, sys.stdout)"
    )
    outcome = outcome_of(code)
    assert (outcome.rows, outcome.error, outcome.log) == (JOB.request()["cells"], "", "a note\n")


@pytest.mark.parametrize("measure", ["memory", "time"])
def test_a_worker_sees_its_measures_settings_and_nothing_else_of_the_environment(monkeypatch, measure):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "7")
    monkeypatch.setenv("PYTHONWARNINGS", "error")
    monkeypatch.setenv("MALLOC_ARENA_MAX", "1")
    code = "import json, os; print(json.dumps({'rows': [dict(os.environ)]}))"
    (seen,) = outcome_of(code, Job(measure=measure, cells=())).rows
    assert seen.items() >= SETTINGS[measure].items()
    assert seen.keys().isdisjoint({"PYTHONWARNINGS", "MALLOC_ARENA_MAX", "HOME", "USER"})


def test_an_exception_of_a_measurement_is_one_line_and_its_traceback_the_log():
    outcome = run_in_subprocess(Job(measure="memory", cells=(CELL, CELL)))
    assert outcome.rows is None
    assert outcome.error == "ValueError: too many values to unpack (expected 1)"
    assert "Traceback" in outcome.log


@pytest.mark.skipif(sys.platform != "linux", reason="the parent-death signal is Linux's")
def test_a_worker_dies_with_its_parent(tmp_path):
    # The worker waits for the rest of its job from a pipe that this test holds open: nothing else would end it.
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    parent_code = (
        "import subprocess, sys, time\n"
        f"worker = subprocess.Popen([sys.executable, '-m', 'harness.worker'], stdin=open({str(pipe)!r}))\n"
        "print(worker.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    job = os.open(pipe, os.O_RDWR)
    os.write(job, b'{"measure"')
    with subprocess.Popen([sys.executable, "-c", parent_code], stdout=subprocess.PIPE, text=True, cwd=ROOT) as parent:
        worker = int(parent.stdout.readline())
        wait_until(lambda: unread_bytes(job) == 0)
        parent.kill()
    wait_until(lambda: not is_running(worker))
    os.close(job)


def unread_bytes(pipe):
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


def is_running(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "waited 20 seconds in vain"
        time.sleep(0.02)
