"""Nothing is lost: a fault at every operation that changes the disk, kills, a full disk, and two runs at once."""

import errno
import os
from contextlib import suppress
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness import provenance
from harness.commands.command_line import app
from harness.execute.run import Run
from harness.experiment.file import Experiment
from harness.experiment.job import Outcome
from harness.files import write_atomically
from harness.results import schemas
from harness.results.store import Store
from tests.slow.chaos import TEXT, chaos
from tests.support.cells import answer
from tests.support.limits import no_file_larger_than


class KilledError(BaseException):
    """The process is dead: nothing that it would still do happens."""


class Disk:
    """Counts what changes the disk and lets one such operation fail, as on a full disk or by a kill in its midst."""

    def __init__(self, monkeypatch):
        self.restart()
        for name in ("fsync", "replace", "unlink", "mkdir"):
            monkeypatch.setattr(os, name, self._faulty(getattr(os, name)))
        opened = Path.open

        def open_path(path, mode="r", **options):
            return File(self, opened, path) if mode == "wb" else opened(path, mode, **options)

        monkeypatch.setattr(Path, "open", open_path)

    def restart(self, *, fault_at=None, kill=False):
        self.operations, self.fault_at, self.kill, self.dead = 0, fault_at, kill, False

    def operation(self, do):
        """Do it, or fail; return whether it was done."""
        if not self.dead and self.operations != self.fault_at:
            self.operations += 1
            return do()
        self.operations += 1
        self.dead = self.kill
        raise KilledError if self.kill else OSError(errno.ENOSPC, "No space left on device")

    def _faulty(self, function):
        return lambda *arguments, **options: self.operation(lambda: function(*arguments, **options))


class File:
    """An open file, half of whose content is written where writing fails."""

    def __init__(self, disk, opened, path):
        self._disk, self._file = disk, disk.operation(lambda: opened(path, "wb"))

    def __getattr__(self, name):
        return getattr(self._file, name)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._file.close()

    def write(self, content):
        try:
            return self._disk.operation(lambda: self._file.write(content))
        except (OSError, KilledError):
            self._file.write(content[: len(content) // 2])
            raise


def workers(jobs):
    place = {"machine": {"cpu": "one"}, "machine_id": ""}
    for name, job in jobs.items():
        yield name, Outcome([[place]] if job.measure == "environment" else answer(job))


@pytest.fixture
def run_grid(tmp_path, monkeypatch):
    """Run a grid whose cells cost nothing; what else takes long and changes no disk is left out."""
    monkeypatch.setattr(schemas, "parse_table", lambda *arguments, **options: None)
    monkeypatch.setattr(provenance, "commit", dict)
    monkeypatch.setattr(provenance, "code_sha256", lambda: "code")
    path = tmp_path / "tiny.toml"
    path.write_text(TEXT)
    experiment = Experiment.load(path)

    def run_grid(folder):
        store = Store(folder)
        with store.held():
            run = Run(experiment, store, execute=workers)
            list(run.execute())
            run.publish()

    return run_grid


def files(folder):
    """Their contents by name; the lock's, which tells who held it, left out."""
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name != "lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@pytest.mark.parametrize("kill", [False, True], ids=["full disk", "kill"])
def test_after_a_fault_at_any_operation_a_run_ends_as_if_there_had_been_none(tmp_path, monkeypatch, run_grid, kill):
    disk = Disk(monkeypatch)
    run_grid(tmp_path / "tiny")
    undisturbed, operations = files(tmp_path / "tiny"), disk.operations
    assert operations > 30
    for fault_at in range(operations):
        folder = tmp_path / str(fault_at) / "tiny"
        disk.restart(fault_at=fault_at, kill=kill)
        with suppress(OSError, ValueError, KilledError):
            run_grid(folder)
        assert disk.operations > fault_at
        left = files(folder)
        half = {name for name in left if name.endswith(".tmp")}
        assert len(half) <= kill
        assert all(left[name] == undisturbed[name] for name in left.keys() - half)
        disk.restart()
        run_grid(folder)
        assert files(folder) == undisturbed


def test_three_kills_change_nothing(tmp_path):
    assert chaos(tmp_path, kills=3, seed=5).total() == 3


def test_a_full_disk_leaves_nothing_half_written(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, b"old")
    with no_file_larger_than(100_000), pytest.raises(OSError, match=f"File too large: '{path}'"):
        write_atomically(path, bytes(1_000_000))
    assert files(tmp_path) == {"file": b"old"}


def test_a_second_run_on_a_folder_says_who_holds_it_and_exits_with_2(tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text(TEXT)
    with Store(tmp_path / "tiny").held():
        result = CliRunner().invoke(app, ["run", str(path), "--results", str(tmp_path)])
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"{tmp_path}/tiny: is being written by process {os.getpid()} on ")
    assert len(result.stderr.splitlines()) == 1
