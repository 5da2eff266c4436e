"""A results folder, read again: its tables, the cells they are of, and where they come from."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.cell import Cell
from harness.tables import TABLES

if TYPE_CHECKING:
    import pandas as pd

COMPARED = ("code.sha256", "machine", "variables")
"""What numbers depend on, of all that environment.json tells."""


def read_environment(folder: Path) -> dict[str, Any]:
    """What `folder`/environment.json tells.

    Raises:
        ValueError: the folder holds no complete results.
    """
    path = folder / "environment.json"
    try:
        environment = json.loads(path.read_bytes())
        return {**environment, **{name: dict(environment[name]) for name in ("code", "machine", "variables")}}
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror}); run the experiment first") from None
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{path}: does not tell code, machine and variables; run the experiment again") from None


def read_tables(folder: Path) -> dict[str, "pd.DataFrame"]:
    """The folder's tables by name, validated."""
    from harness.schemas import read_table  # imports pandas

    paths = {name: folder / f"{name}.csv" for name in TABLES}
    return {name: read_table(path) for name, path in paths.items() if path.is_file()}


def cell_of(row: Mapping[str, Any]) -> Cell:
    """The cell whose parameters stand in a row of a table.

    Raises:
        ValueError: they are not those that the row's `cell_id` was made from.
    """
    names = [field.name for field in fields(Cell) if field.name in row]
    cell = Cell(**{name: None if row[name] != row[name] else row[name] for name in names})  # nan, for missing text
    if cell.cell_id != row["cell_id"]:
        raise ValueError(f"cell {row['cell_id']}: its parameters make {cell.cell_id}; run the experiment again")
    return cell


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """What differs between two environments of that on which numbers depend, a line each."""
    before, after = (dict(_leaves(environment, ())) for environment in (one, other))
    names = [name for name in {**before, **after} if name.startswith(COMPARED)]
    return [
        f"{name}: {_short(before.get(name))} -> {_short(after.get(name))}"
        for name in names
        if before.get(name) != after.get(name)
    ]


def _leaves(value: Any, path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    match value:
        case dict():
            for name, inner in value.items():
                yield from _leaves(inner, (*path, name))
        case list():
            for number, inner in enumerate(value):
                yield from _leaves(inner, (*path, str(number)))
        case _:
            yield ".".join(path), value


def _short(value: Any) -> str:
    return "nothing" if value is None else str(value)[:40]
