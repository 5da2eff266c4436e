"""Figures on disk: reads the tables of a results folder, draws the figures, and writes SVG, PNG or PDF files."""

import io
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from harness.files import write_atomically
from harness.plots.draw import draw
from harness.plots.looks import our_look
from harness.plots.recipes import WIDE, Layout
from harness.results.folder import read_results

# Without dates and random ids the same tables give the same files.
_METADATA: dict[str, dict[str, Any]] = {
    "svg": {"Date": None},
    "png": {"Software": None},
    "pdf": {"Creator": None, "Producer": None, "CreationDate": None},
}
_DOTS_PER_INCH = 200

FORMATS = tuple(_METADATA)
USUAL_FORMATS = ("svg", "png")

mpl.use("Agg")


def write_figures(
    folder: Path, *, only: Collection[str] = (), formats: Collection[str] = USUAL_FORMATS, layout: Layout = WIDE
) -> Iterator[Path]:
    """Draw the figures of the experiment, or `only` these, into `folder`/figures, and yield each file's path.

    Raises:
        ValueError: the folder holds no complete results, a figure lacks a table, or there is no such figure.
    """
    results = read_results(folder)
    names = only or results.environment.experiment.figures
    for name, figure in draw(results.tables(), names, layout):
        for file_format in formats:
            path = folder / "figures" / f"{name}.{file_format}"
            save(figure, path)
            yield path


def save(figure: Figure, path: Path) -> None:
    """Write a figure to `path` as SVG, PNG or PDF, by its suffix. The same figure gives the same file."""
    file_format = path.suffix.removeprefix(".")
    content = io.BytesIO()
    with our_look(settings={"svg.hashsalt": "checkpointing-lab", "pdf.fonttype": 42}):  # text stays text
        figure.savefig(content, format=file_format, metadata=_METADATA[file_format], dpi=_DOTS_PER_INCH)
    write_atomically(path, content.getvalue())
