"""Schedules as text: `revolve(slots=4)`, which is also the `__name__` of what that call makes."""

import ast
import inspect
from collections.abc import Callable
from functools import lru_cache

from networks.schedules.signature import Schedule

FACTORIES: dict[str, Callable[..., Schedule]] = {}
"""Every factory that makes a schedule from numbers and text, by name; the package registers them once all are there,
because some of them read schedules themselves."""


@lru_cache(maxsize=256)
def parse_schedule(text: str) -> Schedule:
    """Return the schedule that `text` names, one and the same: a factory of the registry, called with literals."""
    try:
        call = ast.parse(text.strip(), mode="eval").body
        name = call.func.id
        arguments = [ast.literal_eval(argument) for argument in call.args]
        options = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
    except (SyntaxError, ValueError, TypeError, AttributeError):
        raise ValueError(f"schedule must be written like revolve(slots=4), got {text!r}") from None
    if name not in FACTORIES:
        raise ValueError(f"schedule must be one of {', '.join(FACTORIES)}, got {name!r}")
    try:
        return FACTORIES[name](*arguments, **options)
    except TypeError as error:
        options = ", ".join(f"{option}=.." for option in inspect.signature(FACTORIES[name]).parameters)
        raise ValueError(f"schedule {text!r}: {error}; it is written {name}({options})") from None
