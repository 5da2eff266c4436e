"""The `datapackage.json` beside the tables: a Frictionless description of every column (https://datapackage.org)."""

import hashlib
from collections.abc import Mapping
from typing import Any

from harness.experiment.columns import Column, Table
from harness.experiment.measures import TABLES, table_of
from harness.files import parse_json
from networks.wording import shown


def sha256_of(content: bytes) -> str:
    """The hash of a file, as a data package writes it."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def listed_tables(content: bytes) -> dict[str, str]:
    """The tables that the content of a `datapackage.json` describes, each with the hash of its file.

    Raises:
        ValueError: `data_package` makes no such content. No content raises any other error.
    """
    match parse_json(content):
        case {"resources": [*resources]}:
            return dict(_listed(resource) for resource in resources)
    raise ValueError("lists no tables")


def _listed(resource: Any) -> tuple[str, str]:
    match resource:
        case {"name": str(name), "path": str(path), "hash": str(told)} if name in TABLES and path == f"{name}.csv":
            return name, told
    raise ValueError(f"lists an unknown table: {shown(resource)}")


def data_package(title: str, contents: Mapping[str, bytes]) -> dict[str, Any]:
    """A Frictionless data package of tables. `contents` are their CSV files by name."""
    return {
        "$schema": "https://datapackage.org/profiles/2.0/datapackage.json",
        "title": title,
        "resources": [_resource(table_of(name, content), content) for name, content in contents.items()],
    }


def _resource(table: Table, content: bytes) -> dict[str, Any]:
    return {
        "name": table.name,
        "type": "table",
        "description": table.description,
        "path": f"{table.name}.csv",
        "format": "csv",
        "mediatype": "text/csv",
        "encoding": "utf-8",
        "bytes": len(content),
        "hash": sha256_of(content),
        "schema": table_schema(table),
    }


def table_schema(table: Table) -> dict[str, Any]:
    """A Frictionless schema of a table: every column with its type, its unit and its description."""
    return {
        "$schema": "https://datapackage.org/profiles/2.0/tableschema.json",
        "fields": [_field(column) for column in table.columns],
        "missingValues": [""],
    }


def _field(column: Column) -> dict[str, Any]:
    constraints = {
        "required": True if column.filled == "always" else None,
        "minimum": column.minimum,
        "enum": list(column.values) or None,
    }
    field = {
        "name": column.name,
        "type": column.type,
        "description": column.description,
        "unit": column.unit or None,
        "constraints": {name: value for name, value in constraints.items() if value is not None} or None,
    }
    return {name: value for name, value in field.items() if value is not None}
