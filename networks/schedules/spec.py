"""Schedules as text: `revolve(slots=4)`, which is also the `__name__` of what that call makes."""

import ast
import inspect
import warnings
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, TypeVar

from networks.schedules.signature import Schedule
from networks.wording import one_of, shown

MOST_CHARACTERS = 200
"""Most that a text may have, because Python's parser runs out of stack or memory on a long one."""

FACTORIES: dict[str, Callable[..., Schedule]] = {}
"""Every factory that makes a schedule from numbers and text, by name; the package registers them once all are there,
because some of them read schedules themselves."""


Made = TypeVar("Made")


@lru_cache(maxsize=256)
def parse_schedule(text: str) -> Schedule:
    """Return the schedule that `text` names, one and the same: a factory of the registry, called with literals."""
    return made_from(text, FACTORIES)


def made_from(text: str, factories: Mapping[str, Callable[..., Made]]) -> Made:
    """Return what `text` makes: a call of one of these factories with literals."""
    name, arguments, options = _call(text)
    if name not in factories:
        raise ValueError(f"schedule must be {one_of(name, factories)}")
    try:
        return factories[name](*arguments, **options)
    except TypeError as error:
        takes = ", ".join(f"{option}=.." for option in inspect.signature(factories[name]).parameters)
        raise ValueError(f"schedule {text!r}: {error}; it is written {name}({takes})") from None


def _call(text: str) -> tuple[str, list[Any], dict[str, Any]]:
    """The name, the arguments and the options of the call that `text` is."""
    if len(text) > MOST_CHARACTERS:
        raise ValueError(f"schedule must have at most {MOST_CHARACTERS} characters, got {len(text):,}: {shown(text)}")
    try:
        with warnings.catch_warnings(action="error"):  # a wrong escape is one
            call: Any = ast.parse(text.strip(), mode="eval").body
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
    return name, arguments, dict(options)


def _malformed(text: str) -> ValueError:
    return ValueError(f"schedule must be written like revolve(slots=4), got {shown(text)}")
