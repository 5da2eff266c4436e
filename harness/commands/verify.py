"""The verify command: measures the memory cells of a results folder again, and compares every byte."""

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from harness import provenance
from harness.analysis.each_row import each_row
from harness.commands.console import label, new_console
from harness.commands.names import find_results, path_given
from harness.execute.admission import available_bytes, run_if_it_fits
from harness.execute.pool import Pool
from harness.experiment.frameworks import FRAMEWORKS, OWN
from harness.experiment.job import Job
from harness.experiment.limits import NO_LIMITS
from harness.experiment.measures import MEASURES, TABLES
from harness.experiment.schedule_code import schedules_sha256
from harness.results.folder import Results, read_results
from harness.results.origin import Origin
from harness.results.rows import rows_of
from networks.schedules.foreign import Source

DIFFERENT = 1

EXACT = [measure.name for measure in MEASURES.values() if measure.is_exact]
"""The tables with one row for each cell whose integers repeat exactly."""


def command(
    results: Annotated[Path, typer.Argument(metavar="RESULTS", parser=path_given, help="A folder that `run` wrote.")],
    cells: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Measure N of the cells, always the same ones. The default is all."),
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, metavar="N", help="How many cells to measure at once.")] = (
        os.cpu_count() or 1
    ),
) -> None:
    """Measure the memory cells of a results folder again on this machine, and compare every byte.

    The command says which cells differ, by how much and in which kind of buffer. If any does, it also says how this
    machine differs from the one in environment.json. It leaves out cells of a framework that is not installed, and says
    so. It writes nothing into the folder.

    Exit code: 0, or 1 if a cell differs, 2 for bad input.
    """
    results = find_results(results)
    published = read_results(results)
    finished = _finished(published)
    frameworks = sorted({job.cells[0].framework for job, _ in finished} - {OWN})
    absent = [framework for framework in frameworks if not provenance.are_installed(FRAMEWORKS[framework].packages)]
    here = [(job, row) for job, row in finished if job.cells[0].framework not in absent]
    if not here:
        raise ValueError(f"{results}: cannot be measured here, because {', '.join(absent)} is not installed")
    sample = {job.name: (job, row) for job, row in here[:cells]}
    todo = {"environment": Job(measure="environment", cells=(), settings={"frameworks": frameworks})}
    todo |= {name: job for name, (job, _) in sample.items()}
    measure = partial(run_if_it_fits, limits=NO_LIMITS)
    outcomes = dict(Pool(jobs=jobs, room_bytes=available_bytes(), run=measure)(todo))
    console = new_console()
    unequal = 0
    for name, (job, before) in sample.items():
        (after,) = rows_of(job, outcomes[name])
        problems = [after["error"]] if after["error"] else list(_differences(job.measure, before, after))
        if problems:
            unequal += 1
            console.print(f"{label(*job.cells)}: {', '.join(problems)}")
    console.print(f"{results}: {len(sample) - unequal} of {len(sample)} cells equal to the byte")
    if absent:
        console.print(f"  {len(finished) - len(here)} cells left out: {', '.join(absent)} not installed")
    if unequal:
        environment = published.environment
        origin = environment.origin
        for line in origin.differences(_here(outcomes["environment"].rows, origin, environment.files)):
            console.print(f"  not measured alike: {line}")
        raise typer.Exit(DIFFERENT)


def _finished(results: Results) -> list[tuple[Job, dict[str, Any]]]:
    """The rows of finished cells in `EXACT` tables, each with the job that measures it again.

    They are in the order of their ids. Ids are hashes, so the first rows are a sample of the whole grid.
    """
    tables = results.tables(EXACT)
    if not tables:
        raise ValueError(
            f"{results.folder}: has no {' or '.join(f'{name}.csv' for name in EXACT)}, and nothing else repeats to the "
            "byte"
        )
    finished = [
        (Job(measure=name, cells=(results.cell_of(row),)), row)
        for name, table in tables.items()
        for row in each_row(table.query("status == 'ok'"))
    ]
    if not finished:
        raise ValueError(f"{results.folder}: has no memory cell of status ok")
    return sorted(finished, key=lambda pair: pair[1]["cell_id"])


def _differences(table: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    """The integers that differ, each with its old and its new value. A missing one counts as 0."""
    for column in TABLES[table].columns:
        if column.type == "integer" and column.name not in TABLES[table].of_cell:
            was, now = (row.get(column.name) or 0 for row in (before, after))
            if was != now:
                yield f"{column.name} {was:,} -> {now:,} ({now - was:+,})"


def _here(described: list[list[dict[str, Any]]] | None, there: Origin, sources: Sequence[Source]) -> Origin:
    """The origin of this machine and code, for the measures and schedules of the results."""
    return Origin(
        code=provenance.code_sha256(),
        schedules=schedules_sha256(there.schedules, sources),
        machine=described[0][0]["machine"] if described else {},
        variables={measure: MEASURES[measure].variables for measure in there.variables},
    )
