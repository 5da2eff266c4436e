"""The flamegraph command: memray's own picture of the peak of one cell's step."""

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from harness.analysis.each_row import each_row
from harness.commands.console import label, new_console
from harness.commands.names import find_results, path_given
from harness.errors import RunAbortedError
from harness.execute.machine_lock import at_work
from harness.execute.process import run_in_subprocess
from harness.execute.scratch import scratch
from harness.experiment.job import AnyCell, Job
from harness.files import write_atomically
from harness.results.folder import PACKAGE, read_results


def command(
    cell: Annotated[
        str, typer.Argument(metavar="CELL", help="The cell_id of a row of a memory.csv, or its first characters.")
    ],
    results: Annotated[
        Path, typer.Option(metavar="FOLDER", parser=path_given, help="Results of one experiment, or of all.")
    ] = Path("results"),
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", parser=path_given, help="The page to write, .html. The default is CELL.html."),
    ] = None,
) -> None:
    """Measure one cell again and write memray's flame graph of its peak, as an HTML page.

    It shows which calls allocated the memory that is live at the peak of the step.
    """
    if output is not None and output.suffix != ".html":
        raise ValueError(f"--output must end in .html, got {str(output)!r}")
    found = _find(cell, find_results(results))
    path = Path(f"{found.cell_id}.html") if output is None else output
    with scratch() as folder, at_work(alone=False):
        capture, drawn = folder / "capture.bin", folder / "page.html"
        outcome = run_in_subprocess(Job(measure="capture", cells=(found,), settings={"path": str(capture)}))
        if outcome.rows is None:
            raise RunAbortedError(f"the cell cannot be measured: {outcome.error}")
        # In another process, because the other commands need not pay for the import of memray.
        command = (sys.executable, "-m", "memray", "flamegraph", "--force", "--output", str(drawn), str(capture))
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RunAbortedError(f"memray flamegraph failed: {done.stderr.strip().rpartition(chr(10))[2]}")
        write_atomically(path, drawn.read_bytes())
    new_console().print(f"{label(found)}\n  {path}")


def _find(prefix: str, results: Path) -> AnyCell:
    """The one finished cell whose id begins with `prefix`."""
    folders = sorted({path.parent for pattern in (PACKAGE, f"*/{PACKAGE}") for path in results.glob(pattern)})
    sets = [(one, table) for one in map(read_results, folders) for table in one.tables(("memory",)).values()]
    rows = {row["cell_id"]: (one, row) for one, table in sets for row in each_row(table)}
    found = [cell_id for cell_id in rows if cell_id.startswith(prefix)]
    if len(found) != 1:
        several = f"begins {len(found)} of them: {', '.join(found[:4])}{', ..' if found[4:] else ''}"
        raise ValueError(
            f"CELL must begin the cell_id of one row of a memory.csv under {results}, "
            f"{prefix!r} {several if found else f'begins none of {len(rows)}'}"
        )
    results_of_it, row = rows[found[0]]
    return results_of_it.cell_of(row)
