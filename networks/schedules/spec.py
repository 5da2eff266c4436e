"""Schedules as text, which is also the `__name__` of what it makes.

    revolve(slots=4)                    a factory of the registry, or one that an installed package announces
    rules.py:fibonacci()                a factory in a file; its path is read from a folder that the caller says
    my_package.rules:fibonacci(n=3)     a factory in an installed module

What is not of the registry is a *stranger*: to make it runs somebody's code. To read its text, by `calls_in`, does not.
"""

import ast
import inspect
import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePath
from typing import Any, TypeVar

from networks.chain import Chain
from networks.schedules.foreign import Source, announced, function_in, is_file, line_of, told
from networks.schedules.signature import Keep, Schedule
from networks.wording import is_visible, one_of, shown

MOST_CHARACTERS = 200
"""Most that a text may have, because Python's parser runs out of stack or memory on a long one."""

FACTORIES: dict[str, Callable[..., Schedule]] = {}
"""Every factory of the registry, by name; the package registers them once all are there, because some of them read
schedules themselves."""

_CALL = re.compile(r"\s*(?:(?P<place>[^(]*[^(\s])\s*:\s*)?(?P<call>\w+\s*\(.*)", re.DOTALL)

_TIMES = re.compile(r"(?P<schedule>.*\S)\s*\*\s*(?P<factor>\d{1,9}(\.\d{1,9})?)\s*", re.DOTALL)
"""A schedule and a decimal factor, whose digits are few enough to be exact."""

_SOURCES: ContextVar[tuple[Source, ...] | None] = ContextVar("sources", default=None)
"""The files of the text that is being made, for a factory that reads another schedule, as a `budget_of` is one."""


@dataclass(frozen=True)
class Call:
    """The call that a text is.

    Attributes:
        place: the file, or the module, that has the factory; empty where it has a name of its own.
    """

    place: str
    name: str
    arguments: tuple[Any, ...]
    options: Mapping[str, Any]

    @property
    def head(self) -> str:
        """The factory, as it is written."""
        return f"{self.place}:{self.name}" if self.place else self.name

    @property
    def is_strange(self) -> bool:
        """Whether the registry has no such factory."""
        return bool(self.place) or self.name not in FACTORIES

    @property
    def code(self) -> str:
        """What its code is called: the file or the module that it is in, or a schedule of the registry."""
        if self.place or not self.is_strange:
            return self.place or self.name
        point = announced().get(self.name)
        return self.name if point is None else point.module

    def __str__(self) -> str:
        options = (f"{name}={value!r}" for name, value in self.options.items())
        return f"{self.head}({', '.join([*map(repr, self.arguments), *options])})"


@lru_cache(maxsize=1024)  # every cell of a grid asks
def calls_in(text: str) -> tuple[Call, ...]:
    """The call that a text is, and those that its `budget_of` names. Raises ValueError for what is no call."""
    call = _call(text)
    named = call.options.get("budget_of")
    inner: tuple[Call, ...] = ()
    if isinstance(named, str):
        with suppress(ValueError):  # which whoever makes the schedule tells
            inner = calls_in(split_factor(named)[0])
    return (call, *inner)


def is_strange(text: str) -> bool:
    """Whether a text names a schedule that the registry does not have. Raises ValueError for what is no call."""
    return any(call.is_strange for call in calls_in(text))


def read_sources(text: str, folder: Path) -> tuple[Source, ...]:
    """The files that a text names, read from `folder`. Raises ValueError."""
    places = dict.fromkeys(call.place for call in calls_in(text) if is_file(call.place))
    return tuple(Source.read(place, folder) for place in places)


def split_factor(text: str) -> tuple[str, str]:
    """Of `SCHEDULE` or `SCHEDULE*FACTOR` the schedule and the factor, which is 1 where none is written."""
    times = _TIMES.fullmatch(text)
    return (times["schedule"], times["factor"]) if times else (text, "1")


def parse_schedule(text: str, sources: Iterable[Source] | None = None) -> Schedule:
    """Return the schedule that `text` names, one and the same: a factory, called with literals.

    `sources` have the files that it names; where there are none, files are read from the working directory. Raises
    ValueError.
    """
    files = _SOURCES.get() if sources is None else tuple(sources)
    if files is None:
        files = read_sources(text, Path()) if ".py" in text else ()
    return _made(text, files)


@lru_cache(maxsize=256)
def _made(text: str, sources: tuple[Source, ...]) -> Schedule:
    call = _call(text)
    factory = factory_of(call, sources)
    around = _SOURCES.set(sources)
    try:
        if call.is_strange:
            return _strange(call, factory)
        return made_from(text, FACTORIES)
    finally:
        _SOURCES.reset(around)


Made = TypeVar("Made")


def made_from(text: str, factories: Mapping[str, Callable[..., Made]]) -> Made:
    """Return what `text` makes: a call of one of these factories with literals."""
    call = _call(text)
    if call.head not in factories:
        raise ValueError(f"schedule must be {one_of(call.head, factories)}")
    try:
        return factories[call.head](*call.arguments, **call.options)
    except TypeError as error:
        raise _unfit(text, call, factories[call.head], error) from None


def factory_of(call: Call, sources: Iterable[Source] = ()) -> Callable[..., Any]:
    """The factory that a call is of. To find a stranger runs its code. Raises ValueError where there is none."""
    if not call.is_strange:
        return FACTORIES[call.name]
    if call.place:
        return function_in(call.place, call.name, sources)
    require_known(call)
    point = announced()[call.name]
    return function_in(point.module, point.attr, ())


def require_known(call: Call) -> None:
    """Raise ValueError if a call has neither a place nor a name that anybody has registered or announced."""
    if not call.place and call.name not in FACTORIES and call.name not in announced():
        raise ValueError(f"schedule must be {one_of(call.name, [*FACTORIES, *announced()])}")


def _strange(call: Call, factory: Callable[..., Any]) -> Schedule:
    """The schedule that somebody's factory makes, under the name that is its call."""
    try:
        inspect.signature(factory).bind(*call.arguments, **call.options)
    except TypeError as error:
        raise _unfit(str(call), call, factory, error) from None
    except ValueError:  # of a factory in C
        pass
    try:
        made = factory(*call.arguments, **call.options)
    except Exception as error:
        raise ValueError(f"{told(error, call.code)}, while {call} made a schedule") from None
    if not callable(made):
        line = line_of(factory)
        place = call.code if line is None else f"{call.code}:{line}"
        raise ValueError(f"{place}: {call} must return a schedule, a function of a chain, got {shown(made)}")

    def schedule(chain: Chain) -> Keep:
        try:
            keep: Keep = made(chain)
        except ValueError:
            raise
        except Exception as error:
            raise ValueError(f"{told(error, call.code)}, while {call} took a chain") from None
        return keep

    schedule.__name__ = str(call)
    schedule.__wrapped__ = made  # type: ignore[attr-defined]  # as functools.wraps would
    return schedule


def _unfit(text: str, call: Call, factory: Callable[..., Any], error: TypeError) -> ValueError:
    takes = ", ".join(f"{option}=.." for option in inspect.signature(factory).parameters)
    return ValueError(f"schedule {text!r}: {error}; it is written {call.head}({takes})")


def _call(text: str) -> Call:
    if len(text) > MOST_CHARACTERS:
        raise ValueError(f"schedule must have at most {MOST_CHARACTERS} characters, got {len(text):,}: {shown(text)}")
    match = _CALL.fullmatch(text)
    if match is None:
        raise _malformed(text)
    place = match["place"] or ""
    if is_file(place) and is_visible(place):
        place = PurePath(place).as_posix()
    elif place and not all(part.isidentifier() for part in place.split(".")):
        raise _malformed(text)
    try:
        with warnings.catch_warnings(action="error"):  # a wrong escape is one
            call: Any = ast.parse(match["call"].strip(), mode="eval").body
        name = call.func.id
        arguments = [ast.literal_eval(argument) for argument in call.args]
        options = [(option.arg, ast.literal_eval(option.value)) for option in call.keywords]
    except (SyntaxError, ValueError, TypeError, AttributeError):
        raise _malformed(text) from None
    for position, (option, _) in enumerate(options):
        if option is None:  # **{}
            raise _malformed(text)
        if option in dict(options[:position]):
            raise ValueError(f"schedule {text!r}: {option} is given twice")
    return Call(place, name, tuple(arguments), dict(options))


def _malformed(text: str) -> ValueError:
    return ValueError(f"schedule must be written like revolve(slots=4) or rules.py:factory(), got {shown(text)}")
