"""The folder of an experiment's results: an atomic file for each finished job, and the tidy tables made from them.

    results/<experiment>/
        memory.csv, timeline.csv, time.csv, training.csv    those that the experiment measures
        datapackage.json                                     what their columns mean, for people and programs
        environment.json                                     where they come from; written last
        cells/<measure>-<key>.json                           finished jobs

A job's key is made from everything its result depends on: configuration, settings, measured code and machine. So a
run takes up exactly the files that are its own, and a table never mixes machines or versions of the code.
"""

import csv
import io
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.limits import Limits
from harness.tables import SCHEMA_VERSION, TABLES, data_package

Row = Mapping[str, Any]


class Store:
    """The results of one experiment in `folder`."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._cells = folder / "cells"

    def path(self, measure: str, key: str) -> Path:
        """The file of a job."""
        return self._cells / f"{measure}-{key}.json"

    def rows(self, measure: str, key: str, limits: Limits) -> list[Row] | None:
        """The rows of a job that is done with; None where it has not been run, or is to be tried again."""
        path = self.path(measure, key)
        try:
            record = json.loads(path.read_bytes())
        except FileNotFoundError:
            return None
        except ValueError:
            raise ValueError(f"{path}: is damaged; delete it, and it is measured again") from None
        earlier = Limits(**record["limits"])
        return record["rows"] if all(limits.settle(row["status"], earlier) for row in record["rows"]) else None

    def save(self, measure: str, key: str, *, rows: list[Row], log: str, limits: Limits) -> None:
        """Keep the rows of a job, what its worker printed, and the limits that it was given."""
        write_atomically(self.path(measure, key), _json({"rows": rows, "log": log, "limits": asdict(limits)}))

    def publish(self, tables: Mapping[str, Iterable[Row]], environment: Mapping[str, Any]) -> list[Path]:
        """Replace the folder's tables, datapackage.json and environment.json, and return their paths.

        environment.json goes first and comes back last: where it is, the tables beside it are one complete set.

        Raises:
            ValueError: a table is not what `tables` says of it; the folder is as it was.
        """
        from harness.schemas import parse_table  # imports pandas: seconds that the start of a run need not wait

        contents = {measure: _csv(TABLES[measure].names, rows) for measure, rows in tables.items()}
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


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` to `path` so that a reader, or a crash at any moment, finds the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.tmp")
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


def _csv(columns: tuple[str, ...], rows: Iterable[Row]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()
