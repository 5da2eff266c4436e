"""Reads a results folder: its tables, their cells, and their origin.

A set is what one run has published. A reader notices if a folder changes while it reads, or if a killed run has left
parts of two sets. For that, datapackage.json has the hash of each table, and environment.json has the hash of
datapackage.json. A run removes environment.json before it changes a table, and writes it last.
"""

import os
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from harness.experiment.cell import PARAMETERS
from harness.experiment.chains import Chains
from harness.experiment.frameworks import OWN, PEERS
from harness.experiment.job import AnyCell, cell_with
from harness.experiment.measures import TABLES
from harness.experiment.model_cell import MODEL_PARAMETERS
from harness.files import open_regular, parse_json, read_regular
from harness.results.datapackage import listed_tables, sha256_of
from harness.results.origin import Origin
from networks.schedules.foreign import Source
from networks.wording import in_a_line, shown

if TYPE_CHECKING:
    import pandas as pd

ENVIRONMENT, PACKAGE = "environment.json", "datapackage.json"

ATTEMPTS, PAUSE_SECONDS = 100, 0.02
"""How many times to read a set that is being published, and the pause between. A publication takes less time."""

_EXPECTED = {"string_type": "text", "list_type": "a list", "dict_type": "a table", "model_type": "a table"}


class _Told(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="allow")


class ToldExperiment(_Told):
    """The experiment of a set. `chains` are the layers that it names, by name."""

    name: str
    title: str
    sha256: str
    figures: list[str]
    chains: Chains = {}


class ToldCode(_Told):
    """The code that measured a set."""

    sha256: str


class Environment(_Told):
    """The content of an environment.json. Fields that are read have types. All other fields are kept as they are.

    `schedules` are hashes of code by the schedule's name. `sources` are texts of schedules' files by path. `variables`
    are by measure. Files of earlier versions have no `datapackage_hash` and no `schedules`.
    """

    experiment: ToldExperiment
    code: ToldCode
    schedules: dict[str, str] = {}
    sources: dict[str, str] = {}
    machine: dict[str, Any]
    variables: dict[str, dict[str, str]]
    datapackage_hash: str | None = None

    @property
    def origin(self) -> Origin:
        """The origin of the set's rows. Its variables are by measure."""
        return Origin(code=self.code.sha256, schedules=self.schedules, machine=self.machine, variables=self.variables)

    @property
    def files(self) -> list[Source]:
        """The files of the measured schedules."""
        return [Source(path, text) for path, text in self.sources.items()]


def parse_environment(content: bytes) -> Environment:
    """The content of an environment.json.

    Raises:
        ValueError: no run writes such content. No content raises any other error.
    """
    value = parse_json(content)
    try:
        return Environment.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
    place = in_a_line(".".join(map(str, first["loc"])))
    if first["type"] == "missing":
        raise ValueError(f"{place} is missing")
    if first["type"] == "value_error":
        raise ValueError(f"{place}: {first['ctx']['error']}")
    raise ValueError(f"{place or 'it'} must be {_EXPECTED[first['type']]}, got {shown(first['input'])}")


@dataclass(frozen=True, kw_only=True)
class Results:
    """One set of results: its environment.json, and the contents of its tables by name."""

    folder: Path
    environment: Environment
    contents: Mapping[str, bytes]

    def cell_of(self, row: Mapping[str, Any]) -> AnyCell:
        """The cell of a row of a table, with the files of its schedule. Raises as `cell_of`."""
        return cell_of(row).with_sources(self.environment.files)

    def tables(self, names: Collection[str] = TABLES) -> dict[str, "pd.DataFrame"]:
        """The tables of the set that are among `names`, validated. Raises ValueError.

        A table of layers has one more column than its file: `chain`, the experiment's name for them. Empty if none.
        """
        from harness.results.schemas import parse_table  # imports pandas

        tables = {
            name: parse_table(name, self.contents[name], where=str(self.folder / f"{name}.csv"))
            for name in TABLES
            if name in names and name in self.contents
        }
        chains = {layers: chain for chain, layers in self.environment.experiment.chains.items()}
        return {name: _with_chains(table, chains) for name, table in tables.items()}


def _with_chains(table: "pd.DataFrame", chains: Mapping[str, str]) -> "pd.DataFrame":
    if "layers" not in table:
        return table
    return table.assign(chain=table["layers"].map(lambda layers: chains.get(layers, "")).astype("str"))


def read_results(folder: Path) -> Results:
    """The set that was published last in `folder`. If a run is publishing a set, wait for it.

    Raises:
        ValueError: there is no complete set, or it is not what a run wrote.
    """
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE_SECONDS)
        if results := _read_at_rest(folder):
            return results
    raise ValueError(
        f"{folder}: holds no complete set of results: a run is publishing it, or was killed while it did; "
        "run the experiment again"
    )


def published_within(folder: Path) -> list[Path]:
    """The folders in `folder` that hold results, by name."""
    return sorted(path.parent for path in folder.glob(f"*/{ENVIRONMENT}"))


def _read_at_rest(folder: Path) -> Results | None:
    """The set in `folder`. None if a run is publishing it."""
    path = folder / ENVIRONMENT
    try:
        environment = open_regular(path)
    except FileNotFoundError as error:
        if (folder / PACKAGE).exists():
            return None
        if within := published_within(folder):
            raise ValueError(f"{folder}: name one of {', '.join(map(str, within))}") from None
        raise ValueError(f"{path}: cannot be read ({error.strerror}); run the experiment first") from None
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror}); move it away and run the experiment") from None
    except ValueError as error:
        raise ValueError(f"{path}: cannot be read ({error}); move it away and run the experiment") from None
    problem = None
    with environment:
        try:
            results = _read(folder, environment.read())
        except ValueError as error:
            problem = error
        # No other file has the inode of an open file. If the name still has it, nothing was published meanwhile.
        if not _is_still_at(path, environment.fileno()):
            return None
    if problem is not None:
        raise problem
    return results


def _is_still_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _read(folder: Path, content: bytes) -> Results:
    """Read the files of a set. Raises ValueError with the file's name if a run did not write it."""
    try:
        environment = parse_environment(content)
    except ValueError as error:
        raise _unlike(folder / ENVIRONMENT, str(error)) from None
    package = _content(folder / PACKAGE)
    if environment.datapackage_hash not in (None, sha256_of(package)):
        raise _unlike(folder / PACKAGE, f"its hash is not that in {ENVIRONMENT}")
    try:
        listed = listed_tables(package)
    except ValueError as error:
        raise _unlike(folder / PACKAGE, str(error)) from None
    contents = {name: _content(folder / f"{name}.csv") for name in listed}
    for name, told in listed.items():
        if sha256_of(contents[name]) != told:
            raise _unlike(folder / f"{name}.csv", f"its hash is not that in {PACKAGE}")
    return Results(folder=folder, environment=environment, contents=contents)


def _content(path: Path) -> bytes:
    try:
        return read_regular(path)
    except OSError as error:
        raise _unlike(path, f"it cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise _unlike(path, str(error)) from None


def _unlike(path: Path, problem: str) -> ValueError:
    return ValueError(
        f"{path}: is not what a run wrote: {problem}; put it back as it was, or run the experiment again with --replace"
    )


def cell_of(row: Mapping[str, Any]) -> AnyCell:
    """The cell of a row of a table.

    Raises:
        ValueError: the parameters in the row do not make its `cell_id`.
    """
    parameters: dict[str, Any]
    names = [name for name in (MODEL_PARAMETERS if "model" in row else PARAMETERS) if name in row]
    parameters = {name: None if row[name] != row[name] else row[name] for name in names}  # nan, for missing text
    if row.get("framework", OWN) != OWN:
        parameters["peer"] = f"{row['framework']}.{row['variant'].partition(' ')[0]}"
    cell = cell_with(parameters)
    if cell.cell_id != row["cell_id"] or cell.peer not in (None, *PEERS):
        raise ValueError(f"cell {row['cell_id']}: its parameters are those of {cell.cell_id}; run the experiment again")
    return cell
