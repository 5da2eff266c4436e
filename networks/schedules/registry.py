"""The registry of schedules. They have names in experiments and on the command line.

An entry says only what the signature of its factory does not say. The planner, the tables, the figures and the trace
read the signature.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import Any

from networks.chain import Chain
from networks.schedules.candidates import Candidates, periodics
from networks.schedules.checkpoint_schedules import IN_MEMORY
from networks.schedules.evicting import HEURISTICS
from networks.schedules.optimal import smallest_budget
from networks.schedules.signature import Schedule
from networks.schedules.spec import FACTORIES


@dataclass(frozen=True, kw_only=True)
class Registered:
    """A factory that has a name.

    Attributes:
        name: the name of the factory, and of its module in `networks/schedules/`.
        paper: the source. Empty if there is none.
        package: the distribution that it needs. Its measurements depend on the version. Empty if it needs none.
        kinds: if there are several kinds, the arguments that each of them fixes. A plan has a row for each kind.
        planned: whether every plan has rows of it. If not, only a plan that asks for it has one.
        candidates: the schedules that the planner tries. By default it tries numbers for a single integer argument.
        least_budget: the least `budget_bytes` that the planner tries.
    """

    name: str
    paper: str = ""
    package: str = ""
    kinds: tuple[Mapping[str, str], ...] = ({},)
    planned: bool = True
    candidates: Callable[[Chain], Candidates] | None = None
    least_budget: Callable[[Chain], int] = lambda chain: 1

    @cached_property
    def factory(self) -> Callable[..., Schedule]:
        """Makes the schedule. The schedule's `__name__` is the text of the call."""
        factory: Callable[..., Schedule] = getattr(import_module(f"networks.schedules.{self.name}"), self.name)
        return factory

    @property
    def takes(self) -> Mapping[str, inspect.Parameter]:
        """The arguments of the factory."""
        return inspect.signature(self.factory).parameters

    @property
    def by_name(self) -> dict[str, Mapping[str, str]]:
        """The arguments that each kind fixes, by the kind's name: the name of the factory, and those values."""
        return {" ".join([self.name, *fixed.values()]): fixed for fixed in self.kinds}

    def kind(self, arguments: Mapping[str, Any]) -> str:
        """The name of the kind to which a call with these arguments belongs."""
        return next(name for name, fixed in self.by_name.items() if fixed.items() <= arguments.items())


REGISTERED: Mapping[str, Registered] = {
    entry.name: entry
    for entry in (
        Registered(name="store_all"),
        Registered(name="periodic", paper="Chen et al. 2016, arXiv:1604.06174: segments", candidates=periodics),
        Registered(name="sqrt", paper="Chen et al. 2016, arXiv:1604.06174, section 4.1"),
        Registered(name="greedy", paper="Chen et al. 2016, arXiv:1604.06174, algorithm 3"),
        Registered(name="revolve", paper="Griewank and Walther 2000, Algorithm 799, ACM TOMS 26(1)"),
        Registered(
            name="evicting",
            paper="Kirisame et al. 2021, arXiv:2006.09616",
            kinds=tuple({"heuristic": by} for by in HEURISTICS),
        ),
        Registered(
            name="optimal", paper="compare Beaumont et al. 2019, arXiv:1911.13214: rotor", least_budget=smallest_budget
        ),
        Registered(
            name="checkpoint_schedules",
            paper="those of the library's schedules",
            package="checkpoint-schedules",
            kinds=tuple({"name": name} for name in IN_MEMORY),
            planned=False,
        ),
    )
}
"""By name, in the order in which they are shown."""

FACTORIES.update((name, entry.factory) for name, entry in REGISTERED.items())
