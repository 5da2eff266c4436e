"""A worker process: whatever becomes of it is an outcome, and little of the caller's environment reaches it."""

import fcntl
import os
import subprocess
import sys
import termios
import time
from pathlib import Path

import memray
import pytest
from cells import FAILING_IN_ITS_STEP, store_all_cell

from harness import executors, room
from harness.cell import Job
from harness.executors import SETTINGS, WORKER, Outcome, run_in_subprocess
from harness.limits import Limits
from harness.provenance import ROOT
from harness.room import needed_bytes, run_if_it_fits
from harness.sizes import format_bytes

CELL = store_all_cell("8,4,3", batch=5)
JOB = Job(measure="memory", cells=(CELL,))


def outcome_of(code, job=JOB):
    return run_in_subprocess(job, command=(sys.executable, "-c", code))


@pytest.mark.parametrize(
    ("code", "status", "error"),
    [
        ("import os; os.kill(os.getpid(), 9)", "killed", "the worker was killed by signal 9 (Killed)"),
        ("import os; os.abort()", "killed", "the worker was killed by signal 6 (Aborted)"),
        ("import sys; sys.exit('oh dear')", "failed", "the worker exited with 1 without an answer: oh dear"),
        ("raise MemoryError('x')", "out_of_memory", "the worker exited with 1 without an answer: MemoryError: x"),
        ("print('{\"rows\": [[')", "failed", "the worker exited with 0 without an answer: "),
        ("print('[' * 10**6)", "failed", "the worker exited with 0 without an answer: "),
        ("import sys; sys.exit('\x1b[2J\rgone')", "failed", "the worker exited with 1 without an answer:  [2J gone"),
        ('print(\'{"error": "MemoryError: 1 TiB"}\')', "out_of_memory", "MemoryError: 1 TiB"),
        ('print(\'{"error": "ValueError: 1"}\')', "failed", "ValueError: 1"),
    ],
)
def test_a_worker_that_fails_is_an_outcome_with_its_reason(code, status, error):
    outcome = outcome_of(code)
    assert (outcome.rows, outcome.status, outcome.error) == (None, status, error)


def test_a_worker_killed_while_memory_ran_out_is_told_from_one_killed_by_somebody(monkeypatch):
    counts = iter([3, 4])
    monkeypatch.setattr(executors, "_oom_kills", lambda: next(counts))
    outcome = outcome_of("import os; os.kill(os.getpid(), 9)")
    assert outcome.status == "out_of_memory"
    assert outcome.error.endswith("(Killed) while the kernel's out-of-memory killer was at work")


def test_a_worker_gets_the_job_and_its_answer_and_log_come_back():
    code = (
        "import json, sys; print('a note', file=sys.stderr)\n"
        "json.dump({'rows': json.load(sys.stdin)['cells']}, sys.stdout)"
    )
    outcome = outcome_of(code)
    assert (outcome.rows, outcome.error, outcome.log) == (JOB.request()["cells"], "", "a note\n")


def test_the_capture_of_a_step_that_fails_is_kept_and_nothing_else_of_a_workers_files(tmp_path):
    outcome = run_in_subprocess(JOB, FAILING_IN_ITS_STEP)
    assert outcome.error == "RuntimeError: in the measured step"
    (tmp_path / "capture.bin").write_bytes(outcome.capture)
    with memray.FileReader(tmp_path / "capture.bin") as reader:
        assert reader.metadata.peak_memory > 0
    assert run_in_subprocess(JOB).capture == b""


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
        "import os, subprocess, sys, time\n"
        "command = [sys.executable, '-m', 'harness.worker', str(os.getpid())]\n"
        f"worker = subprocess.Popen(command, stdin=open({str(pipe)!r}))\n"
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


def test_a_worker_whose_parent_is_dead_before_it_can_watch_it_does_not_begin():
    outcome = run_in_subprocess(JOB, command=(*WORKER, "1"))  # not what started it; its own comes behind
    assert outcome.error.endswith("the process that started this worker has ended")


def test_a_worker_over_its_time_is_killed_with_all_that_it_has_started(tmp_path):
    child = tmp_path / "child"
    code = (
        "import os, subprocess, sys, time; print('so far', file=sys.stderr, flush=True)\n"
        f"child = subprocess.Popen(['sleep', '60']); open({str(child)!r}, 'w').write(str(child.pid)); time.sleep(60)"
    )
    command = (sys.executable, "-c", code)
    outcome = run_in_subprocess(Job(measure="time", cells=(CELL, CELL)), command, limits=Limits(timeout=0.5))
    assert (outcome.status, outcome.error, outcome.log) == ("timeout", "took longer than 1 s", "so far\n")
    wait_until(lambda: not is_running(int(child.read_text())))


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited by prlimit, which is Linux's")
def test_a_worker_over_its_memory_is_out_of_memory_and_one_within_it_is_not():
    large = Job(measure="memory", cells=(store_all_cell("64,512x7,10", batch=4096),))
    limits = Limits(memory_limit=needed_bytes(large) - 32 * 2**20)
    outcome = run_in_subprocess(large, limits=limits)
    assert outcome.status == "out_of_memory"
    assert outcome.error.startswith("MemoryError: Unable to allocate 8.00 MiB")
    assert outcome.error.endswith(f"(under a memory limit of {format_bytes(limits.memory_limit)})")
    assert run_if_it_fits(large, limits=limits).status == "skipped_too_large"
    within = Job(measure="memory", cells=(CELL,))
    assert run_if_it_fits(within, limits=Limits(memory_limit=needed_bytes(within))).status == "ok"


@pytest.mark.parametrize(("limit", "status"), [(needed_bytes(JOB) - 1, "out_of_memory"), (needed_bytes(JOB), "failed")])
def test_what_was_forced_to_start_where_it_cannot_fit_fails_for_want_of_memory(monkeypatch, limit, status):
    said = "RuntimeError: Resource temporarily unavailable"  # of memray's thread, whose stack is not granted
    monkeypatch.setattr(room, "run_in_subprocess", lambda job, **options: Outcome(None, said))
    outcome = run_if_it_fits(JOB, limits=Limits(memory_limit=limit), force=True)
    assert (outcome.status, outcome.error) == (status, said)


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
