"""The compare command: what has changed from one results folder to another, cell by cell."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.table import Table

from harness import provenance
from harness.page import page
from harness.recorded import cell_of, read_origin, read_tables

if TYPE_CHECKING:
    import pandas as pd

GATE_FAILED = 1
SIGNIFICANT = 0.05


def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="Results to compare with, such as results/growth.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Results that are compared with them.")],
    fail_if_memory_grows: Annotated[
        bool, typer.Option("--fail-if-memory-grows", help="Fail if the peak of any cell is larger in B.")
    ] = False,
    fail_if_slower: Annotated[
        float | None,
        typer.Option(metavar="RATIO", help="Fail if any cell is significantly slower in B, and by more than RATIO."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare two results folders, cell by cell.

    Memory: the difference of memray's peaks, in bytes. Time: the ratio of the median steps, B to A, with its 95 %
    interval; it is significant where a Mann-Whitney test says so at 5 %, corrected by Holm's method for the number of
    cells. Times of different machines, or of a busy one, tell nothing about the code.

    Exit code: 0, or 1 if a gate failed, 2 for bad input.
    """
    if fail_if_slower is not None and not 0 < fail_if_slower < float("inf"):
        raise ValueError(f"--fail-if-slower must be a ratio above 0, such as 1.05, got {fail_if_slower}")
    origins = [read_origin(folder) for folder in (a, b)]
    tables = [read_tables(folder) for folder in (a, b)]
    for gate, name in ((fail_if_memory_grows, "memory"), (fail_if_slower is not None, "time")):
        for folder, read in zip((a, b), tables, strict=True):
            if gate and name not in read:
                raise ValueError(f"{folder}: has no {name}.csv, which the gate needs")
    answer = {"differs": provenance.differences(*origins), **_compared(*tables)}
    failures = _failures(answer, memory=fail_if_memory_grows, slower=fail_if_slower)
    if as_json:
        print(json.dumps({**answer, "failures": failures}, indent=2))
    else:
        _print(answer, failures)
    if failures:
        raise typer.Exit(GATE_FAILED)


def _compared(a: dict[str, "pd.DataFrame"], b: dict[str, "pd.DataFrame"]) -> dict[str, Any]:
    from harness.differences import memory_differences, only_in, time_differences  # imports pandas and scipy

    cells = {
        row["cell_id"]: cell_of(row)
        for tables in (a, b)
        for name in ("memory", "time")
        if name in tables
        for row in tables[name].drop_duplicates("cell_id").to_dict("records")
    }
    answer: dict[str, Any] = {}
    for name, compared in (("memory", memory_differences), ("time", time_differences)):
        if name in a and name in b:
            rows = compared(a[name], b[name]).to_dict("records")
            only = {"only_in_a": only_in(a[name], b[name]), "only_in_b": only_in(b[name], a[name])}
            answer[name] = {"cells": [_named(row, cells) for row in rows], **only}
    if not answer:
        raise ValueError("nothing to compare: the two folders have neither memory.csv nor time.csv in common")
    return answer


def _named(row: dict[str, Any], cells: dict[str, Any]) -> dict[str, Any]:
    cell = cells[row["cell_id"]]
    return {"cell_id": row["cell_id"], "layers": cell.layers, "batch": cell.batch, "variant": cell.variant, **row}


def _failures(answer: dict[str, Any], *, memory: bool, slower: float | None) -> list[str]:
    """The cells at which a gate fails, in words."""
    failures = []
    for row in answer["memory"]["cells"] if memory else ():
        if row["difference_bytes"] > 0:
            failures.append(f"{_where(row)}: the peak grows by {row['difference_bytes']:,} bytes")
    for row in answer["time"]["cells"] if slower is not None else ():
        if row["p_value"] < SIGNIFICANT and row["time_ratio"] > slower:
            failures.append(f"{_where(row)}: takes {row['time_ratio']:.3f} times as long")
    return failures


def _where(row: dict[str, Any]) -> str:
    return f"{row['layers']}, batch {row['batch']}, {row['variant']} ({row['cell_id']})"


def _print(answer: dict[str, Any], failures: list[str]) -> None:
    console = page()
    for line in answer["differs"]:
        console.print(f"warning: not measured alike: {line}")
    for name, table in (("memory", _memory_table), ("time", _time_table)):
        if name in answer:
            cells = answer[name]["cells"]
            console.print(*table(cells))
            for folder in "ab":
                only = answer[name][f"only_in_{folder}"]
                if only:
                    console.print(f"{name}: finished in {folder.upper()} alone: {', '.join(only)}")
    for line in failures:
        console.print(f"failed: {line}")


def _memory_table(cells: list[dict[str, Any]]) -> tuple[Table, str]:
    changed = [row for row in cells if row["difference_bytes"]]
    table = _table("peak in A", "peak in B", "difference")
    for row in changed:
        numbers = f"{row['a_bytes']:,}", f"{row['b_bytes']:,}", f"{row['difference_bytes']:+,}"
        table.add_row(row["cell_id"], row["layers"], str(row["batch"]), row["variant"], *numbers)
    summary = f"memory: {len(cells) - len(changed)} of {len(cells)} cells equal to the byte"
    return (table, summary) if changed else (summary,)


def _time_table(cells: list[dict[str, Any]]) -> tuple[Table, str]:
    table = _table("B / A", "95 % interval", "p (Holm)")
    significant = [row for row in cells if row["p_value"] < SIGNIFICANT]
    for row in cells:
        interval = f"{row['ratio_low']:.3f} to {row['ratio_high']:.3f}"
        mark = "*" if row["p_value"] < SIGNIFICANT else " "
        p_value = "< 0.001" if row["p_value"] < 0.001 else f"{row['p_value']:.3f}"
        numbers = f"{row['time_ratio']:.3f}", interval, f"{p_value} {mark}"
        table.add_row(row["cell_id"], row["layers"], str(row["batch"]), row["variant"], *numbers)
    slower = sum(row["time_ratio"] > 1 for row in significant)
    faster = len(significant) - slower
    return table, f"time: of {len(cells)} cells {slower} significantly slower in B, {faster} faster"


def _table(*numbers: str) -> Table:
    table = Table("cell", "layers", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("batch", justify="right")
    table.add_column("variant")
    for name in numbers:
        table.add_column(name, justify="right")
    return table
