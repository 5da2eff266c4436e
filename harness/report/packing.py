"""Data of the page: tables by columns, packed into one compressed text."""

import base64
import json
import math
import zlib
from typing import Any

import numpy as np
import pandas as pd

from harness.experiment.columns import Table


def packed(data: Any) -> str:
    """JSON data as text that needs no escapes in HTML: deflated (RFC 1950), in base64."""
    content = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return base64.b64encode(zlib.compress(content.encode(), level=9)).decode()


def unpacked(text: str) -> Any:
    """The inverse of `packed`."""
    return json.loads(zlib.decompress(base64.b64decode(text)))


def plain(value: Any) -> Any:
    """A value of a table as JSON: None for a missing value, a word for infinity."""
    if value is None or value is pd.NA:
        return None
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value


def json_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table as JSON, without missing values."""
    rows = ({str(name): plain(value) for name, value in row.items()} for row in table.to_dict("records"))
    return [{name: value for name, value in row.items() if value is not None} for row in rows]


def columns_of(table: Table, rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Each column of a table with its unit, its description and its values."""
    return [
        {
            "name": column.name,
            "unit": column.unit,
            "about": column.description,
            "numeric": column.type != "string",
            "values": [plain(value) for value in rows[column.name]],
        }
        for column in table.columns
    ]
