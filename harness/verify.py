"""The verify command: the memory cells of a results folder, measured again here and compared to the byte."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from harness import provenance
from harness.cell import Cell, Job
from harness.executors import SETTINGS
from harness.page import page
from harness.pool import Pool
from harness.recorded import cell_of, differences, read_environment, read_tables
from harness.room import available_bytes
from harness.rows import rows_of
from harness.tables import KEY_COLUMNS, TABLES

DIFFERENT = 1


def verify(
    results: Annotated[Path, typer.Argument(metavar="RESULTS", help="A folder that `run` wrote.")],
    cells: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Measure N of the cells, always the same; else all.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, metavar="N", help="How many cells to measure at once.")] = (
        os.cpu_count() or 1
    ),
) -> None:
    """Measure the memory cells of a results folder again, here, and compare every byte.

    Says which cells differ, by how much and in which kind of buffer, and what differs between this machine and the one
    in environment.json. Nothing is written into the folder.

    Exit code: 0, or 1 if a cell differs, 2 for bad input.
    """
    environment = read_environment(results)
    tables = read_tables(results)
    if "memory" not in tables:
        raise ValueError(f"{results}: has no memory.csv, so there is nothing that repeats to the byte")
    finished = tables["memory"].query("status == 'ok'").to_dict("records")
    if not finished:
        raise ValueError(f"{results}: memory.csv has no row of status ok")
    # A cell's id is a hash, so in their order the first cells are a sample of the whole grid.
    recorded = {row["cell_id"]: row for row in sorted(finished, key=lambda row: row["cell_id"])[:cells]}
    todo = {"environment": Job(measure="environment", cells=())}
    todo |= {name: Job(measure="memory", cells=(cell_of(row),)) for name, row in recorded.items()}
    outcomes = dict(Pool(jobs=jobs, room_bytes=available_bytes())(todo))
    console = page()
    unequal = 0
    for name, before in recorded.items():
        (after,) = rows_of(todo[name], outcomes[name])
        problems = [after["error"]] if after["error"] else list(_differences(before, after))
        if problems:
            unequal += 1
            console.print(f"{_named(todo[name].cells[0])}: {', '.join(problems)}")
    console.print(f"{results}: {len(recorded) - unequal} of {len(recorded)} cells equal to the byte")
    if unequal:
        for line in differences(environment, _here(outcomes["environment"].rows, environment["variables"])):
            console.print(f"  not measured alike: {line}")
        raise typer.Exit(DIFFERENT)


def _differences(before: dict[str, Any], after: dict[str, Any]) -> Iterator[str]:
    """The numbers that differ, each with what it was and what it is here."""
    for name in TABLES["memory"].names:
        if name not in (*KEY_COLUMNS, "error") and before[name] != after[name]:
            yield f"{name} {before[name]:,} -> {after[name]:,} ({after[name] - before[name]:+,})"


def _named(cell: Cell) -> str:
    return f"{cell.layers}, batch {cell.batch}, {cell.dtype}, {cell.variant} ({cell.cell_id})"


def _here(described: list[list[dict[str, Any]]] | None, measures: Iterable[str]) -> dict[str, Any]:
    """This machine, its settings of these measures, and this code, as environment.json would tell them."""
    return {
        "code": {"sha256": provenance.code_sha256()},
        "machine": described[0][0]["machine"] if described else {},
        "variables": {measure: SETTINGS[measure] for measure in measures},
    }
