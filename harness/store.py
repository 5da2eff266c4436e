"""The folder of an experiment's results: an atomic file for each finished job, and the tidy tables made from them.

    results/<experiment>/
        memory.csv, timeline.csv, time.csv, training.csv    those that the experiment measures
        datapackage.json                                     what their columns mean, for people and programs
        environment.json                                     where they come from; written last
        cells/<measure>-<name>.json                          finished jobs, and where each result comes from
        cells/<measure>-<name>.bin                           memray's capture of a step that failed
        cells/lock                                           held by the process that writes here

A job's file is named by its configuration and settings. One that is no longer in the grid stays, unread, until the
job comes back; one whose origin is not that of the run is replaced when the job has been measured again.
"""

import csv
import errno
import fcntl
import io
import json
import os
import platform
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

from harness.cell import Job, digest
from harness.limits import Limits
from harness.machine_lock import holder
from harness.tables import PROVENANCE, SCHEMA_VERSION, TABLES, data_package

Row = Mapping[str, Any]

LONGEST_HOLDER = 200
"""How many letters of a lock's file are shown, where the system does not tell whose it is."""


class DamagedError(ValueError):
    """A job's file is not what was written."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """What is kept of a job.

    Attributes:
        rows: of its table.
        log: what its worker printed.
        limits: those that it was given.
        origin: where the rows come from, as `provenance.origin` tells it.
    """

    rows: list[Row]
    log: str
    limits: Limits
    origin: Mapping[str, Any]


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
            file = _open_lock(self._cells / "lock")
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
            for left in (*self.folder.glob("*.tmp"), *self._cells.glob("*.tmp")):
                left.unlink()
            yield

    def path(self, job: Job) -> Path:
        """The file of a job."""
        return self._cells / f"{job.name}.json"

    def capture_path(self, job: Job) -> Path:
        """The file of what memray captured of a job that failed."""
        return self.path(job).with_suffix(".bin")

    def load(self, job: Job) -> Record | None:
        """What is kept of a job; None where nothing is. Raises DamagedError."""
        path = self.path(job)
        try:
            file = json.loads(path.read_bytes())
            if file["digest"] == _seal(file["record"]):
                return Record(**{**file["record"], "limits": Limits(**file["record"]["limits"])})
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError):
            pass
        raise DamagedError(f"{path}: is damaged, or of another version")

    def published(self, measure: str) -> frozenset[str]:
        """The ids of the cells in the table of a measure; none where there is no table."""
        try:
            lines = (self.folder / f"{measure}.csv").read_text(errors="replace").splitlines()
        except OSError:
            return frozenset()
        return frozenset(line.partition(",")[0] for line in lines[1:])

    def save(self, job: Job, record: Record, *, capture: bytes = b"") -> None:
        """Keep what is known of a job, in place of what was kept before."""
        content = asdict(record)
        if capture:
            write_atomically(self.capture_path(job), capture)
        else:
            self.capture_path(job).unlink(missing_ok=True)
        write_atomically(self.path(job), _json({"record": content, "digest": _seal(content)}))

    def publish(self, tables: Mapping[str, Sequence[Row]], environment: Mapping[str, Any]) -> list[Path]:
        """Replace the folder's tables, datapackage.json and environment.json, and return their paths.

        environment.json goes first and comes back last: where it is, the tables beside it are one complete set.

        Raises:
            ValueError: a table is not what `tables` says of it; the folder is as it was.
        """
        from harness.schemas import parse_table  # imports pandas: seconds that the start of a run need not wait

        contents = {measure: _csv(_columns(measure, rows), rows) for measure, rows in tables.items()}
        for measure, content in contents.items():
            parse_table(measure, content, where=f"{measure}.csv as measured")
        environment_path = self.folder / "environment.json"
        environment_path.unlink(missing_ok=True)
        for measure in TABLES.keys() - contents.keys():
            (self.folder / f"{measure}.csv").unlink(missing_ok=True)
        described = data_package(self.folder.name, contents)
        files = {
            **{f"{measure}.csv": content for measure, content in contents.items()},
            "datapackage.json": _json(described),
            environment_path.name: _json({"schema_version": SCHEMA_VERSION, **environment}),
        }
        for name, content in files.items():
            write_atomically(self.folder / name, content)
        return [self.folder / name for name in files]


def _open_lock(path: Path) -> TextIO:
    """Open a lock's file for reading and writing; make it if need be.

    Raises OSError, and ValueError where it is no plain file: a link would lead to somebody else's.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise
    else:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return os.fdopen(descriptor, "r+", errors="replace")
        os.close(descriptor)
    raise ValueError(f"{path}: is not a plain file; remove it")


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` to `path` so that a reader, or a crash at any moment, finds the old file or the new one.

    Raises OSError, with the file's name, and leaves nothing half-written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the new name is on the disk as well
        finally:
            os.close(folder)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from None


def _seal(record: Any) -> str:
    return digest([SCHEMA_VERSION, record])


def _columns(measure: str, rows: Sequence[Row]) -> tuple[str, ...]:
    table = TABLES[measure]
    return table.mixed().names if any(PROVENANCE.name in row for row in rows) else table.names


def _csv(columns: tuple[str, ...], rows: Iterable[Row]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()
