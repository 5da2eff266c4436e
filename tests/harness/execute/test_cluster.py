"""Jobs on a Dask cluster: what it loses is submitted again, and what it must not measure is refused."""

import csv
import fcntl
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from types import SimpleNamespace

import memray
import pytest
from distributed import KilledWorker
from typer.testing import CliRunner

from harness import provenance
from harness.commands.command_line import app
from harness.errors import RunAbortedError
from harness.execute import admission, cluster, machine_lock
from harness.execute.admission import needed_bytes
from harness.execute.cluster import connected
from harness.execute.pool import Pool
from harness.execute.process import run_in_subprocess
from harness.execute.run import Run
from harness.experiment.file import Experiment
from harness.experiment.job import Job, Outcome
from harness.provenance import ROOT
from harness.results.store import Store
from tests.support.cells import FAILING_IN_ITS_STEP, store_all_cell

JOBS = {"one": Job(measure="memory", cells=(store_all_cell("8,4,3", batch=5),))}

TEXT = """
title = "Tiny"
measure = ["memory", "time"]
[grid]
layers = ["8,4x3,3", "8,4x4,3"]
batch = [5]
checkpoint_frequency = [2, 3, 4]
"""
CELLS, REPEATS = 8, 15


class Processes:
    """A scheduler and its workers as a person starts them, on the loopback interface."""

    def __init__(self, folder):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
        self._folder = folder
        self._started = []

    def start_scheduler(self):
        port = self.address.rpartition(":")[2]
        return self._start("scheduler", "--host", "127.0.0.1", "--port", port, "--dashboard-address", "127.0.0.1:0")

    def start_worker(self):
        return self._start("worker", self.address, "--nthreads", "1", "--no-nanny", "--no-dashboard")

    def _start(self, *arguments):
        command = [sys.executable, "-m", "dask", *arguments]
        log = (self._folder / f"dask-{len(self._started)}.log").open("w")
        with log:
            process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
        self._started.append(process)
        return process

    def stop(self):
        for process in reversed(self._started):
            process.kill()
            process.wait()


@pytest.fixture
def processes(tmp_path):
    started = Processes(tmp_path)
    yield started
    started.stop()


def test_a_grid_survives_the_loss_of_workers_and_of_the_scheduler(processes, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "FIRST_PATIENCE", "2m")  # on a busy machine a scheduler takes long to start
    path = tmp_path / "tiny.toml"
    path.write_text(TEXT)
    experiment, said = Experiment.load(path), []
    scheduler = processes.start_scheduler()
    workers = [processes.start_worker() for _ in range(3)]
    with connected(processes.address, say=said.append) as execute:
        run = Run(experiment, Store(tmp_path / "cluster"), execute=execute)
        for number, _ in enumerate(run.execute(), start=1):
            if number == 2:
                workers[0].kill()
            elif number == 4:
                processes.start_worker()
            elif number == 6:
                scheduler.kill()
                scheduler.wait()
                processes.start_scheduler()
                processes.start_worker()
        run.publish()
    assert f"{processes.address}: the scheduler is lost; waiting for it to come back" in said
    assert workers[0].wait() == -signal.SIGKILL
    undisturbed = Run(experiment, Store(tmp_path / "here"), execute=Pool(jobs=2, room_bytes=2**40))
    list(undisturbed.execute())
    undisturbed.publish()
    assert (tmp_path / "cluster/memory.csv").read_bytes() == (tmp_path / "here/memory.csv").read_bytes()
    for folder in ("cluster", "here"):
        rows = list(csv.DictReader((tmp_path / folder / "time.csv").read_text().splitlines()))
        assert {row["status"] for row in rows} == {"ok"}
        assert len({(row["cell_id"], row["repeat"]) for row in rows}) == len(rows) == CELLS * REPEATS


def test_the_command_line_measures_on_a_cluster_of_its_own(tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text(TEXT.replace("[2, 3, 4]", "[2]").replace(', "time"', ""))
    result = CliRunner().invoke(app, ["run", str(path), "--results", str(tmp_path), "--dask", "local:2"])
    assert result.exit_code == 0, result.stderr
    assert "4 cells, 0 failed, 0 measured earlier" in result.stdout


def test_what_a_failed_cell_leaves_on_a_node_comes_back_to_where_show_names_it(tmp_path, monkeypatch):
    def run(job, **options):
        return run_in_subprocess(job, FAILING_IN_ITS_STEP, **options)

    monkeypatch.setattr(admission, "run_in_subprocess", run)
    path = tmp_path / "tiny.toml"
    path.write_text(TEXT.replace("checkpoint_frequency = [2, 3, 4]", 'network = ["Network"]').replace(', "time"', ""))
    options = [str(path), "--results", str(tmp_path)]
    result = CliRunner().invoke(app, ["run", *options, "--dask", "local:1"])
    assert result.exit_code == 1
    shown = CliRunner().invoke(app, ["show", *options]).stdout.splitlines()
    assert "finished: 2 failed" in shown
    record, capture, *_ = (Path(line.strip()) for line in shown if line.startswith("  /"))
    assert "Traceback" in json.loads(record.read_text())["record"]["log"]
    with memray.FileReader(capture) as reader:
        assert reader.metadata.peak_memory > 0


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--dask", "local:0"], "--dask local:N needs a number of workers of at least 1, got 'local:0'"),
        (["--dask", "nowhere"], "--dask must be an address like tcp://10.0.0.1:8786, or local:4, got 'nowhere': "),
        (["--dask", "tls://127.0.0.1:1"], "--dask tls://127.0.0.1:1 needs certificates: name them in Dask's "),
        (["--dask", "tcp://127.0.0.1:1"], "tcp://127.0.0.1:1: no Dask scheduler answers: "),
        (["--dask", "local:2", "--jobs", "2"], "--jobs 2 has no effect with --dask: "),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(tmp_path, monkeypatch, options, line):
    monkeypatch.setattr(cluster, "FIRST_PATIENCE", "100ms")
    result = CliRunner().invoke(
        app, ["run", str(ROOT / "experiments/smoke.toml"), "--results", str(tmp_path), *options]
    )
    assert result.exit_code == 2
    assert result.stderr.startswith(line)
    assert len(result.stderr.splitlines()) == 1


@contextmanager
def serving(answer):
    """Listen on the loopback and do `answer` with each connection, which stays open unless that closes it."""
    accepted = []

    def accept():
        with suppress(OSError):
            while True:
                accepted.append(listener.accept()[0])
                answer(accepted[-1])

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = Thread(target=accept)
        thread.start()
        yield f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)  # ends its wait
        thread.join()
    for connection in accepted:
        connection.close()


SERVERS = {
    "silent": lambda connection: None,
    "closes at once": lambda connection: connection.close(),
    "speaks HTTP": lambda connection: connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n<html></html>"),
    "sends garbage": lambda connection: connection.sendall(bytes(range(256))),
    "half a handshake": lambda connection: connection.sendall((500).to_bytes(8, "little") + b"half"),
    "a frame without end": lambda connection: connection.sendall((2**60).to_bytes(8, "little")),
}


@pytest.mark.parametrize("name", SERVERS)
def test_whatever_answers_in_place_of_a_scheduler_is_one_line_and_exit_code_2(tmp_path, monkeypatch, name):
    monkeypatch.setattr(cluster, "FIRST_PATIENCE", "500ms")
    with serving(SERVERS[name]) as address:
        result = CliRunner().invoke(
            app, ["run", str(ROOT / "experiments/smoke.toml"), "--results", str(tmp_path), "--dask", address]
        )
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"{address}: no Dask scheduler answers: ")
    assert len(result.stderr.splitlines()) == 1


def test_a_silent_server_is_left_at_the_first_signal(tmp_path):
    connected_to = Event()
    command = [sys.executable, "-m", "harness", "run", "experiments/smoke.toml", "--results", str(tmp_path)]
    with serving(lambda connection: connected_to.set()) as address:
        run = subprocess.Popen([*command, "--dask", address], cwd=ROOT, stdout=-1, stderr=-1, text=True)
        assert connected_to.wait(60)
        run.send_signal(signal.SIGINT)
        _, errors = run.communicate()
    assert run.returncode == 130
    assert errors.startswith("interrupted; ")
    assert len(errors.splitlines()) == 1


def test_a_worker_given_for_a_scheduler_is_told(processes, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "FIRST_PATIENCE", "2m")
    processes.start_scheduler()
    with connected(processes.address, say=print) as execute, execute._client("2m") as client:
        processes.start_worker()
        client.wait_for_workers(1)
        (worker,) = client.scheduler_info()["workers"]
        with connected(worker, say=print) as mistaken, pytest.raises(RunAbortedError, match="it is a Worker"):
            list(mistaken(JOBS))


def listening():
    """The addresses, in hexadecimal, at which this process listens for TCP."""
    descriptors = Path("/proc/self/fd")
    own = set()
    for entry in descriptors.iterdir():
        with suppress(OSError):
            own.add(os.readlink(entry))
    lines = [
        line.split() for kind in ("tcp", "tcp6") for line in Path(f"/proc/net/{kind}").read_text().splitlines()[1:]
    ]
    return [line[1].partition(":")[0] for line in lines if line[3] == "0A" and f"socket:[{line[9]}]" in own]


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's table of sockets")
def test_a_cluster_of_ones_own_is_reached_from_this_machine_only_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = listening()
    with connected("local:2", run=lambda job: Outcome([[{"at": listening()}]]), say=print) as execute:
        ((_, outcome),) = execute(JOBS)
    added = Counter(outcome.rows[0][0]["at"]) - Counter(before)
    assert added.total() >= 3  # the scheduler's server and the workers' are seen
    assert added.keys() == {"0100007F"}
    assert list(tmp_path.iterdir()) == []


def test_a_worker_with_other_code_is_refused(monkeypatch):
    codes = itertools.chain(["what submits"], itertools.repeat("what runs"))
    monkeypatch.setattr(provenance, "code_sha256", lambda: next(codes))
    with (
        connected("local:1", say=print) as execute,
        pytest.raises(RunAbortedError, match="has other code than the checkout that submits"),
    ):
        list(execute(JOBS))


def test_a_worker_with_another_module_of_schedules_is_refused(monkeypatch):
    codes = itertools.chain([{"strange_rules": "what submits"}], itertools.repeat({"strange_rules": "what runs"}))
    monkeypatch.setattr(cluster, "schedules_sha256", lambda names, sources: next(codes))
    with (
        connected("local:1", say=print) as execute,
        pytest.raises(RunAbortedError, match="has other code of strange_rules than the machine that submits"),
    ):
        list(execute(JOBS))


def test_an_outcome_tells_where_it_was_measured():
    with connected("local:1", run=lambda job: Outcome([[{}]]), say=print) as execute:
        ((_, outcome),) = execute(JOBS)
    assert outcome.rows == [[{}]]
    assert outcome.place.keys() == {"machine", "machine_id"}


def test_what_takes_its_workers_down_with_it_is_a_failed_job():
    def fail(job):
        raise KilledWorker("job", SimpleNamespace(address="tcp://10.0.0.2:40331"), 3)

    with connected("local:1", run=fail, say=print) as execute:
        ((name, outcome),) = execute(JOBS)
    assert (name, outcome.rows) == ("one", None)
    assert outcome.error == "4 Dask workers were lost while they measured it"


def test_what_breaks_in_a_worker_is_said():
    def fail(job):
        raise OSError(28, "No space left on device")

    with (
        connected("local:1", run=fail, say=print) as execute,
        pytest.raises(RunAbortedError, match=r"a Dask worker cannot measure: OSError: .* No space left on device"),
    ):
        list(execute(JOBS))


@pytest.mark.parametrize(
    ("measure", "share", "shared"),
    [("memory", 1, True), ("timeline", 1, True), ("memory", 0.99, False), ("time", 1, False)],
)
def test_times_and_what_needs_more_than_its_share_are_alone_on_their_machine(
    monkeypatch, tmp_path, measure, share, shared
):
    def try_to_join(job):
        descriptor = os.open(tmp_path, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            os.close(descriptor)
        return True

    def run(job):
        return Outcome([[{"joined": try_to_join(job)}]])

    monkeypatch.setattr(machine_lock, "MACHINE", tmp_path)
    job = Job(measure=measure, cells=JOBS["one"].cells)
    available = int(share * os.cpu_count() * needed_bytes(job))
    monkeypatch.setattr(cluster, "available_bytes", lambda: available)
    monkeypatch.setattr(cluster, "this_place", lambda frameworks: {})
    outcome = cluster.measure_here(job.request(), {}, run=run, code=cluster.code_id(), frameworks=())
    assert outcome.rows == [[{"joined": shared}]]


def test_a_worker_describes_its_machine_once(monkeypatch):
    cluster.this_place.cache_clear()
    started = []
    monkeypatch.setattr(cluster, "run_in_subprocess", lambda job: started.append(job) or run_in_subprocess(job))
    assert cluster.this_place(()) == cluster.this_place(())
    assert [job.measure for job in started] == ["environment"]
