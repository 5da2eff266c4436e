"""The flamegraph command: memray's own picture of one cell's step at its peak."""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from harness.cell import Cell, Job
from harness.executors import run_in_subprocess
from harness.names import find_results
from harness.page import named, page
from harness.recorded import cell_of
from harness.runner import RunAbortedError


def flamegraph(
    cell: Annotated[
        str, typer.Argument(metavar="CELL", help="The cell_id of a row of a memory.csv, or how it begins.")
    ],
    results: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Where results are: one experiment's, or all.")
    ] = Path("results"),
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="The page to write; CELL.html else.")] = None,
) -> None:
    """Measure one cell again and write memray's flame graph of its peak, as an HTML page.

    It shows which call allocated what was live when the step's requested bytes were at their most.
    """
    found = _find(cell, find_results(results))
    path = Path(f"{found.cell_id}.html") if output is None else output
    with tempfile.TemporaryDirectory() as folder:
        capture = Path(folder) / "capture.bin"
        outcome = run_in_subprocess(Job(measure="capture", cells=(found,), settings={"path": str(capture)}))
        if outcome.rows is None:
            raise RunAbortedError(f"the cell cannot be measured: {outcome.error}")
        # By another process: to import memray costs what the other commands need not pay.
        command = (sys.executable, "-m", "memray", "flamegraph", "--force", "--output", str(path), str(capture))
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RunAbortedError(f"memray flamegraph failed: {done.stderr.strip().rpartition(chr(10))[2]}")
    page().print(f"{named(found)}\n  {path}")


def _find(prefix: str, results: Path) -> Cell:
    """The one finished cell whose id begins with `prefix`."""
    from harness.schemas import read_table  # imports pandas

    tables = [read_table(path) for path in sorted({*results.glob("memory.csv"), *results.glob("*/memory.csv")})]
    rows = {row["cell_id"]: row for table in tables for row in table.to_dict("records")}
    found = [cell_id for cell_id in rows if cell_id.startswith(prefix)]
    if len(found) != 1:
        several = f"begins {len(found)} of them: {', '.join(found[:4])}{', ..' if found[4:] else ''}"
        raise ValueError(
            f"CELL must begin the cell_id of one row of a memory.csv under {results}, "
            f"{prefix!r} {several if found else f'begins none of {len(rows)}'}"
        )
    return cell_of(rows[found[0]])
