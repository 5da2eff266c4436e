"""The report command: writes results as one HTML page."""

from pathlib import Path
from typing import Annotated

import typer

from harness.commands.console import console
from harness.commands.names import EXPERIMENTS, RESULTS, find_results, path_given
from harness.experiment.file import Experiment
from harness.files import write_atomically
from harness.results.folder import ENVIRONMENT, Results, published_within, read_results
from harness.sizes import format_bytes


def command(
    results: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[RESULTS ..]",
            parser=path_given,
            help="Folders that `run` wrote, such as results/smoke, or folders of those. The default is results.",
        ),
    ] = None,
    output: Annotated[Path, typer.Option(metavar="FILE", parser=path_given, help="The page to write, .html.")] = Path(
        "report.html"
    ),
) -> None:
    """Write results as one HTML page that needs no network: a browser opens it from disk.

    The page has a question and an answer for each experiment, the peak and the cost of every cell, the buffers of a
    step event by event, all tables, and their provenance.
    """
    if output.suffix != ".html":
        raise ValueError(f"--output must end in .html, got {str(output)!r}")
    from harness.report.page import Reported, page  # imports pandas and altair

    folders = [folder for path in results or [RESULTS] for folder in _published(find_results(path))]
    sets = [read_results(folder) for folder in folders]
    names = [one.environment.experiment.name for one in sets]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{name}: two folders hold results of this experiment; name one of them")
    content = page(
        [Reported(results=one, description=_description(one), folder=str(one.folder)) for one in sets]
    ).encode()
    write_atomically(output, content)
    console.print(f"  {output} ({format_bytes(len(content))}): {', '.join(names)}")


def _published(folder: Path) -> list[Path]:
    """The folder itself. If it holds no results of its own, the folders within it that do."""
    within = published_within(folder)
    return within if within and not (folder / ENVIRONMENT).exists() else [folder]


def _description(results: Results) -> str:
    """The description in the experiment's file, if the file is in its place and has the same title."""
    told = results.environment.experiment
    try:
        experiment = Experiment.load(EXPERIMENTS / f"{told.name}.toml", bind=False)
    except (OSError, ValueError):
        return ""
    return " ".join(experiment.description.split()) if experiment.title == told.title else ""
