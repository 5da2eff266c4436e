"""The folder of an experiment's results: a file for each finished job, and the tidy tables made from them.

    results/<experiment>/
        memory.csv, timeline.csv, time.csv, training.csv    the tables of the experiment's measures
        datapackage.json                                     the meaning of their columns, and the hash of each table
        environment.json                                     their origin; written last
        cells/<measure>-<name>.json                          finished jobs, and the origin of each
        cells/<measure>-<name>.bin                           memray's capture of a step that failed
        cells/lock                                           held by the process that writes here

A job's file is named by its configuration and settings. If a job is no longer in the grid, its file stays and is not
read until the job comes back. If a file's origin is not that of the run, the file is replaced when the job has been
measured again.
"""

import csv
import fcntl
import io
import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from harness.errors import DamagedError
from harness.experiment.columns import PROVENANCE
from harness.experiment.job import Job
from harness.experiment.measures import TABLES
from harness.files import TEMPORARY, format_json, holder, open_lock, read_regular, write_atomically
from harness.results.datapackage import data_package, listed_tables, sha256_of
from harness.results.folder import ENVIRONMENT, PACKAGE, parse_environment
from harness.results.records import SCHEMA_VERSION, Record, Row, format_record, parse_record

LONGEST_HOLDER = 200
"""How many letters of a lock's file are shown if the system does not tell its holder."""


class Store:
    """The results of one experiment in `folder`."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._cells = folder / "cells"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep every other process from writing here, and remove unfinished files of a killed process.

        The system releases the lock when the process that holds it ends in any way.

        Raises:
            ValueError: another process holds the folder, or it cannot be written.
        """
        try:
            self._cells.mkdir(parents=True, exist_ok=True)
            file = open_lock(self._cells / "lock")
        except OSError as error:
            raise ValueError(
                f"{self.folder}: cannot be written: {error.strerror}; choose another folder with --results"
            ) from None
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                by = holder(file.fileno()) or file.read(LONGEST_HOLDER).strip() or "another process"
                raise ValueError(f"{self.folder}: is being written by {by}; wait for it or stop it") from None
            file.truncate(0)
            file.write(f"process {os.getpid()} on {platform.node()}, started {datetime.now():%Y-%m-%d %H:%M:%S}\n")
            file.flush()
            for left in (*self.folder.glob(TEMPORARY.format("*")), *self._cells.glob(TEMPORARY.format("*"))):
                left.unlink()
            yield

    def path(self, job: Job) -> Path:
        """The file of a job."""
        return self._cells / f"{job.name}.json"

    def capture_path(self, job: Job) -> Path:
        """The file of memray's capture of a job that failed."""
        return self.path(job).with_suffix(".bin")

    def load(self, job: Job) -> Record | None:
        """The record of a job. None if there is none.

        Raises:
            DamagedError: its file is damaged. `save` replaces it.
            ValueError: there is a folder in the place of a file. The store does not replace it.
        """
        path = self.path(job)
        _require_no_folder(path, self.capture_path(job))
        try:
            return parse_record(read_regular(path), job)
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise DamagedError(f"{path}: is damaged, or of another version: {error}") from None

    def published(self, measure: str) -> frozenset[str]:
        """The ids of the cells in the table of a measure. Empty if there is no table."""
        try:
            lines = read_regular(self.folder / f"{measure}.csv").decode(errors="replace").splitlines()
        except (OSError, ValueError):
            return frozenset()
        return frozenset(line.partition(",")[0] for line in lines[1:])

    def save(self, job: Job, record: Record, *, capture: bytes = b"") -> None:
        """Write the record of a job. It replaces an earlier one."""
        if capture:
            write_atomically(self.capture_path(job), capture)
        else:
            self.capture_path(job).unlink(missing_ok=True)
        write_atomically(self.path(job), format_record(record, job))

    def publish(self, tables: Mapping[str, Sequence[Row]], environment: Mapping[str, Any]) -> list[Path]:
        """Replace the folder's tables, datapackage.json and environment.json, and return their paths.

        environment.json is removed first and written last. If it is there, the tables beside it are a complete set.

        Raises:
            ValueError: rows break a rule of their table. The folder does not change.
        """
        from harness.results.schemas import parse_table  # imports pandas for seconds, after the start of a run

        contents = {measure: _csv(measure, rows) for measure, rows in tables.items()}
        for measure, content in contents.items():
            parse_table(measure, content, where=f"{measure}.csv as measured")
        package = format_json(data_package(self.folder.name, contents))
        told = {"schema_version": SCHEMA_VERSION, "datapackage_hash": sha256_of(package), **environment}
        (self.folder / ENVIRONMENT).unlink(missing_ok=True)
        for measure in self._listed() - contents.keys():
            (self.folder / f"{measure}.csv").unlink(missing_ok=True)
        # The package comes before the tables. So it lists every table that a killed run may leave.
        write_atomically(self.folder / PACKAGE, package)
        for measure, content in contents.items():
            write_atomically(self.folder / f"{measure}.csv", content)
        write_atomically(self.folder / ENVIRONMENT, format_json(told))
        return [self.folder / name for name in (*(f"{measure}.csv" for measure in contents), PACKAGE, ENVIRONMENT)]

    def _listed(self) -> frozenset[str]:
        """The tables here that a run wrote, as its datapackage.json lists them."""
        try:
            return frozenset(_own(self.folder / PACKAGE, listed_tables) or ())
        except ValueError:
            return frozenset()

    def require_own(self, title: str, cells: Mapping[str, Set[str]], *, replace: bool = False) -> None:
        """Raise ValueError if the tables of an experiment would overwrite files that are not its own.

        Tables under the same title are its own. Tables under another title count as its own if `cells`, the ids by
        measure, contain all published cells, because then nothing is lost. With `replace` everything is overwritten,
        except folders.
        """
        places = {measure: self.folder / f"{measure}.csv" for measure in cells}
        package, environment = self.folder / PACKAGE, self.folder / ENVIRONMENT
        _require_no_folder(*places.values(), package, environment)
        if replace:
            return
        listed = _own(package, listed_tables) or {}
        told = _own(environment, parse_environment)
        for measure, path in places.items():
            if path.exists() and measure not in listed:
                raise _foreign(path)
        if told is None or told.experiment.title == title:
            return
        lost = [f"{measure}.csv" for measure in listed if not self.published(measure) <= cells.get(measure, set())]
        if lost:
            raise ValueError(
                f"{self.folder}: holds the results of another experiment, {told.experiment.title!r}, whose "
                f"{', '.join(lost)} would be lost; choose another folder with --results, or use --replace"
            )


T = TypeVar("T")


def _own(path: Path, parse: Callable[[bytes], T]) -> T | None:
    """The content of a file that a run wrote. None if there is no file. Raises ValueError for a file of others."""
    try:
        return parse(read_regular(path))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError:
        raise _foreign(path) from None


def _foreign(path: Path) -> ValueError:
    return ValueError(f"{path}: is not what a run wrote; move it away, or write over it with --replace")


def unfit(measure: str, rows: Mapping[str, Sequence[Row]]) -> Iterator[tuple[str, str]]:
    """The names of jobs whose rows break a rule of their table, each with the problem."""
    if not rows:
        return
    from harness.results.schemas import parse_table  # imports pandas

    try:
        parse_table(measure, _csv(measure, [row for part in rows.values() for row in part]), where="its rows")
    except ValueError as error:
        names = list(rows)
        if len(names) == 1:
            yield names[0], str(error)
        else:
            for half in (names[: len(names) // 2], names[len(names) // 2 :]):
                yield from unfit(measure, {name: rows[name] for name in half})


def _require_no_folder(*paths: Path) -> None:
    for path in paths:
        if path.is_dir():
            raise ValueError(f"{path}: is a folder where a file belongs; move it away")


def _csv(measure: str, rows: Sequence[Row]) -> bytes:
    table = TABLES[measure]
    columns = table.mixed().names if any(PROVENANCE.name in row for row in rows) else table.names
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()
