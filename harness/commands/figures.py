"""Figures on disk: reads a results folder's tables, has the figures drawn, saves them as SVG and PNG."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from harness import plots
from harness.files import write_atomically
from harness.plots.style import our_look
from harness.results.folder import read_results

# Without dates and random ids the same tables give the same files.
_METADATA: dict[str, dict[str, Any]] = {"svg": {"Date": None}, "png": {"Software": None}}
_PNG_DOTS_PER_INCH = 200

mpl.use("Agg")


def write_figures(folder: Path) -> Iterator[Path]:
    """Draw the figures the experiment asks for into `folder`/figures and yield each file's path.

    Raises:
        ValueError: the folder holds no complete results, or not what a figure needs.
    """
    results = read_results(folder)
    for name, figure in plots.draw(results.tables(), results.environment.experiment.figures):
        for file_format in _METADATA:
            path = folder / "figures" / f"{name}.{file_format}"
            save(figure, path)
            yield path


def save(figure: Figure, path: Path) -> None:
    """Write a figure to `path`, as SVG or PNG by its suffix; the same figure gives the same file."""
    file_format = path.suffix.removeprefix(".")
    content = io.BytesIO()
    with our_look(**{"svg.hashsalt": "checkpointing-lab"}):
        figure.savefig(content, format=file_format, metadata=_METADATA[file_format], dpi=_PNG_DOTS_PER_INCH)
    write_atomically(path, content.getvalue())
