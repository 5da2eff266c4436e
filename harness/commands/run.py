"""The run command: measures an experiment."""

import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from harness.commands.console import ExperimentFile, ResultsFolder, console, errors, job_label
from harness.commands.names import as_typed, find_experiment
from harness.errors import CELL_FAILED, Interrupted
from harness.execute.admission import available_bytes, run_if_it_fits
from harness.execute.pool import Pool
from harness.execute.run import Execute, Run
from harness.execute.strangers import require_sound_experiment
from harness.experiment.file import Experiment
from harness.experiment.frameworks import FRAMEWORKS
from harness.experiment.job import Outcome
from harness.experiment.limits import Limits
from harness.provenance import are_installed
from harness.results.store import Store
from harness.sizes import format_bytes, parse_bytes

Jobs = Annotated[
    int, typer.Option(min=1, metavar="N", help="How many cells to measure at once. Times are always measured alone.")
]

NAMED = 4
"""How many jobs are named at most."""


def command(
    experiment: ExperimentFile,
    results: ResultsFolder = Path("results"),
    jobs: Jobs = 1,
    dask: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS", help="Measure on the workers of this Dask scheduler. local:N starts N workers here."
        ),
    ] = None,
    timeout: Annotated[float | None, typer.Option(metavar="SECONDS", help="The longest that a cell may take.")] = None,
    memory_limit: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="The most that a cell's process may reserve: 2GiB, 500MB, bytes."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Also start cells that are predicted not to fit.")] = False,
    allow_mixed: Annotated[
        bool,
        typer.Option("--allow-mixed", help="Also use results of other machines and code. A column tells which."),
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Overwrite another experiment's tables, and your own files.")
    ] = False,
) -> None:
    """Measure an experiment and write its CSVs.

    The CSVs go to FOLDER/EXPERIMENT/ when the grid is complete. After an interrupt the same command goes on. A finished
    cell is measured again only if its configuration, the measured code or the machine has changed. A failed cell is
    tried again. One run at a time writes to a folder. A run does not overwrite results of another title, or files that
    no run wrote.

    A cell over a limit has status timeout or out_of_memory. A cell that is predicted not to fit has status
    skipped_too_large. Both are tried again when the limit is raised. Limits given here replace those of the file.

    Exit code: 0, or 1 if a cell failed, 2 for bad input, 130 if interrupted.
    """
    try:
        path = find_experiment(experiment)
        loaded = Experiment.load(path)
        require_sound_experiment(loaded, path)
        limits = _limits(loaded, timeout=timeout, memory_limit=memory_limit)
        if not dask:
            _require_frameworks(loaded, experiment)
        measure = partial(run_if_it_fits, limits=limits, force=force)
        store = Store(results / loaded.name)
        with _held(store, loaded, replace=replace), _executor(loaded, measure, jobs=jobs, dask=dask) as execute:
            current = Run(loaded, store, execute=execute, limits=limits, mixed=allow_mixed)
            _tell_again(current)
            counts = _execute(current)
            paths = current.publish()
    except (Interrupted, OSError) as error:
        error.add_note("what is finished is kept, and the same command goes on from there")
        raise
    console.print(
        f"{loaded.title}: {counts['done']} cells, {counts['failed']} failed, {counts['resumed']} measured earlier"
    )
    for path in paths:
        console.print(f"  {path}")
    if counts["failed"]:
        raise typer.Exit(CELL_FAILED)


def _require_frameworks(experiment: Experiment, path: Path) -> None:
    """Raise ValueError if a framework of the experiment at `path` is not installed."""
    absent = [name for name in experiment.frameworks if not are_installed(FRAMEWORKS[name].packages)]
    if absent:
        raise ValueError(
            f"{path}: {', '.join(absent)} is not installed here; make peers makes an environment with it, "
            "for .venv-peers/bin/python -m harness run"
        )


@contextmanager
def _held(store: Store, experiment: Experiment, *, replace: bool) -> Iterator[None]:
    """Hold the folder. Before and after that, check that the experiment may write there."""
    cells: defaultdict[str, set[str]] = defaultdict(set)
    for job in experiment.jobs():
        cells[job.measure].update(cell.cell_id for cell in job.cells)
    store.require_own(experiment.title, cells, replace=replace)
    with store.held():
        store.require_own(experiment.title, cells, replace=replace)
        yield


def _limits(experiment: Experiment, *, timeout: float | None, memory_limit: str | None) -> Limits:
    """The limits of the command line. A limit that was not given there comes from the experiment."""
    size = None if memory_limit is None else parse_bytes(memory_limit, name="--memory-limit")
    with as_typed(("timeout", "memory_limit")):  # those of the experiment are checked already
        limits = Limits(**experiment.limits.model_dump()).overridden(timeout=timeout, memory_limit=size)
    if limits.memory_limit is not None and sys.platform != "linux":
        name = "limits.memory_limit" if size is None else "--memory-limit"
        raise ValueError(
            f"{name} of {format_bytes(limits.memory_limit)} needs Linux, which bounds what another process "
            "reserves (prlimit); run without it"
        )
    return limits


@contextmanager
def _executor(
    experiment: Experiment, measure: Callable[..., Outcome], *, jobs: int, dask: str | None
) -> Iterator[Execute]:
    """The executor of the jobs of `experiment`: this machine, or a cluster. `measure` runs one job."""
    if dask is None:
        yield Pool(jobs=jobs, room_bytes=available_bytes(), run=measure)
        return
    if jobs > 1:
        raise ValueError(
            f"--jobs {jobs} has no effect with --dask: a cluster measures as much at once as it has workers"
        )
    from harness.execute.cluster import connected  # an extra, and a second to import

    with connected(dask, run=measure, frameworks=experiment.frameworks, say=errors.print) as execute:
        yield execute


def _tell_again(current: Run) -> None:
    """Say which cells are measured again, and why. Name the first cells of each reason."""
    for reason, jobs in current.again.items():
        cells = sum(len(job.cells) for job in jobs)
        errors.print(f"{cells} {'cell is' if cells == 1 else 'cells are'} measured again: {reason}")
        for job in jobs[:NAMED]:
            errors.print(f"  {job_label(job)}")
        if len(jobs) > NAMED:
            errors.print(f"  .. and {sum(len(job.cells) for job in jobs[NAMED:])} more")


def _execute(current: Run) -> Counter[str]:
    """Execute all jobs under a progress bar. Return how many cells were done, failed, and measured earlier."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[failed]} failed"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    counts: Counter[str] = Counter()
    progress = Progress(*columns, console=errors, refresh_per_second=2)  # the machine is measuring
    with progress, closing(current.execute()) as all_finished:
        bar = progress.add_task("measuring", total=current.cells, failed=0)
        for finished in all_finished:
            cells = len(finished.job.cells)
            counts["done"] += cells
            counts["resumed"] += cells * finished.resumed
            counts["failed"] += cells * bool(finished.error)
            if finished.error:
                progress.console.print(f"{job_label(finished.job)}: {finished.error}\n  {finished.path}")
            progress.update(bar, completed=counts["done"], failed=counts["failed"], description=finished.job.measure)
    return counts
