"""One lock for all that measures on a machine: times alone, bytes beside each other, and a wait that says for whom."""

import os
import subprocess
import sys
from contextlib import nullcontext
from threading import Event, Thread

import pytest

from harness.execute import machine_lock, pool
from harness.execute.machine_lock import MACHINE, at_work
from harness.execute.pool import Pool
from harness.experiment.job import Job, Outcome
from harness.provenance import ROOT
from tests.support.waiting import wait_until


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine that nobody else measures on."""
    folder = tmp_path / "machine"
    folder.mkdir()
    monkeypatch.setattr(machine_lock, "MACHINE", folder)
    return folder


def elsewhere(machine, *, alone):
    """Another process at work on `machine`."""
    code = (
        "from pathlib import Path; from harness.execute import machine_lock\n"
        f"machine_lock.MACHINE = Path({str(machine)!r})\n"
        f"with machine_lock.at_work(alone={alone}): print('at work', flush=True); input()"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdin=-1, stdout=-1, text=True)
    assert process.stdout.readline() == "at work\n"
    return process


def test_the_lock_is_a_directory_of_the_system_that_no_user_can_replace():
    assert MACHINE.is_dir()
    assert not MACHINE.is_symlink()
    assert MACHINE.stat().st_uid == 0
    assert MACHINE.stat().st_mode & 0o005 == 0o005  # every user can open it, which is all that a lock needs


@pytest.mark.parametrize(("theirs", "ours", "meet"), [(0, 0, True), (0, 1, False), (1, 0, False), (1, 1, False)])
def test_times_exclude_all_other_processes_and_bytes_only_times(machine, monkeypatch, theirs, ours, meet):
    monkeypatch.setattr(machine_lock, "PATIENCE_SECONDS", 0)
    with elsewhere(machine, alone=bool(theirs)) as other:
        if meet:
            with at_work(alone=bool(ours)):
                pass
        else:
            said = rf"^waited in vain for process {other.pid} of user {os.getuid()} \(.*python.*\), which measures on"
            with pytest.raises(ValueError, match=said), at_work(alone=bool(ours)):
                pass
        other.communicate("\n")
    with at_work(alone=True):
        pass


def test_a_wait_is_told_once_with_whom_it_is_for(machine, monkeypatch, capsys):
    monkeypatch.setattr(machine_lock, "SAY_SECONDS", 0)
    with elsewhere(machine, alone=True) as other:
        said = []

        def measure():
            with at_work(alone=False):
                said.append("at work")

        waiting = Thread(target=measure)
        waiting.start()
        wait_until(lambda: said.extend(capsys.readouterr().err.splitlines()) or said)
        assert [line.partition(" of user ")[0] for line in said] == [f"waiting for process {other.pid}"]
        other.communicate("\n")
        waiting.join()
    assert said[1:] == ["at work"]
    assert capsys.readouterr().err == ""


def test_whoever_waits_to_be_alone_is_not_passed_by_those_that_share(machine, monkeypatch):
    order = []

    def measure(alone):
        with at_work(alone=alone):
            order.append(alone)

    with at_work(alone=False), machine_lock._directory(machine.parent) as gate:
        first = Thread(target=measure, args=(True,))
        first.start()
        wait_until(lambda: len(machine_lock._holders(gate)) > 0)
        second = Thread(target=measure, args=(False,))
        second.start()
        second.join(10 * machine_lock.POLL_SECONDS)
        assert order == []
    first.join()
    second.join()
    assert order == [True, False]


@pytest.mark.parametrize(
    "measure", ["time", "training", "peers_time", "memory", "timeline", "peers_memory", "resident"]
)
def test_a_pool_holds_the_machine_for_each_job_as_its_measure_asks(monkeypatch, measure):
    asked = []

    def at_work(*, alone, stopped):
        asked.append(alone)
        return nullcontext()

    monkeypatch.setattr(pool, "at_work", at_work)
    jobs = {
        "a": Job(measure=measure, cells=("a cell",)),
        "b": Job(measure="environment", cells=()),  # it measures nothing
    }
    list(Pool(jobs=1, room_bytes=1, run=lambda job, *, on_start: Outcome([]), needs=lambda job: 1)(jobs))
    assert asked == [measure in ("time", "training", "peers_time")]


def test_a_pool_that_is_closed_no_longer_waits_for_the_machine(machine):
    running = Event()

    def run(job, *, on_start):
        running.set()
        return Outcome([])

    jobs = {name: Job(measure="memory", cells=(name,)) for name in "ab"}
    outcomes = Pool(jobs=2, room_bytes=2, run=run, needs=lambda job: 1)({"0": Job(measure="memory", cells=()), **jobs})
    with elsewhere(machine, alone=True) as other:
        assert next(outcomes)[0] == "0"
        running.clear()
        outcomes.close()
        assert not running.is_set()
        other.communicate("\n")
