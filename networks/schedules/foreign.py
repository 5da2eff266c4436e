"""Functions that are not this project's: in a user's file, or in an installed module.

They are factories of schedules, and functions that make a PyTorch model. Finding a function runs the code of its file
or module. An installed package announces factories of schedules by entry points of the group `GROUP`, such as
`fibonacci = "my_package.rules:fibonacci"`. Their names alone are enough to call them.
"""

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from networks.wording import did_you_mean, in_a_line

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "checkpointing_lab.schedules"
"""The group of the entry points by which packages announce their factories."""

MOST_BYTES = 2**20
"""Most bytes of a file."""


@dataclass(frozen=True)
class Source:
    """A file as it was read: its path as it was named, and its content."""

    path: str
    text: str

    @classmethod
    def read(cls, path: str, folder: Path) -> "Source":
        """Read the file at `path`, from `folder` where that is relative.

        Raises:
            ValueError: there is no such file, or it is no text.
        """
        file = folder / path
        if not file.is_file():
            raise ValueError(f"{path}: there is no such file in {in_a_line(str(folder.absolute()))}")
        try:
            with file.open("rb") as opened:
                content = opened.read(MOST_BYTES + 1)
        except OSError as error:
            raise ValueError(f"{path}: cannot be read: {error.strerror}") from None
        if len(content) > MOST_BYTES:
            raise ValueError(f"{path}: is too large to be run: it has more than {MOST_BYTES:,} bytes")
        try:
            return cls(path, content.decode("utf-8-sig"))
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            raise ValueError(f"{path}:{line}: is not Python: byte 0x{content[error.start]:02x} is not UTF-8") from None


def is_file(place: str) -> bool:
    """Whether a place is a file; any other is a module."""
    return place.endswith(".py")


def function_in(place: str, name: str, sources: Iterable[Source]) -> Callable[..., Any]:
    """The function of this name in a place, which is among `sources` where it is a file.

    Raises:
        ValueError: a line that names the place, and the line of the code where there is one.
    """
    if is_file(place):
        source = next((source for source in sources if source.path == place), None)
        if source is None:
            raise ValueError(f"{place}: its text is not here")
        module = _run(source)
    else:
        module = _imported(place)
    function: Callable[..., Any] | None = getattr(module, name, None)
    if not callable(function):
        known = [known for known, value in vars(module).items() if callable(value) and not known.startswith("_")]
        raise ValueError(f"{place}: has no function {name}{did_you_mean(name, known)}")
    return function


@lru_cache(maxsize=64)
def _run(source: Source) -> ModuleType:
    """The module that a file makes. Each file gets a module name that no other file and no package has."""
    from hashlib import sha256  # takes milliseconds to import, and few have a file

    name = "file_" + sha256(f"{source.path}\0{source.text}".encode()).hexdigest()[:16]
    module = ModuleType(name)
    module.__file__ = source.path
    try:
        code = compile(source.text, source.path, "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None) or 1
        raise ValueError(f"{source.path}:{line}: is not Python: {getattr(error, 'msg', error)}") from None
    sys.modules[name] = module  # where dataclasses look for what they are in
    try:
        exec(code, vars(module))
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise ValueError(f"{told(error, source.path)}, while the file ran") from None
    return module


def _imported(name: str) -> ModuleType:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise ValueError(
                f"{name}: no module {error.name} is installed here; a file is named by its path: rules.py:factory()"
            ) from None
        raise ValueError(f"{name}: {type(error).__name__}: {error}, while it was imported") from None
    except (Exception, SystemExit) as error:
        raise ValueError(f"{told(error, name)}, while it was imported") from None


def told(error: BaseException, place: str) -> str:
    """An error in a line, such as `rules.py:7: KeyError: 4`."""
    return f"{passed_by(error, place) or place}: {type(error).__name__}: {in_a_line(str(error))}"


def passed_by(error: BaseException, place: str) -> str:
    """The last line of a place that an error has passed, such as `rules.py:7`; empty where it has passed none."""
    import traceback

    file = place if is_file(place) else getattr(sys.modules.get(place), "__file__", None)
    passed = (frame.lineno for frame in reversed(traceback.extract_tb(error.__traceback__)) if frame.filename == file)
    line = next(passed, None)
    return "" if line is None else f"{place}:{line}"


def line_of(function: object) -> int | None:
    """The line in which a function is defined; None where it is not known."""
    code = getattr(function, "__code__", None)
    return getattr(code, "co_firstlineno", None)


@cache
def announced() -> Mapping[str, "EntryPoint"]:
    """The factories that installed packages announce, by name; of two of one name, the first."""
    from importlib.metadata import entry_points  # takes milliseconds, and few ask

    points: dict[str, EntryPoint] = {}
    for point in entry_points(group=GROUP):
        points.setdefault(point.name, point)
    return dict(sorted(points.items()))
