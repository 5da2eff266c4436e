"""How each kind of schedule of the registry is searched: what a budget leaves for the peak in, the best schedule out.

How follows from what the factory takes. A budget is tried at the room that is left. Of a single integer the numbers
are replayed. What needs no argument is taken as it is.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from inspect import Parameter
from typing import Any

from networks.chain import Chain
from networks.schedules.candidates import Candidates, numbered
from networks.schedules.registry import REGISTERED, Registered
from networks.schedules.signature import Schedule

Search = Callable[[Chain, int], Schedule]
"""Returns the best schedule of a kind for a chain and a room in bytes. Raises ValueError where there is none."""


@lru_cache(maxsize=64)  # the same schedule is the same object, and remembers what it has solved
def made(factory: Callable[..., Schedule], **options: Any) -> Schedule:
    """Call `factory`, once for the same options."""
    return factory(**options)


def search_of(entry: Registered, fixed: Mapping[str, str]) -> Search:
    """The search among the schedules of `entry` with these arguments fixed."""
    takes = {name: parameter for name, parameter in entry.takes.items() if name not in fixed}
    required = [name for name, parameter in takes.items() if parameter.default is Parameter.empty]
    integers = [name for name, parameter in takes.items() if parameter.annotation in (int, "int")]
    if entry.candidates:
        return partial(_among, entry.candidates)
    if "budget_bytes" in takes and set(required) <= {"budget_bytes"}:
        return partial(_within, entry, fixed)
    if len(integers) == 1 and set(required) <= set(integers):
        factory = partial(entry.factory, **fixed)
        return partial(_among, partial(numbered, factory=factory, argument=integers[0]))
    if not required:
        return lambda chain, room: made(entry.factory, **fixed)
    return partial(_refused, entry.name, required)


def _within(entry: Registered, fixed: Mapping[str, str], chain: Chain, room: int) -> Schedule:
    return made(entry.factory, budget_bytes=max(room, entry.least_budget(chain)), **fixed)


def _among(candidates: Callable[[Chain], Candidates], chain: Chain, room: int) -> Schedule:
    return candidates(chain).cheapest(room)


def _refused(name: str, required: list[str], chain: Chain, room: int) -> Schedule:
    raise ValueError(
        f"{name} takes {' and '.join(required)}, which the planner does not search; "
        "its entry of the registry can name candidates"
    )


SEARCHES: Mapping[str, Search] = {
    name: search_of(entry, fixed)
    for entry in REGISTERED.values()
    if entry.planned
    for name, fixed in entry.by_name.items()
}
"""By the name of each kind, which is also that of its row of a plan."""
