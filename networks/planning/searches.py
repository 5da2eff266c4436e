"""How each kind of schedule of the registry is searched: what a budget leaves for the peak in, the best schedule out.

How follows from what the factory takes. A budget is tried at the room that is left. Of a single integer the numbers
are replayed. What needs no argument is taken as it is.
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
"""Into so many parts the room is divided, to find a stranger's budget whose peak fits it."""

Search = Callable[[Chain, int], Schedule]
"""Returns the best schedule of a kind for a chain and a room in bytes. Raises ValueError where there is none."""


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
    """The search among the schedules that `text` leaves open, whose files are among `sources`.

    Where its factory takes `budget_bytes` that is the room, whatever budget the text gives. To look at a stranger's
    factory runs its code. Raises ValueError for what is no call of a factory.
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
    """The search among what `make` makes of the arguments that it `takes`; `within` is that of its budgets."""
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
    """The schedule that has the room as its budget, which bounds its peak."""
    return make(budget_bytes=max(room, least_budget(chain)))


def _trying(make: Callable[..., Schedule], chain: Chain, room: int) -> Schedule:
    """As `_bounding`, of a budget that may mean anything: where the peak is above it, the best of parts of the room."""
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
"""By the name of each kind, which is also that of its row of a plan."""
