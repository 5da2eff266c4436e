"""The compare command: the changes from one results folder to another, cell by cell."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.analysis.each_row import each_row
from harness.commands.console import label, new_console
from harness.commands.names import find_results, path_given
from harness.commands.tables import aligned
from harness.experiment.measures import MEASURES
from harness.results.folder import cell_of, read_results
from harness.results.origin import Origin

if TYPE_CHECKING:
    import pandas as pd

GATE_FAILED = 1
SIGNIFICANT = 0.05

PEAKS = {measure.name: measure.peak for measure in MEASURES.values() if measure.peak}
SECONDS = {measure.name: measure.seconds for measure in MEASURES.values() if measure.seconds}
"""The tables whose peaks are compared, and the tables whose times are compared, each with its column."""


def command(
    a: Annotated[
        Path, typer.Argument(metavar="A", parser=path_given, help="The earlier results, such as results/growth.")
    ],
    b: Annotated[
        Path, typer.Argument(metavar="B", parser=path_given, help="The later results, of the same experiment.")
    ],
    fail_if_memory_grows: Annotated[
        bool, typer.Option("--fail-if-memory-grows", help="Fail if the peak of any cell is larger in B.")
    ] = False,
    fail_if_slower: Annotated[
        float | None,
        typer.Option(metavar="RATIO", help="Fail if any cell is significantly slower in B, by more than RATIO."),
    ] = None,
    fail_if_cells_missing: Annotated[
        bool,
        typer.Option(
            "--fail-if-cells-missing",
            help="Fail if a cell is finished in A and not in B. Each --fail-if option does so for its tables.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare two results folders of one experiment, cell by cell.

    Memory: the difference of memray's peaks, in bytes. Time: the ratio of the median steps or epochs, B over A, with
    its 95 % interval. A ratio is significant if a Mann-Whitney test says so at 5 %, corrected by Holm's method for the
    number of cells. Times of different machines, or of a busy machine, tell nothing about the code. Resident peaks are
    not compared, because they differ from run to run.

    Each --fail-if option also fails if a cell is finished in A, but failed or missing in B.

    Exit code: 0, 1 if a --fail-if option fails, or 2 for bad input.
    """
    if fail_if_slower is not None and not 0 < fail_if_slower < float("inf"):
        raise ValueError(f"--fail-if-slower must be a ratio above 0, such as 1.05, got {fail_if_slower}")
    a, b = find_results(a), find_results(b)
    results = [read_results(folder) for folder in (a, b)]
    _require_one_experiment(a, b, *(one.environment.experiment.name for one in results))
    origins = [one.environment.origin for one in results]
    compared = _compared(*(one.tables((*PEAKS, *SECONDS)) for one in results))
    failures = []
    if fail_if_memory_grows:
        failures += _failures(compared, PEAKS, _growth, option="--fail-if-memory-grows")
    if fail_if_slower:
        slowness = partial(_slowness, limit=fail_if_slower)
        failures += _failures(compared, SECONDS, slowness, option="--fail-if-slower")
    if fail_if_cells_missing:
        failures += [line for line in _lost(compared, (*PEAKS, *SECONDS)) if line not in failures]
    before, after = _of_measures_in_common(origins)
    answer = {"differs": before.differences(after), **compared, "failures": failures}
    if as_json:
        print(json.dumps(answer, indent=2))
    else:
        _print(answer)
    if failures:
        raise typer.Exit(GATE_FAILED)


def _require_one_experiment(a: Path, b: Path, name_a: str, name_b: str) -> None:
    if name_a != name_b:
        raise ValueError(
            f"{a} and {b}: are of two experiments, {name_a} and {name_b}; compare two results of the same one"
        )


def _of_measures_in_common(origins: list[Origin]) -> list[Origin]:
    common = sorted(set.intersection(*(set(origin.variables) for origin in origins)))
    return [replace(origin, variables={name: origin.variables[name] for name in common}) for origin in origins]


def _compared(a: dict[str, "pd.DataFrame"], b: dict[str, "pd.DataFrame"]) -> dict[str, Any]:
    """For each table: the cells that both folders have finished, and the cells that only one has."""
    from harness.analysis.folders import (
        memory_differences,
        only_in,
        time_differences,  # imports pandas and scipy
    )

    answer: dict[str, Any] = {}
    names = [name for name in (*PEAKS, *SECONDS) if name in a or name in b]
    if not any(name in a and name in b for name in names):
        raise ValueError(f"nothing to compare: the folders have none of {', '.join((*PEAKS, *SECONDS))} in common")
    for name in names:
        # A folder without a table has none of its cells.
        tables = [own[name] if name in own else other[name].iloc[:0] for own, other in ((a, b), (b, a))]
        cells = {
            row["cell_id"]: label(cell_of(row))
            for table in tables
            for row in each_row(table.drop_duplicates("cell_id"))
        }
        if name in PEAKS:
            rows = memory_differences(*tables, peak=PEAKS[name])
        else:
            rows = time_differences(*tables, seconds=SECONDS[name])
        lost, in_b = only_in(*tables), set(tables[1]["cell_id"])
        answer[name] = {
            "cells": [{"cell": cells[row["cell_id"]], **row} for row in each_row(rows)],
            "only_in_a": lost,
            "only_in_b": only_in(*reversed(tables)),
            "failed_in_b": [cells[cell_id] for cell_id in lost if cell_id in in_b],
            "missing_in_b": [cells[cell_id] for cell_id in lost if cell_id not in in_b],
        }
    return answer


def _failures(
    compared: dict[str, Any], names: Iterable[str], worse: Callable[[dict[str, Any]], str], *, option: str
) -> list[str]:
    """A line for each cell of these tables that fails a gate. `worse` says how a cell fails; empty if it does not."""
    tables = [compared[name] for name in names if name in compared]
    cells = [row for table in tables for row in table["cells"]]
    if not cells and not any(table["failed_in_b"] for table in tables):
        raise ValueError(
            f"{option} has nothing to compare: no cell is finished in both folders' {' or '.join(names)}; leave it out"
        )
    told = [f"{row['cell']}: {problem}" for row in cells if (problem := worse(row))]
    return [*told, *_lost(compared, names)]


def _lost(compared: dict[str, Any], names: Iterable[str]) -> list[str]:
    """A line for each cell of these tables that is finished in A and not in B."""
    tables = {name: compared[name] for name in names if name in compared}
    failed = [f"{cell}: has failed in B" for table in tables.values() for cell in table["failed_in_b"]]
    missing = [f"{cell}: is missing in B's {name}" for name, table in tables.items() for cell in table["missing_in_b"]]
    return [*failed, *missing]


def _growth(row: dict[str, Any]) -> str:
    difference = row["difference_bytes"]
    return f"the peak grows by {difference:,} bytes" if difference > 0 else ""


def _slowness(row: dict[str, Any], *, limit: float) -> str:
    # A nan fails both comparisons, so it counts as slower.
    slower = not (row["p_value"] >= SIGNIFICANT or row["time_ratio"] <= limit)
    return f"takes {row['time_ratio']:.3f} times as long" if slower else ""


def _print(answer: dict[str, Any]) -> None:
    console = new_console()
    for line in answer["differs"]:
        console.print(f"warning: not measured alike: {line}")
    for name in (name for name in (*PEAKS, *SECONDS) if name in answer):
        compared = answer[name]
        for part in (_memory if name in PEAKS else _time)(name, compared["cells"], console.width):
            console.print(part)
        for folder in "ab":
            only = compared[f"only_in_{folder}"]
            if only:
                console.print(f"{name}: finished in {folder.upper()} alone: {', '.join(only)}")
    for line in answer["failures"]:
        console.print(f"failed: {line}")


def _memory(name: str, cells: list[dict[str, Any]], width: int) -> Iterator[str]:
    changed = [
        {
            "cell": row["cell"],
            "peak in A": f"{row['a_bytes']:,}",
            "peak in B": f"{row['b_bytes']:,}",
            "difference": f"{row['difference_bytes']:+,}",
        }
        for row in cells
        if row["difference_bytes"]
    ]
    if changed:
        yield f"\n{aligned(changed, left=['cell'], width=width)}\n"
    yield f"{name}: {len(cells) - len(changed)} of {len(cells)} cells equal to the byte"


def _time(name: str, cells: list[dict[str, Any]], width: int) -> Iterator[str]:
    told = [
        {
            "cell": row["cell"],
            "B / A": f"{row['time_ratio']:.3f}",
            "95 % interval": f"{row['ratio_low']:.3f} to {row['ratio_high']:.3f}",
            "p (Holm)": f"{_p_value(row['p_value'])} {'*' if row['p_value'] < SIGNIFICANT else ' '}",
        }
        for row in cells
    ]
    if told:
        yield f"\n{aligned(told, left=['cell'], width=width)}\n"
    significant = [row["time_ratio"] > 1 for row in cells if row["p_value"] < SIGNIFICANT]
    slower, faster = significant.count(True), significant.count(False)
    yield f"{name}: of {len(cells)} cells {slower} significantly slower in B, {faster} faster"


def _p_value(p_value: float) -> str:
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"
