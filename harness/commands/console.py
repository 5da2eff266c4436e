"""Where text is printed, and what cells and jobs are called there."""

import codecs
import io
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
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

PAGE_COLUMNS = 160

STANDARD_OUTPUT = "standard output"

IN_ASCII = {"─": "-", "━": "=", "●": "o", "◂": "<", "·": ".", "→": "->", "√": "sqrt ", "…": "..."}
"""What stands for a character that the terminal cannot show; a question mark for any other."""


class Page(Console):
    """A console that passes on no control character of the text it is given."""

    def render(self, *arguments, **options) -> Iterator[Segment]:
        """As a `Console` does, with control characters made visible."""
        for segment in super().render(*arguments, **options):
            yield segment if segment.control else segment._replace(text=visible(segment.text))


def page(*, stderr: bool = False) -> Page:
    """A console: text comes as it is, without markup or line breaks, and tables fit the width."""
    width = None if stderr or (sys.stdout and sys.stdout.isatty()) else PAGE_COLUMNS
    return Page(stderr=stderr, highlight=False, markup=False, soft_wrap=True, width=width)


class _Stream(io.FileIO):
    """A standard stream. Its first failure is raised under its name, if it has one; what comes later is dropped.

    Otherwise Python complains of the same failure once more when it flushes the stream at its end.
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
    """Make the standard streams of this process ready for any text, on any terminal, and for what may befall them.

    Raises ValueError where standard output is closed. A closed standard error is nowhere to tell anything.
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


def aligned(rows: Sequence[Mapping[str, str]], *, left: Collection[str]) -> str:
    """The rows under the names of their columns, those in `left` flush left.

    A rich table looks the same and takes half a millisecond a row, which counts where there are ten thousand.
    """
    names = {column: column.replace("_", " ") for column in rows[0]}
    widths = {column: max(len(name), *(len(row[column]) for row in rows)) for column, name in names.items()}

    def line(row: Mapping[str, str]) -> str:
        cells = (row[column].ljust(w) if column in left else row[column].rjust(w) for column, w in widths.items())
        return "  ".join(cells).rstrip()

    rule = "─" * (sum(widths.values()) + 2 * (len(widths) - 1))
    return "\n".join([line(names), rule, *map(line, rows)])


class Keyed:
    """Short names for a table: a name longer than so many characters is a number there, and told beneath it."""

    def __init__(self, characters: int):
        self._characters = characters
        self._numbers: dict[str, int] = {}

    def short(self, name: str) -> str:
        """The name, or where it is too long its number: `(1)`."""
        if len(name) <= self._characters:
            return name
        return f"({self._numbers.setdefault(name, len(self._numbers) + 1)})"

    @property
    def lines(self) -> list[str]:
        """What each number stands for."""
        return [f"({number}) {name}" for name, number in self._numbers.items()]


def label(*cells: AnyCell) -> str:
    """What cells of one comparison group are called: what they share, and each one's variant; one alone has its id."""
    cell, *others = cells
    name = f"{cell.setting}, {', '.join(cell.told for cell in cells)}"
    return name if others else f"{name} ({cell.cell_id})"


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


def job_label(job: Job) -> str:
    """What a job is called: its measure and its cells."""
    return f"{job.measure} of {label(*job.cells)}"
