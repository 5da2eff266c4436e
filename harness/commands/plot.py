"""The plot command: draws the figures of an experiment."""

import re
from pathlib import Path
from typing import Annotated

import typer

from harness.commands.console import console
from harness.commands.figures import FORMATS, USUAL_FORMATS, write_figures
from harness.commands.names import find_results, path_given
from harness.plots.looks import WIDTH_INCHES
from harness.plots.recipes import Layout
from networks.wording import shown

INCHES = {"mm": 1 / 25.4, "cm": 1 / 2.54, "in": 1.0}
LEAST_INCHES, MOST_INCHES = 2.5, 40.0


def command(
    results: Annotated[
        Path,
        typer.Argument(
            metavar="RESULTS",
            parser=path_given,
            help="A folder that `run` wrote, such as results/smoke, or its name alone: smoke.",
        ),
    ],
    only: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Draw only this figure. May be given several times.")
    ] = None,
    file_format: Annotated[
        str, typer.Option("--format", metavar="FORMATS", help=f"One or more of {', '.join(FORMATS)}, with commas.")
    ] = ",".join(USUAL_FORMATS),
    width: Annotated[
        str | None, typer.Option(metavar="WIDTH", help="Width of a figure, such as 89mm, a column of a paper.")
    ] = None,
    title: Annotated[bool, typer.Option("--title/--no-title", help="Whether figures have titles.")] = True,
    caption: Annotated[bool, typer.Option("--caption/--no-caption", help="Whether figures have captions.")] = True,
) -> None:
    """Draw an experiment's figures from its CSVs.

    Figures go to RESULTS/figures/, as SVG and PNG unless --format says otherwise. A figure narrower than 127 mm has one
    panel below the other and smaller letters.
    """
    layout = Layout(width_inches=_inches(width) if width else WIDTH_INCHES, title=title, caption=caption)
    formats = _formats(file_format)
    for path in write_figures(find_results(results), only=only or (), formats=formats, layout=layout):
        console.print(f"  {path}")


def _formats(text: str) -> list[str]:
    formats = list(dict.fromkeys(part.strip() for part in text.split(",")))
    unknown = [one for one in formats if one not in FORMATS]
    if unknown:
        raise ValueError(f"--format must be some of {', '.join(FORMATS)}, with commas; got {shown(unknown[0])}")
    return formats


def _inches(text: str) -> float:
    """The inches of a width such as 89mm, 8.9 cm or 3.5in."""
    told = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(mm|cm|in)\s*", text, re.ASCII)
    inches = float(told[1]) * INCHES[told[2]] if told else 0
    if not LEAST_INCHES <= inches <= MOST_INCHES:
        raise ValueError(f"--width must be from 64mm to 1000mm, in mm, cm or in, such as 89mm; got {shown(text)}")
    return inches
