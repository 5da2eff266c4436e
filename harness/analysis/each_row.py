"""The rows of a table, each as a dictionary."""

from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import pandas as pd


def each_row(table: "pd.DataFrame") -> list[dict[str, Any]]:
    """Each row as a dictionary by column, with numbers and texts of Python."""
    return cast("list[dict[str, Any]]", table.to_dict("records"))
