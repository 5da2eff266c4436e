"""Validates tables by their columns, and by rules between the columns.

The error of a damaged table is one line that names the file, the line in it and the column.
"""

import csv
import io
import math
from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd
import pandera.pandas as pa

from harness.experiment.columns import Column, Table, within_64_bits
from harness.experiment.frameworks import OWN
from harness.experiment.measures import table_of
from harness.experiment.model_cell import PLAIN, PLANNED
from harness.files import text_of
from networks.wording import in_a_line, shown

COLUMN_DTYPES = {"string": "str", "integer": "Int64", "number": "float64"}
"""`Int64` and not int64, because a failed cell has empty counts."""

_WRITTEN = {
    "string": (r".*", "one line"),
    "integer": (r"-?[0-9]+", "an integer"),
    "number": (r"-?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?", "a number"),
}
_DIVERGED = r"|nan|-?inf"

Rule = tuple[str, str, Callable[[pd.DataFrame], pd.Series]]
"""A column, what it must be, and a check for each row. A row with a missing value breaks no rule."""

MEMORY_PARTS = [f"memray_{part}_bytes" for part in ("activation_buffers", "parameter_deltas", "workspace", "other")]
TRACKER_PARTS = [
    f"tracker_{kind}_bytes" for kind in ("checkpoints", "working_afters", "deltas", "parameter_deltas", "workspace")
]

_ERROR: Rule = (
    *("error", "empty where status is ok, and only there"),
    lambda t: t["error"].isna() == (t["status"] == "ok"),
)

_OF_NETWORKS: tuple[Rule, ...] = (
    (
        "network",
        "NetworkWithCheckpointing where, and only where, there is a checkpoint_frequency or a schedule",
        lambda t: (
            t["network"].isna()
            | (
                (t["network"] != "Network")
                == (t["checkpoint_frequency"].notna().astype(int) + t["schedule"].notna().astype(int) == 1)
            )
        ),
    ),
    (
        "recompute",
        "there with checkpoint_frequency",
        lambda t: t["network"].isna() | (t["recompute"].isna() == t["checkpoint_frequency"].isna()),
    ),
    (
        "micro_batch",
        "less than the batch of a train_step",
        lambda t: t["micro_batch"].isna() | ((t["step"] == "train_step") & (t["micro_batch"] < t["batch"])),
    ),
)


def _at_least_predicted(peak: str) -> Rule:
    """memray sees every buffer that a prediction counts, and also objects of the interpreter."""
    measured, predicted = f"memray_{peak}_bytes", f"predicted_{peak}_bytes"
    return (measured, f"at least {predicted}", lambda t: t[measured] >= t[predicted])


def _told_of_our_own(column: str) -> Rule:
    def holds(t: pd.DataFrame) -> pd.Series:
        return (t["status"] != "ok") | (t[column].notna() == (t["framework"] == OWN))

    return (column, f"there where, and only where, the framework is {OWN}", holds)


def _of_planned_alone(column: str) -> Rule:
    def holds(t: pd.DataFrame) -> pd.Series:
        return (t["status"] != "ok") | (t[column].notna() == (t["variant"] == PLANNED))

    return (column, f"there where, and only where, the variant is {PLANNED}", holds)


_PEAKS: tuple[Rule, ...] = (
    ("tracker_peak_bytes", "predicted_peak_bytes", lambda t: t["tracker_peak_bytes"] == t["predicted_peak_bytes"]),
    (
        "residual_bytes",
        "memray_peak_bytes less predicted_peak_bytes",
        lambda t: t["residual_bytes"] == t["memray_peak_bytes"] - t["predicted_peak_bytes"],
    ),
    *(
        (f"{by}_peak_bytes", "the larger of both passes'", lambda t, by=by: t[f"{by}_peak_bytes"] == _larger(t, by))
        for by in ("predicted", "memray")
    ),
    ("memray_peak_bytes", "the sum of its parts", lambda t: t["memray_peak_bytes"] == _sum(t, MEMORY_PARTS)),
    ("tracker_peak_bytes", "the sum of its parts", lambda t: t["tracker_peak_bytes"] == _sum(t, TRACKER_PARTS)),
    *map(_at_least_predicted, ("peak", "forward_peak", "backward_peak")),
)
"""Rules of both tables with these columns. A framework that does not tell a value breaks no rule."""

RULES: dict[str, tuple[Rule, ...]] = {
    "memory": _PEAKS,
    "timeline": (
        (
            "live_bytes",
            "the sum of the cell's bytes so far",
            lambda t: t["live_bytes"] == t.groupby("cell_id")["bytes"].cumsum(),
        ),
    ),
    "time": (
        (
            "step_seconds",
            "forward_seconds and backward_seconds, which a train_step has not",
            lambda t: (
                t["step_seconds"].isna()
                | (t["step_seconds"] == t["forward_seconds"] + t["backward_seconds"])
                | (t["forward_seconds"].isna() & t["backward_seconds"].isna() & (t["step"] == "train_step"))
            ),
        ),
    ),
    "models_memory": tuple(_of_planned_alone(column) for column in ("budget_bytes", "schedule", "allowance_bytes")),
    "models_time": (
        (
            "time_ratio",
            "1 in plain rows",
            lambda t: (t["status"] != "ok") | (t["variant"] != PLAIN) | (t["time_ratio"] == 1),
        ),
        *(_of_planned_alone(column) for column in ("budget_bytes", "schedule")),
    ),
    "peers_memory": (
        *_PEAKS,
        *map(_told_of_our_own, ("predicted_peak_bytes", "tracker_peak_bytes", "residual_bytes")),
    ),
}


def parse_table(name: str, content: bytes, *, where: str) -> pd.DataFrame:
    """The content of the CSV file of table `name`, validated and with the types of its columns.

    Counts and bytes are `Int64`, because they are empty in a failed cell, and store-all has no `checkpoint_frequency`.
    Seconds, losses and accuracies are `float64`. All other columns are text, also a `cell_id` of digits alone. An empty
    field is missing.

    Raises:
        ValueError: it is no such table, or it is damaged. The message names the file as `where`, the line and the
            column. No content raises any other error.
    """
    table = table_of(name, content)
    written = _fields(table, content, where)
    for ok, rows in written.groupby(written["status"] == "ok"):
        _validate(rows, _written_schema(table, ok=ok), where)
    typed = pd.DataFrame({name: _typed(written[name], table.column(name)) for name in map(str, written)})
    _validate(typed, _schema(table), where)
    return typed


def _typed(fields: pd.Series, column: Column) -> pd.Series:
    """The values of fields whose text is valid."""
    if column.type == "string":
        return fields
    convert = int if column.type == "integer" else float
    values = [None if pd.isna(field) else convert(field) for field in fields]
    return pd.Series(values, index=fields.index, dtype=COLUMN_DTYPES[column.type])


def _fields(table: Table, content: bytes, where: str) -> pd.DataFrame:
    """The fields as text. An empty field is missing. Raises ValueError for a wrong header or a short line."""
    try:
        lines = list(csv.reader(io.StringIO(text_of(content), newline=""), strict=True))
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{where}: is not a CSV table: {error}") from None
    header, *lines = lines or [[]]
    lacking = [column for column in table.names if column not in header]
    strange = [column for column in header if column not in table.names]
    if lacking or strange or len(header) > len(table.names):
        problem = (
            f"no column {lacking[0]}{_more(len(lacking) - 1)}" if lacking else f"too many columns: {shown(strange)}"
        )
        raise ValueError(f"{where}: has {problem}; it is not of this version: run the experiment again")
    for number, line in enumerate(lines, start=2):
        if len(line) != len(header):
            raise ValueError(f"{where}: line {number} has {len(line)} fields, the header {len(header)}: it is damaged")
    return pd.DataFrame(lines, columns=header, dtype="str").replace("", pd.NA)


def _written_schema(table: Table, *, ok: bool) -> pa.DataFrameSchema:
    """The schema of fields as text, for rows of status ok or for others: which are filled, and their form."""
    required = ("always", "if ok") if ok else ("always",)
    columns = {}
    for column in table.columns:
        pattern, kind = _WRITTEN[column.type]
        pattern += "" if column.finite else _DIVERGED
        checks = [pa.Check(lambda fields, pattern=pattern: fields.str.fullmatch(pattern), error=f"must be {kind}")]
        if column.type == "integer":
            checks.append(pa.Check(lambda fields: fields.map(_within_64_bits), error="must be an integer of 64 bits"))
        columns[column.name] = pa.Column(checks=checks, nullable=column.filled not in required)
    return pa.DataFrameSchema(columns)


def _schema(table: Table) -> pa.DataFrameSchema:
    """The schema of values: their bounds, the unique key, and `RULES`."""
    columns = {
        column.name: pa.Column(COLUMN_DTYPES[column.type], nullable=True, checks=list(_bounds(column)))
        for column in table.columns
    }
    key = list(table.key)
    unique = (
        key[-1],
        f"unique by {' and '.join(key)}",
        lambda rows: ~rows.duplicated(key) | (rows["status"] != "ok"),
    )
    rules = (*(_OF_NETWORKS if "network" in columns else ()), _ERROR, *RULES.get(table.name, ()), unique)
    return pa.DataFrameSchema(columns, checks=[_check(*rule) for rule in rules])


def _bounds(column: Column) -> Iterator[pa.Check]:
    if column.minimum is not None:
        yield pa.Check.ge(column.minimum, error=f"must be at least {column.minimum}")
    if column.type == "number" and column.finite:
        yield pa.Check.lt(math.inf, error="must be a number")
    if column.values:
        yield pa.Check.isin(column.values, error=f"must be one of {', '.join(column.values)}")


def _check(column: str, must_be: str, holds: Callable[[pd.DataFrame], pd.Series]) -> pa.Check:
    return pa.Check(
        lambda rows: holds(rows).fillna(True).astype(bool), name=column, error=f"must be {must_be}", ignore_na=False
    )


def _validate(rows: pd.DataFrame, schema: pa.DataFrameSchema, where: str) -> None:
    try:
        schema.validate(rows, lazy=True)
    except pa.errors.SchemaErrors as errors:
        failures = errors.failure_cases.drop_duplicates(["check", "index"]).sort_values(
            ["index", "schema_context"], kind="stable"
        )
        raise ValueError(f"{where}: {_describe(rows, schema, failures.iloc[0])}{_more(len(failures) - 1)}") from None


def _describe(rows: pd.DataFrame, schema: pa.DataFrameSchema, failure: pd.Series) -> str:
    """The line of the file, counted from its header, the column, and the problem there."""
    of_rows = failure["schema_context"] == "DataFrameSchema"
    column = schema.checks[failure["check_number"]].name if of_rows else failure["column"]
    problem = "must not be empty" if failure["check"] == "not_nullable" else failure["check"]
    value: Any = rows.at[failure["index"], column]
    got = "" if pd.isna(value) else f", got {in_a_line(str(value))}"
    return f"line {failure['index'] + 2}, column {column}: {problem}{got}"


def _within_64_bits(field: Any) -> bool:
    """Whether the text of an integer is within 64 bits. True for text that is no integer."""
    try:
        return len(field) <= 20 and within_64_bits(int(field))
    except ValueError:
        return True


def _more(count: int) -> str:
    return f" (and {count} more)" if count else ""


def _larger(rows: pd.DataFrame, by: str) -> pd.Series:
    return rows[[f"{by}_forward_peak_bytes", f"{by}_backward_peak_bytes"]].max(axis=1, skipna=False)


def _sum(rows: pd.DataFrame, columns: list[str]) -> pd.Series:
    return rows[columns].sum(axis=1, skipna=False)
