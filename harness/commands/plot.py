"""The plot command: draws an experiment's figures."""

from pathlib import Path
from typing import Annotated

import typer

from harness.commands.console import console
from harness.commands.figures import write_figures
from harness.commands.names import find_results, path_given


def command(
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
    for path in write_figures(find_results(results)):
        console.print(f"  {path}")
