"""The report command: writes results as one page for a browser."""

from pathlib import Path
from typing import Annotated

import typer

from harness.commands.console import console
from harness.commands.names import EXPERIMENTS, RESULTS, find_results, path_given
from harness.experiment.file import Experiment
from harness.files import write_atomically
from harness.results.folder import ENVIRONMENT, Results, read_results
from harness.sizes import format_bytes


def command(
    results: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[RESULTS ..]",
            parser=path_given,
            help="Folders that `run` wrote, such as results/smoke, or smoke, or that hold such folders; results else.",
        ),
    ] = None,
    output: Annotated[Path, typer.Option(metavar="FILE", parser=path_given, help="The page.")] = Path("report.html"),
) -> None:
    """Write results as one page for a browser, which opens it from disk and fetches nothing.

    It has a question and an answer for each experiment, every cell by its peak and its cost, what a schedule holds
    event by event, the tables, and where they come from.
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
    """The folder itself, or those within it that hold results, where it holds none of its own."""
    within = sorted(path.parent for path in folder.glob(f"*/{ENVIRONMENT}"))
    return within if within and not (folder / ENVIRONMENT).exists() else [folder]


def _description(results: Results) -> str:
    """What the experiment's file says, if it lies where it should and has the same title."""
    told = results.environment.experiment
    try:
        experiment = Experiment.load(EXPERIMENTS / f"{told.name}.toml", bind=False)
    except (OSError, ValueError):
        return ""
    return " ".join(experiment.description.split()) if experiment.title == told.title else ""
