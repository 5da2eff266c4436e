"""A worker process: whatever becomes of it is an outcome, and little of the caller's environment reaches it."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import termios

import memray
import pytest

from harness.execute import admission, pipes
from harness.execute import process as process_module
from harness.execute.admission import needed_bytes, run_if_it_fits
from harness.execute.process import WORKER, run_in_subprocess
from harness.experiment.job import Job, Outcome
from harness.experiment.limits import NO_LIMITS, Limits
from harness.experiment.measures import MEASURES
from harness.provenance import ROOT
from harness.sizes import format_bytes
from tests.support.cells import FAILING_IN_ITS_STEP, answer, store_all_cell
from tests.support.waiting import is_running, wait_until

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
        ("import sys; sys.exit('\\x1b[2J\\rgone')", "failed", "the worker exited with 1 without an answer: �[2J gone"),
        ('print(\'{"error": "MemoryError: 1 TiB"}\')', "out_of_memory", "MemoryError: 1 TiB"),
        ('print(\'{"error": "ValueError: 1"}\')', "failed", "ValueError: 1"),
    ],
)
def test_a_worker_that_fails_is_an_outcome_with_its_reason(code, status, error):
    outcome = outcome_of(code)
    assert (outcome.rows, outcome.status, outcome.error) == (None, status, error)


def test_a_worker_killed_while_memory_ran_out_is_told_from_one_killed_by_somebody(monkeypatch):
    counts = iter([3, 4])
    monkeypatch.setattr(process_module, "_oom_kills", lambda: next(counts))
    outcome = outcome_of("import os; os.kill(os.getpid(), 9)")
    assert outcome.status == "out_of_memory"
    assert outcome.error.endswith("(Killed) while the kernel's out-of-memory killer was at work")


def test_many_cells_of_a_day_each_are_waited_for():
    job = Job(measure="time", cells=(CELL,) * 25)
    code = f"import json; print(json.dumps({{'rows': {answer(job)!r}}}))"
    outcome = run_in_subprocess(job, command=(sys.executable, "-c", code), limits=Limits(timeout=86_400))
    assert outcome == Outcome(answer(job), log="")


def test_a_worker_gets_the_job_and_its_answer_and_log_come_back():
    code = f"import json, sys; print(sys.stdin.read(), file=sys.stderr); print(json.dumps({{'rows': {answer(JOB)!r}}}))"
    outcome = outcome_of(code)
    assert (outcome.rows, outcome.error, json.loads(outcome.log)) == (answer(JOB), "", JOB.request())


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ([], "neither rows nor an error: []"),
        ({}, "neither rows nor an error: {}"),
        ({"rows": 5}, "neither rows nor an error: {'rows': 5}"),
        ({"error": 5}, "neither rows nor an error: {'error': 5}"),
        ({"error": " "}, "neither rows nor an error: {'error': ' '}"),
        ({"rows": []}, "rows of 0 cells, not of 1"),
        ({"rows": [5]}, "the rows of a cell must be a list of objects, got 5"),
        ({"rows": [[5]]}, "the rows of a cell must be a list of objects, got [5]"),
        ({"rows": [[{}]]}, "no forward_steps"),
        ({"rows": [["\x1b[2J"]]}, "the rows of a cell must be a list of objects, got ['\\x1b[2J']"),
    ],
)
def test_an_answer_of_the_wrong_shape_is_a_failed_job_and_a_line(said, problem):
    outcome = outcome_of(f"import json; print(json.dumps({said!r}))")
    assert (outcome.rows, outcome.status) == (None, "failed")
    assert outcome.error == f"the worker answered nonsense: {problem}"


@pytest.mark.parametrize("timeout", [None, 60])
@pytest.mark.parametrize("options", ["", ", start_new_session=True"], ids=["in its group", "in a session of its own"])
def test_a_child_that_a_worker_leaves_behind_ends_with_it(tmp_path, timeout, options):
    child = tmp_path / "child"
    code = (
        f"import subprocess; child = subprocess.Popen(['sleep', '600']{options})\n"
        f"open({str(child)!r}, 'w').write(str(child.pid)); print('{{\"error\": \"so far\"}}')"
    )
    outcome = run_in_subprocess(JOB, (sys.executable, "-c", code), limits=Limits(timeout=timeout))
    assert (outcome.status, outcome.error) == ("failed", "so far")
    wait_until(lambda: not is_running(int(child.read_text())))


@pytest.mark.parametrize("limits", [NO_LIMITS, Limits(timeout=0.5)], ids=["ends", "over its time"])
def test_a_child_that_cannot_be_found_and_holds_the_pipes_is_not_waited_for(tmp_path, limits):
    child = tmp_path / "child"
    code = (
        "import subprocess, time; child = subprocess.Popen(['sleep', '600'], start_new_session=True, env={})\n"
        f"open({str(child)!r}, 'w').write(str(child.pid)); time.sleep({600 if limits.timeout else 0})"
    )
    outcome = run_in_subprocess(JOB, (sys.executable, "-c", code), limits=limits)
    assert outcome.status == ("timeout" if limits.timeout else "failed")
    os.kill(int(child.read_text()), signal.SIGKILL)


def test_of_what_a_worker_prints_the_last_is_kept_and_of_an_answer_no_more_than_there_can_be(monkeypatch):
    monkeypatch.setattr(pipes, "LOG_BYTES", 1000)
    outcome = outcome_of("import sys; sys.exit('x' * 10**7 + '\\nlast words')")
    assert outcome.error == "the worker exited with 1 without an answer: last words"
    assert outcome.log == f"({10**7 + 12 - 1000:,} bytes before this are left out)\n{'x' * 988}\nlast words\n"
    monkeypatch.setattr(pipes, "ANSWER_BYTES", 2**20)
    monkeypatch.setattr(process_module, "ANSWER_BYTES", 2**20)
    assert outcome_of("print('x' * 10**7)").error == "the worker answered nonsense: more than 1.00 MiB"


def test_a_large_request_to_a_worker_that_never_reads_blocks_nobody():
    job = Job(measure="memory", cells=(CELL,) * 5000)
    assert outcome_of("import sys; sys.exit('enough')", job).error.endswith("without an answer: enough")
    outcome = run_in_subprocess(job, (sys.executable, "-c", "import time; time.sleep(60)"), limits=Limits(timeout=1e-4))
    assert outcome.status == "timeout"


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
    code = "import json, os, sys; print(json.dumps(dict(os.environ)), file=sys.stderr)"
    seen = json.loads(outcome_of(code, Job(measure=measure, cells=())).log)
    assert seen.items() >= MEASURES[measure].variables.items()
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
    limits = Limits(memory_limit=needed_bytes(large) - 64 * 2**20)
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
    monkeypatch.setattr(admission, "run_in_subprocess", lambda job, **options: Outcome(None, said))
    outcome = run_if_it_fits(JOB, limits=Limits(memory_limit=limit), force=True)
    assert (outcome.status, outcome.error) == (status, said)


def unread_bytes(pipe):
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)
