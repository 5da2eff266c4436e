"""A results folder, read again: its tables, the cells they are of, and where they come from."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import provenance
from harness.cell import PARAMETERS, Cell
from harness.peers import OWN
from harness.tables import TABLES

if TYPE_CHECKING:
    import pandas as pd


def read_origin(folder: Path) -> dict[str, Any]:
    """What numbers depend on, of all that `folder`/environment.json tells; its variables are by measure.

    Beside it stands the name of the `experiment`.

    Raises:
        ValueError: the folder holds no complete results.
    """
    path = folder / "environment.json"
    try:
        told = json.loads(path.read_bytes())
        origin = provenance.origin(
            {"machine": dict(told["machine"])}, code=told["code"]["sha256"], variables=told["variables"]
        )
        return {**origin, "experiment": told["experiment"]["name"]}
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror}); run the experiment first") from None
    except (ValueError, KeyError, TypeError):
        raise ValueError(
            f"{path}: does not tell code, machine, variables and experiment; run the experiment again"
        ) from None


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
    names = [name for name in PARAMETERS if name in row]
    parameters = {name: None if row[name] != row[name] else row[name] for name in names}  # nan, for missing text
    if row.get("framework", OWN) != OWN:
        parameters["peer"] = f"{row['framework']}.{row['variant'].partition(' ')[0]}"
    cell = Cell(**parameters)
    if cell.cell_id != row["cell_id"]:
        raise ValueError(f"cell {row['cell_id']}: its parameters make {cell.cell_id}; run the experiment again")
    return cell
