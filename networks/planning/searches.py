"""The search for the best schedule of each kind of the registry.

A search gets a chain and a room: the bytes that a budget leaves for the peak. It returns a schedule. The arguments of
the factory decide how it searches. If the factory takes `budget_bytes`, it gets the room. If it takes one integer, many
numbers are replayed. If it needs no argument, its schedule is taken as it is.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache, partial
from inspect import Parameter
from typing import Any

from networks.chain import Chain
from networks.schedules.budget import BUDGETS
from networks.schedules.candidates import Candidates, numbered
from networks.schedules.foreign import Source, told
from networks.schedules.registry import REGISTERED, Registered
from networks.schedules.replay import replay
from networks.schedules.signature import Keep, Schedule
from networks.schedules.spec import calls_in, factory_of, parse_schedule

PARTS = 16
"""If a foreign schedule's peak is above its budget, smaller budgets are tried: 1 to 15 of so many parts of the room."""

Search = Callable[[Chain, int], Schedule]
"""Returns the best schedule of a kind for a chain and a room in bytes. Raises ValueError if there is none."""


@lru_cache(maxsize=64)  # the same schedule is the same object, and remembers what it has solved
def made(factory: Callable[..., Schedule], **options: Any) -> Schedule:
    """Call `factory`, once for the same options."""
    return factory(**options)


def search_of(entry: Registered, fixed: Mapping[str, str]) -> Search:
    """The search among the schedules of `entry` with these arguments fixed."""
    if entry.candidates:
        return partial(_among, entry.candidates)
    takes = {name: parameter for name, parameter in entry.takes.items() if name not in fixed}
    make = partial(made, entry.factory, **fixed)
    return _search(entry.name, takes, make, partial(_bounding, make, entry.least_budget))


def search_named(text: str, sources: Iterable[Source] = ()) -> Search:
    """The search among the schedules of the factory that `text` calls. Its files are among `sources`.

    Arguments in `text` are fixed, except a budget: if the factory takes `budget_bytes`, it gets the room. A foreign
    factory's code is run, to see which arguments it takes. Raises ValueError if `text` is no call of a factory.
    """
    call, sources = calls_in(text)[0], tuple(sources)
    parameters = inspect.signature(factory_of(call, sources)).parameters
    options = {name: value for name, value in call.options.items() if name not in BUDGETS}
    call = replace(call, options=options if "budget_bytes" in parameters else call.options)
    given = {*list(parameters)[: len(call.arguments)], *call.options}
    takes = {name: parameter for name, parameter in parameters.items() if name not in given}

    def make(**more: Any) -> Schedule:
        return parse_schedule(str(replace(call, options={**call.options, **more})), sources)

    if not call.is_strange:
        return _search(call.head, takes, make, partial(_bounding, make, REGISTERED[call.name].least_budget))
    search = _search(call.head, takes, make, partial(_trying, make))

    def tried(chain: Chain, room: int) -> Schedule:
        try:
            schedule = search(chain, room)
            replay(chain, schedule(chain))
        except ValueError:
            raise
        except Exception as error:
            raise ValueError(told(error, call.code)) from None
        return schedule

    return tried


def _search(name: str, takes: Mapping[str, Parameter], make: Callable[..., Schedule], within: Search) -> Search:
    """The search among the schedules that `make` makes. It takes the arguments `takes`. `within` searches a budget."""
    variadic = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
    required = [one for one, told in takes.items() if told.default is Parameter.empty and told.kind not in variadic]
    integers = [one for one, told in takes.items() if told.annotation in (int, "int")]
    if "budget_bytes" in takes and set(required) <= {"budget_bytes"}:
        return within
    if len(integers) == 1 and set(required) <= set(integers):
        return partial(_among, partial(numbered, factory=make, argument=integers[0]))
    if not required:
        return lambda chain, room: make()
    return partial(_refused, name, required)


def _bounding(make: Callable[..., Schedule], least_budget: Callable[[Chain], int], chain: Chain, room: int) -> Schedule:
    """The schedule whose budget is the room. The budget bounds its peak."""
    return make(budget_bytes=max(room, least_budget(chain)))


def _trying(make: Callable[..., Schedule], chain: Chain, room: int) -> Schedule:
    """As `_bounding`, but the budget may not bound the peak. If it does not, smaller budgets are tried."""
    schedule = make(budget_bytes=max(1, room))
    if replay(chain, schedule(chain)).peak_bytes <= room:
        return schedule
    bound: dict[Schedule, Keep] = {}
    for part in range(1, PARTS):
        with suppress(ValueError):
            smaller = make(budget_bytes=max(1, room * part // PARTS))
            bound[smaller] = smaller(chain)
    return Candidates(chain, bound).cheapest(room) if bound else schedule


def _among(candidates: Callable[[Chain], Candidates], chain: Chain, room: int) -> Schedule:
    return candidates(chain).cheapest(room)


def _refused(name: str, required: list[str], chain: Chain, room: int) -> Schedule:
    raise ValueError(
        f"{name} takes {' and '.join(required)}, which the planner does not search; "
        "its entry of the registry can name candidates, and a call can give numbers"
    )


SEARCHES: Mapping[str, Search] = {
    name: search_of(entry, fixed)
    for entry in REGISTERED.values()
    if entry.planned
    for name, fixed in entry.by_name.items()
}
"""The search of each kind, by the kind's name. A plan's row has the same name."""
