"""The activation cache: which activations are held, and what each has cost since its last use."""

from array import array
from collections.abc import Iterator, KeysView, Mapping, Sequence
from typing import Any


class CachedCosts(Mapping[int, int]):
    """The positions in the cache, each with the forward operations executed since its last use."""

    def __init__(self, cached: Mapping[int, Any], last_used: Sequence[int], now: int):
        self._cached = cached
        self._last_used = last_used
        self._now = now

    def __getitem__(self, position: int) -> int:
        if position not in self._cached:
            raise KeyError(position)
        return self._now - self._last_used[position]

    def __iter__(self) -> Iterator[int]:
        return iter(self._cached)

    def __len__(self) -> int:
        return len(self._cached)

    def __contains__(self, position: object) -> bool:
        return position in self._cached

    def keys(self) -> KeysView[int]:
        """The dict's own view: its set operations run in C, which counts in chains of thousands of layers."""
        return self._cached.keys()


class ActivationCache:
    """The activations resident between operations, by position, and when each was last used."""

    def __init__(self, inputs: Any, depth: int, now: int = 0):
        self._afters: dict[int, Any] = {0: inputs}
        self._last_used = array("q", [now]) * depth

    def __contains__(self, position: int) -> bool:
        return position in self._afters

    def __iter__(self) -> Iterator[int]:
        return iter(self._afters)

    def __getitem__(self, position: int) -> Any:
        return self._afters[position]

    def put(self, position: int, after: Any, now: int) -> None:
        """Hold an activation, computed when `now` forward operations had been executed."""
        self._afters[position] = after
        self._last_used[position] = now

    def use(self, position: int, now: int) -> None:
        """Note that the activation at `position` was asked for, or that a stretch started from it."""
        self._last_used[position] = now

    def take(self, position: int) -> Any:
        """Return the activation at `position` and forget it."""
        return self._afters.pop(position)

    def costs(self, now: int) -> CachedCosts:
        """What a schedule sees of the cache when `now` forward operations have been executed."""
        return CachedCosts(self._afters, self._last_used, now)

    def nearest(self, layer: int) -> int:
        """The highest position of the cache that is not above `layer`."""
        # A stretch starts at the highest position, so positions are put in ascending order.
        nearest: int = next(position for position in reversed(self._afters) if position <= layer)
        return nearest
