"""The list command: the experiments of a folder."""

from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.table import Table

from harness.commands.console import console
from harness.commands.names import find_folder, path_given
from harness.experiment.file import Experiment


def command(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", parser=path_given, help="Where experiments are.")] = Path(
        "experiments"
    ),
) -> None:
    """List the experiments of a folder."""
    paths = sorted(find_folder(folder).glob("[!.]*.toml"))
    experiments = [Experiment.load(path, bind=False) for path in paths]
    if not experiments:
        raise ValueError(f"{folder}: holds no experiment (*.toml)")
    table = Table("experiment", "title", "cells", "measures", box=box.SIMPLE_HEAD)
    for experiment in experiments:
        cells = str(len(experiment.cells()))
        table.add_row(experiment.name, experiment.title, cells, ", ".join(experiment.measure))
    console.print(table)
