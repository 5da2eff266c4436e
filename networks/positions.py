"""The cache of a step that is only counted: what it costs to ask a schedule goes by what the answer changes.

A step of L layers may ask as many times, with as many positions cached. A network copies them for each answer, and its
matrix products hide that. In a dry run or a replay nothing hides it: 100,000 layers would take minutes.
"""

from collections.abc import Iterable, Iterator, Mapping, Set
from itertools import chain
from typing import Any

from networks.cache import ActivationCache, CachedCosts


class Positions(Set[int]):
    """The positions of `cached`, but for those `dropped`, and those `added`: a set that is told by its changes.

    It is valid until the cache changes. `|` and `-` give another one; what else sets do gives a plain set.
    """

    def __init__(self, cached: Set[int], dropped: Set[int] = frozenset(), added: Set[int] = frozenset()):
        self.cached = cached
        self.dropped = dropped
        self.added = added

    def __contains__(self, position: object) -> bool:
        return position in self.added or (position in self.cached and position not in self.dropped)

    def __iter__(self) -> Iterator[int]:
        if not (self.dropped or self.added):
            return iter(self.cached)
        return chain((position for position in self.cached if position not in self.dropped), self.added)

    def __len__(self) -> int:
        return len(self.cached) - len(self.dropped) + len(self.added)

    def __or__(self, positions: Iterable[Any]) -> "Positions":
        more = frozenset(positions)
        added = self.added | {position for position in more if position not in self.cached}
        return Positions(self.cached, self.dropped - more, added)

    def __sub__(self, positions: Iterable[int]) -> "Positions":
        fewer = frozenset(positions)
        dropped = self.dropped | {position for position in fewer if position in self.cached}
        return Positions(self.cached, dropped, self.added - fewer)

    @classmethod
    def _from_iterable(cls, positions: Iterable[Any]) -> set[Any]:
        return set(positions)


class CountedCosts(Mapping[int, int]):
    """`costs` of a cache, with its positions as `Positions`."""

    def __init__(self, costs: CachedCosts):
        self._costs = costs

    def __getitem__(self, position: int) -> int:
        return self._costs[position]

    def __iter__(self) -> Iterator[int]:
        return iter(self._costs)

    def __len__(self) -> int:
        return len(self._costs)

    def __contains__(self, position: object) -> bool:
        return position in self._costs

    def keys(self) -> Positions:  # type: ignore[override]  # it is asked for set operations, which both have
        """The cached positions."""
        return Positions(self._costs.keys())


class CountedCache(ActivationCache):
    """A cache that finds the nearest position at once."""

    def __init__(self, inputs: Any, depth: int, now: int = 0):
        super().__init__(inputs, depth, now)
        self._in_order = [0]  # those that are gone stay until they are on top

    def put(self, position: int, after: Any, now: int) -> None:
        super().put(position, after, now)
        self._in_order.append(position)

    def nearest(self, layer: int) -> int:
        """The highest position, which in a pass is never above the layer that is asked for."""
        while self._in_order[-1] not in self._afters:
            self._in_order.pop()
        return self._in_order[-1]
