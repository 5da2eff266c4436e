"""Figures on disk: reads a results folder's tables, has the figures drawn, saves them as SVG and PNG."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from harness import plots
from harness.plots.style import our_look
from harness.recorded import read_tables
from harness.store import write_atomically

# Without dates and random ids the same tables give the same files.
_METADATA: dict[str, dict[str, Any]] = {"svg": {"Date": None}, "png": {"Software": None}}
_PNG_DOTS_PER_INCH = 200

mpl.use("Agg")


def draw(folder: Path) -> Iterator[Path]:
    """Draw the figures the experiment asks for into `folder`/figures and yield each file's path.

    Raises:
        ValueError: the folder holds no complete results, or not what a figure needs.
    """
    names = _names(folder / "environment.json")
    for name, figure in plots.draw(read_tables(folder), names):
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


def _names(environment: Path) -> list[str]:
    try:
        return json.loads(environment.read_bytes())["experiment"]["figures"]
    except OSError:
        raise ValueError(f"{environment}: cannot be read; run the experiment first") from None
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{environment}: does not name the experiment's figures; run the experiment again") from None
