"""The rows of a table, each as a dictionary."""

from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import pandas as pd


def each_row(table: "pd.DataFrame") -> list[dict[str, Any]]:
    """What stands in each row, by the names of the table's columns, as Python's own numbers and texts."""
    return cast("list[dict[str, Any]]", table.to_dict("records"))
