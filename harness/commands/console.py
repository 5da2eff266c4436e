"""The console that text is printed to, and the names of cells and jobs there."""

import codecs
import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer
from rich.console import Console
from rich.segment import Segment

from harness.commands.names import path_given
from harness.experiment.job import AnyCell, Job
from networks.wording import visible

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

WIDE_COLUMNS = 160
"""The width of what goes to a file or another program, unless the variable COLUMNS gives another."""

CELLS_NAMED = 4
"""Most cells of a job that are named in a line."""

STANDARD_OUTPUT = "standard output"

IN_ASCII = {"─": "-", "━": "=", "●": "o", "◂": "<", "·": ".", "→": "->", "√": "sqrt ", "…": "..."}
"""Replacements for characters that the terminal cannot show. Any other becomes a question mark."""


class SafeConsole(Console):
    """A console that shows control characters of a text instead of passing them on."""

    def render(self, *arguments, **options) -> Iterator[Segment]:
        """Render as a `Console` does, and make control characters visible."""
        for segment in super().render(*arguments, **options):
            yield segment if segment.control else segment._replace(text=visible(segment.text))


def new_console(*, stderr: bool = False) -> SafeConsole:
    """Make a console. It prints text as it is, without markup or line breaks. Tables fit its width."""
    told = stderr or (sys.stdout and sys.stdout.isatty()) or "COLUMNS" in os.environ
    width = None if told else WIDE_COLUMNS
    return SafeConsole(stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=True, width=width)


def print_parts(text: Callable[[int], Iterable[str]]) -> None:
    """Print the parts of a text for a page of so many characters. Unless it is wide, lines are broken between words."""
    console = new_console()
    for part in text(console.width):
        console.print(part, soft_wrap=console.width >= WIDE_COLUMNS)


class _Stream(io.FileIO):
    """A standard stream. Its first failure is raised if the stream has a name. Later output is dropped.

    Without the drop, Python reports the same failure again when it flushes the stream at exit.
    """

    def __init__(self, descriptor: int, name: str = ""):
        super().__init__(descriptor, "w", closefd=False)
        self._called = name
        self._failed = False

    def write(self, data: "ReadableBuffer", /) -> int:
        length = memoryview(data).nbytes
        if self._failed:
            return length
        try:
            return super().write(data)
        except OSError as error:
            self._failed = True
            if not self._called:
                return length
            raise OSError(error.errno, error.strerror, self._called) from None


def prepare_streams() -> None:
    """Make the standard streams of this process ready for any text, any terminal and any failure.

    Raises ValueError if standard output is closed. If standard error is closed, messages are dropped.
    """
    codecs.register_error("in_ascii", _in_ascii)
    sys.stderr = _text_stream(sys.stderr, _Stream(2)) if sys.stderr else io.StringIO()
    if sys.stdout is None:
        raise ValueError(f"{STANDARD_OUTPUT} is closed; send it to a file, or to /dev/null")
    sys.stdout = _text_stream(sys.stdout, _Stream(1, STANDARD_OUTPUT))


def _text_stream(like: TextIO, stream: _Stream) -> io.TextIOWrapper:
    buffered = io.BufferedWriter(stream)
    return io.TextIOWrapper(buffered, like.encoding, errors="in_ascii", line_buffering=bool(like.line_buffering))


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    unknown = error.object[error.start : error.end]
    return "".join(IN_ASCII.get(character, "?") for character in unknown), error.end


def label(*cells: AnyCell) -> str:
    """The name of cells of one comparison group: what they share, and each variant. A single cell also has its id."""
    cell, *others = cells
    name = f"{cell.setting}, {', '.join(cell.told for cell in cells)}"
    return name if others else f"{name} ({cell.cell_id})"


console = new_console()
errors = new_console(stderr=True)

ExperimentFile = Annotated[
    Path,
    typer.Argument(
        metavar="EXPERIMENT.toml",
        parser=path_given,
        help="An experiment file, such as experiments/smoke.toml, or its name alone: smoke.",
    ),
]
ResultsFolder = Annotated[
    Path,
    typer.Option(
        "--results", metavar="FOLDER", parser=path_given, help="Folder that holds the results of experiments."
    ),
]


def job_label(job: Job) -> str:
    """The name of a job: its measure and its first cells."""
    more = len(job.cells) - CELLS_NAMED
    told = label(*job.cells[:CELLS_NAMED])
    return f"{job.measure} of {told}{f', and {more} more' if more > 0 else ''}"
