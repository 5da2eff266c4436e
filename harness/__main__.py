"""The command line: `python -m harness`."""

from harness.interrupts import Interrupted, end_at_once, run_in_order

if __name__ == "__main__":
    end_at_once()  # the other imports take a second

import os
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from harness.arguments import path_given
from harness.cell import Cell, Job
from harness.compare import compare
from harness.executors import Outcome
from harness.experiment import Experiment
from harness.flamegraph import flamegraph
from harness.limits import Limits
from harness.names import as_typed, find_experiment, find_folder, find_results
from harness.page import aligned, named, page, prepare_streams
from harness.planning import plan_command
from harness.pool import Pool
from harness.provenance import is_installed
from harness.room import available_bytes, run_if_it_fits
from harness.rows import cost
from harness.runner import Execute, Run, RunAbortedError
from harness.side_by_side import peers_command
from harness.sizes import format_bytes, parse_bytes
from harness.store import DamagedError, Store
from harness.trace import trace
from harness.verify import verify

LEFT = ("framework", "layers", "variant")
COSTS = ("forward_steps", "predicted_peak_bytes")
CELL_FAILED, BAD_INPUT = 1, 2

NAMED = 4
"""How many of many are told by name."""

app = typer.Typer(
    help="Measure what activation checkpointing saves and what it costs: experiments in, CSVs and figures out.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # plain help starts a fifth faster
    context_settings={"help_option_names": ["-h", "--help"]},
)
console = page()
errors = page(stderr=True)

ExperimentFile = Annotated[
    Path,
    typer.Argument(
        metavar="EXPERIMENT.toml",
        parser=path_given,
        help="An experiment, such as experiments/smoke.toml, or its name there: smoke.",
    ),
]
ResultsFolder = Annotated[
    Path, typer.Option("--results", metavar="FOLDER", parser=path_given, help="Where results are kept.")
]


@app.command()
def run(
    experiment: ExperimentFile,
    results: ResultsFolder = Path("results"),
    jobs: Annotated[
        int, typer.Option(min=1, metavar="N", help="How many cells to measure at once; times are taken alone.")
    ] = 1,
    dask: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Measure on this Dask scheduler's workers; local:N starts N here."),
    ] = None,
    timeout: Annotated[float | None, typer.Option(metavar="SECONDS", help="The most that a cell may take.")] = None,
    memory_limit: Annotated[
        str | None, typer.Option(metavar="SIZE", help="The most that a cell's process may reserve: 2GiB, 500MB, bytes.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Start cells that are predicted not to fit, too.")] = False,
    allow_mixed: Annotated[
        bool, typer.Option("--allow-mixed", help="Take up cells of other machines and code; a column tells them apart.")
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Write over another experiment's tables, and over files of yours.")
    ] = False,
) -> None:
    """Measure an experiment and write its CSVs.

    They go to FOLDER/EXPERIMENT/. Interrupted at any moment, the same command goes on where it stopped. What is
    finished is measured again only if its configuration, the measured code or the machine has changed, and that is
    said; cells that failed are tried again. The CSVs are written when the grid is complete. Only one run at a time
    writes to a folder. One that holds the results of an experiment of another title, or files that no run wrote where
    tables belong, is left as it is.

    A cell over a limit is a row of status timeout or out_of_memory, and the others go on; one that is predicted not to
    fit the limit or the machine is skipped_too_large. Times of one network and batch are taken together, in one
    process, and stand or fall together. What has failed is tried again once the limit is raised. The experiment file
    may name limits, too: those given here count instead.

    Exit code: 0, or 1 if a cell failed, 2 for bad input, 130 if interrupted.
    """
    with _complaints(interrupted="interrupted: what is finished is kept, and the same command goes on from there"):
        loaded = Experiment.load(find_experiment(experiment))
        limits = _limits(loaded, timeout=timeout, memory_limit=memory_limit)
        absent = [framework for framework in loaded.frameworks if not dask and not is_installed(framework)]
        if absent:
            raise ValueError(
                f"{experiment}: {', '.join(absent)} is not installed here; make peers makes an environment with it, "
                "for .venv-peers/bin/python -m harness run"
            )
        measure = partial(run_if_it_fits, limits=limits, force=force)
        store = Store(results / loaded.name)
        with _held(store, loaded, replace=replace), _executor(loaded, measure, jobs=jobs, dask=dask) as execute:
            current = Run(loaded, store, execute=execute, limits=limits, mixed=allow_mixed)
            for reason, again in current.again.items():
                _tell_again(reason, again)
            counts = _execute(current)
            paths = current.publish()
    console.print(
        f"{loaded.title}: {counts['done']} cells, {counts['failed']} failed, {counts['resumed']} measured earlier"
    )
    for path in paths:
        console.print(f"  {path}")
    if counts["failed"]:
        raise typer.Exit(CELL_FAILED)


@app.command()
def plot(
    results: Annotated[
        Path,
        typer.Argument(
            metavar="RESULTS", parser=path_given, help="A folder that `run` wrote, such as results/smoke, or smoke."
        ),
    ],
) -> None:
    """Draw an experiment's figures from its CSVs.

    They go to RESULTS/figures/, as SVG and PNG.
    """
    from harness import drawing  # imports pandas and seaborn: seconds that the other commands need not wait

    with _complaints():
        for path in drawing.draw(find_results(results)):
            console.print(f"  {path}")


@app.command()
def show(
    experiment: ExperimentFile,
    results: ResultsFolder = Path("results"),
) -> None:
    """Show an experiment's cells, what each would cost, and what has become of those that were run.

    The cost of a training step is predicted by dry run: nothing is measured. Of a cell that failed, the file is named
    that holds its worker's output and traceback, and memray's capture if its step was being measured.
    """
    with _complaints():
        loaded = Experiment.load(find_experiment(experiment))
        rows = [_costs(cell) for cell in loaded.cells()]
        varying = [column for column in rows[0] if column in COSTS or len({row[column] for row in rows}) > 1]
        table = aligned([{column: row[column] for column in varying} for row in rows], left=LEFT)
        fixed = ", ".join(f"{column} {value}" for column, value in rows[0].items() if column not in varying)
        console.out(f"{loaded.title}\n\nall cells: {fixed}\n\n{table}\n")
        for measure, jobs in groupby(loaded.jobs(), key=lambda job: job.measure):
            cells = [len(job.cells) for job in jobs]
            console.print(f"{measure}: {sum(cells)} cells in {len(cells)} processes")
        for line in _finished(loaded, Store(results / loaded.name)):
            console.print(line)


@app.command(name="list")
def list_experiments(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", parser=path_given, help="Where experiments are.")] = Path(
        "experiments"
    ),
) -> None:
    """List the experiments of a folder."""
    with _complaints():
        paths = sorted(find_folder(folder).glob("[!.]*.toml"))
        experiments = [Experiment.load(path, bind=False) for path in paths]
        if not experiments:
            raise ValueError(f"{folder}: holds no experiment (*.toml)")
    table = Table("experiment", "title", "cells", "measures", box=box.SIMPLE_HEAD)
    for experiment in experiments:
        cells = str(len(experiment.cells()))
        table.add_row(experiment.name, experiment.title, cells, ", ".join(experiment.measure))
    console.print(table)


@contextmanager
def _held(store: Store, experiment: Experiment, *, replace: bool) -> Iterator[None]:
    """Hold the folder for an experiment that may write there: asked before it is touched and once it is held."""
    cells: defaultdict[str, set[str]] = defaultdict(set)
    for job in experiment.jobs():
        cells[job.measure].update(cell.cell_id for cell in job.cells)
    store.require_own(experiment.title, cells, replace=replace)
    with store.held():
        store.require_own(experiment.title, cells, replace=replace)
        yield


def _limits(experiment: Experiment, *, timeout: float | None, memory_limit: str | None) -> Limits:
    """The limits of the command line, and of the experiment where that has none."""
    size = None if memory_limit is None else parse_bytes(memory_limit, name="--memory-limit")
    given = {"timeout": timeout, "memory_limit": size}
    asked = {name: limit for name, limit in given.items() if limit is not None}
    with as_typed(asked):
        limits = Limits(**{**experiment.limits.model_dump(), **asked})
    if limits.memory_limit is not None and sys.platform != "linux":
        name = "limits.memory_limit" if size is None else "--memory-limit"
        raise ValueError(
            f"{name} of {format_bytes(limits.memory_limit)} needs Linux, which bounds what another process "
            "reserves (prlimit); run without it"
        )
    return limits


@contextmanager
def _complaints(*, interrupted: str = "interrupted") -> Iterator[None]:
    """Turn what is wrong with the input, the folder or the machine into its message and an exit code."""
    try:
        yield
    except Interrupted:
        with suppress(OSError):  # the terminal may be what has gone
            errors.print(interrupted)
        raise
    except (ValueError, RunAbortedError) as error:
        message = str(error)
    except BrokenPipeError:
        raise  # who reads the output has seen enough: typer ends without a word
    except OSError as error:
        message = f"{error.filename or 'results'}: {error.strerror}; what is finished is kept"
    else:
        return
    errors.print(message)
    raise typer.Exit(BAD_INPUT)


@contextmanager
def _executor(
    experiment: Experiment, measure: Callable[..., Outcome], *, jobs: int, dask: str | None
) -> Iterator[Execute]:
    """What executes the jobs of `experiment`, each by `measure`: this machine, or a cluster."""
    if dask is None:
        yield Pool(jobs=jobs, room_bytes=available_bytes(), run=measure)
        return
    if jobs > 1:
        raise ValueError(
            f"--jobs {jobs} has no effect with --dask: a cluster measures as much at once as it has workers"
        )
    try:
        from harness.cluster import connected  # an extra, and a second to import
    except ModuleNotFoundError as error:
        raise ValueError(f"--dask needs the extra: pip install checkpointing-lab[dask] ({error})") from None
    with connected(dask, run=measure, frameworks=experiment.frameworks, say=errors.print) as execute:
        yield execute


def _tell_again(reason: str, jobs: list[Job]) -> None:
    """Say why cells are measured again, and which: the first of them by name."""
    cells = sum(len(job.cells) for job in jobs)
    errors.print(f"{cells} {'cell is' if cells == 1 else 'cells are'} measured again: {reason}")
    for job in jobs[:NAMED]:
        errors.print(f"  {_named(job)}")
    if len(jobs) > NAMED:
        errors.print(f"  .. and {sum(len(job.cells) for job in jobs[NAMED:])} more")


def _execute(current: Run) -> Counter[str]:
    """Execute all jobs under a progress bar; return how many cells were done, failed and measured earlier."""
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
                progress.console.print(f"{_named(finished.job)}: {finished.error}\n  {finished.path}")
            progress.update(bar, completed=counts["done"], failed=counts["failed"], description=finished.job.measure)
    return counts


def _finished(experiment: Experiment, store: Store) -> Iterator[str]:
    """What has become of the cells that were run: how many ended how, and where to look at those that failed."""
    ended: Counter[str] = Counter()
    for job in experiment.jobs():
        try:
            record = store.load(job)
        except DamagedError as error:
            yield str(error)
            continue
        if record is not None:
            status, reason = (record.rows[0][column] for column in ("status", "error"))
            ended[status] += len(job.cells)
            if status != "ok":
                yield f"{_named(job)}: {status}: {reason}"
                yield from (f"  {path}" for path in (store.path(job), store.capture_path(job)) if path.exists())
    if ended:
        yield f"finished: {', '.join(f'{cells} {status}' for status, cells in ended.items())}"


def _named(job: Job) -> str:
    return f"{job.measure} of {named(*job.cells)}"


def _costs(cell: Cell) -> dict[str, str]:
    predicted = None if cell.peer else cost(cell)  # nobody predicts another framework
    return {
        "framework": cell.framework,
        **{name: str(getattr(cell, name)) for name in ("layers", "batch", "dtype", "activation", "seed", "variant")},
        "forward_steps": f"{predicted.forward_steps:,}" if predicted else "",
        "predicted_peak_bytes": f"{predicted.peak_bytes:,}" if predicted else "",
    }


app.command()(_complaints()(compare))
app.command()(_complaints()(verify))
app.command()(_complaints()(flamegraph))
app.command()(_complaints()(trace))
app.command(name="plan")(_complaints()(plan_command))
app.command(name="peers")(_complaints()(peers_command))


def main() -> None:
    """The command line in a process of its own."""
    os.environ.pop("MPLBACKEND", None)  # a notebook's, whose module may not be installed here; figures go to files
    try:
        prepare_streams()
        try:
            app(prog_name="python -m harness")
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        sys.exit(CELL_FAILED)
    except (OSError, ValueError) as error:
        told = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else str(error)
        errors.print(told)
        sys.exit(BAD_INPUT)


if __name__ == "__main__":
    run_in_order(main)
