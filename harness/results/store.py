"""The folder of an experiment's results: an atomic file for each finished job, and the tidy tables made from them.

    results/<experiment>/
        memory.csv, timeline.csv, time.csv, training.csv    those that the experiment measures
        datapackage.json                                     what their columns mean, and the hash of each table
        environment.json                                     where they come from; written last
        cells/<measure>-<name>.json                          finished jobs, and where each result comes from
        cells/<measure>-<name>.bin                           memray's capture of a step that failed
        cells/lock                                           held by the process that writes here

A job's file is named by its configuration and settings. One that is no longer in the grid stays, unread, until the
job comes back; one whose origin is not that of the run is replaced when the job has been measured again.
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
"""How many letters of a lock's file are shown, where the system does not tell whose it is."""


class Store:
    """The results of one experiment in `folder`."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._cells = folder / "cells"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep every other process from writing here, and remove what a killed one has left half-written.

        The system releases the lock with the process that holds it, however that ends.

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
        """The file of what memray captured of a job that failed."""
        return self.path(job).with_suffix(".bin")

    def load(self, job: Job) -> Record | None:
        """What is kept of a job; None where nothing is.

        Raises:
            DamagedError: its file is not what was kept of it; `save` replaces it.
            ValueError: a folder is where its files belong, which nothing here replaces.
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
        """The ids of the cells in the table of a measure; none where there is no table."""
        try:
            lines = read_regular(self.folder / f"{measure}.csv").decode(errors="replace").splitlines()
        except (OSError, ValueError):
            return frozenset()
        return frozenset(line.partition(",")[0] for line in lines[1:])

    def save(self, job: Job, record: Record, *, capture: bytes = b"") -> None:
        """Keep what is known of a job, in place of what was kept before."""
        if capture:
            write_atomically(self.capture_path(job), capture)
        else:
            self.capture_path(job).unlink(missing_ok=True)
        write_atomically(self.path(job), format_record(record, job))

    def publish(self, tables: Mapping[str, Sequence[Row]], environment: Mapping[str, Any]) -> list[Path]:
        """Replace the folder's tables, datapackage.json and environment.json, and return their paths.

        environment.json goes first and comes back last: where it is, the tables beside it are one complete set.

        Raises:
            ValueError: a table is not what `tables` says of it; the folder is as it was.
        """
        from harness.results.schemas import parse_table  # imports pandas: seconds that the start of a run need not wait

        contents = {measure: _csv(measure, rows) for measure, rows in tables.items()}
        for measure, content in contents.items():
            parse_table(measure, content, where=f"{measure}.csv as measured")
        package = format_json(data_package(self.folder.name, contents))
        told = {"schema_version": SCHEMA_VERSION, "datapackage_hash": sha256_of(package), **environment}
        (self.folder / ENVIRONMENT).unlink(missing_ok=True)
        for measure in self._listed() - contents.keys():
            (self.folder / f"{measure}.csv").unlink(missing_ok=True)
        # The package comes before the tables, so that it lists each table of ours that a kill may leave.
        write_atomically(self.folder / PACKAGE, package)
        for measure, content in contents.items():
            write_atomically(self.folder / f"{measure}.csv", content)
        write_atomically(self.folder / ENVIRONMENT, format_json(told))
        return [self.folder / name for name in (*(f"{measure}.csv" for measure in contents), PACKAGE, ENVIRONMENT)]

    def _listed(self) -> frozenset[str]:
        """The tables here that a run wrote: those that its datapackage.json lists."""
        try:
            return frozenset(_own(self.folder / PACKAGE, listed_tables) or ())
        except ValueError:
            return frozenset()

    def require_own(self, title: str, cells: Mapping[str, Set[str]], *, replace: bool = False) -> None:
        """Raise ValueError where the tables of an experiment would write over what is not its own.

        Its own is what a run has published under this title, whatever the cells were. Under another title it is its own
        as well if `cells`, the ids of those that each measure has, hold all that was published: nothing is lost then.
        With `replace` all is written over, but for folders.
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
    """What a file tells that a run wrote; None where there is none. Raises ValueError for somebody else's."""
    try:
        return parse(read_regular(path))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError:
        raise _foreign(path) from None


def _foreign(path: Path) -> ValueError:
    return ValueError(f"{path}: is not what a run wrote; move it away, or write over it with --replace")


def unfit(measure: str, rows: Mapping[str, Sequence[Row]]) -> Iterator[tuple[str, str]]:
    """Of jobs, by name, those whose rows break a rule of their table, and what it is: it could not be published."""
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
