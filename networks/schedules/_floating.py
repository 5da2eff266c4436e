"""The floating programme: a kept after may be given up before it is served.

Dropping a position pays only where one starts from it for the last time, so a held position c (a *level*) is either
served, or replaced, at the request of some layer, by a higher position that is computed from it. "Run j..e" stands for
the backward steps of layers j, j-1, .., e+1.

    runs[c, j, e]    run j..e with after[c] held throughout
    levels[c, j, e]  run j..e from holding after[c] on; it, or what replaced it, is served last and is position e
"""

import itertools
from collections.abc import Sequence

import numpy as np

from networks.chain import Chain
from networks.schedules._memory import Advances, Memory


class FloatingProgramme:
    """Fewest forward operations over all schedules of a chain, at the cost of the fifth power of its depth."""

    def __init__(self, chain: Chain, memory: Memory):
        self._memory = memory
        self._fill(chain, units=memory.units, slots=memory.slots)

    def _fill(self, chain: Chain, *, units: Sequence[int], slots: int) -> None:
        self._chain = chain
        self._units = units
        self.slots = slots
        self._advances = Advances(chain)
        shape = (chain.depth, chain.depth + 1, chain.depth + 1, slots)
        self._runs = np.full(shape, np.inf)
        self._levels = np.full(shape, np.inf)
        for level in range(chain.depth - 1, -1, -1):
            for layer in range(level + 1, chain.depth + 1):
                self._solve_runs(level, layer)
            for layer in range(level + 1, chain.depth + 1):
                self._solve_levels(level, layer)

    def _solve_runs(self, level: int, layer: int) -> None:
        slots = self.slots - self._units[level]
        if slots <= 0:
            return
        self._runs[level, layer, layer, :slots] = 0
        for end in range(layer - 1, level, -1):
            self._runs[level, layer, end, :slots] = self._new_levels(level, layer, end, np.arange(slots)).min(
                axis=(0, 1)
            )

    def _new_levels(self, level: int, layer: int, end: int, below: np.ndarray) -> np.ndarray:
        """Work of `runs[level, layer, end]` by the next position computed and kept, and by where that one ends."""
        held = below + self._units[level]
        total = self._levels[level + 1 : layer, layer, end:layer][..., held]
        total += self._runs[level, end:layer, end][..., below]
        total += self._advances.work(level, layer - 1)[:, None, None]
        transient = self._advances.transient_bytes(level, layer - 1)
        caps = self._memory.cap(self._chain.recompute_bytes[layer] + transient)
        return np.where(held <= caps[:, None, None], total, np.inf)

    def _solve_levels(self, level: int, layer: int) -> None:
        self._levels[level, layer, level] = self._served(level, layer)
        for end in range(level + 1, layer):
            replaced = self._replacements(level, layer, end, np.arange(self.slots))
            self._levels[level, layer, end] = replaced.min(axis=(0, 1))

    def _served(self, level: int, layer: int) -> np.ndarray:
        """Work of `levels[level, layer, level]`: `level` is held until it is served."""
        held = np.arange(self.slots) + self._units[level]
        fits = held <= self._memory.cap(self._chain.serve_bytes[level + 1])
        return np.where(fits, self._runs[level, layer, level + 1], np.inf)

    def _replacements(self, level: int, layer: int, end: int, below: np.ndarray) -> np.ndarray:
        """Work of `levels[level, layer, end]` by the position that replaces `level`, and the layer that asks then."""
        total = self._levels[level + 1 : end + 1, end + 1 : layer + 1, end][..., below]
        total += self._runs[level, layer, end + 1 : layer + 1][..., below]
        total += self._advances.work(level, end)[:, None, None]
        transient = self._advances.transient_bytes(level, end, drop=True)
        asking = np.array(self._chain.recompute_bytes[end + 1 : layer + 1])
        caps = self._memory.cap(asking[None, :] + transient[:, None])
        return np.where(below <= caps[:, :, None], total, np.inf)

    def work(self, spare: int) -> float:
        """Forward operations of a whole step, the outputs' included, with `spare` units of the budget left unused."""
        work: float = self._levels[0, self._chain.depth, 0, spare] + self._chain.forward_flops[-1]
        return work

    _join: np.ufunc = np.add

    def keep(self, cached: list[int], layer: int, spare: int) -> set[int]:
        """The positions to hold when layer `layer` asks and `cached`, in ascending order, are held."""
        units = [self._units[position] for position in cached]
        below = list(itertools.accumulate(units[:-1], initial=spare))
        # remaining[e]: what is left when the levels above are gone and layer e is next.
        remaining = np.full(self._chain.depth + 1, np.inf)
        remaining[0] = 0
        for level, lower in zip(cached[:-1], below[:-1], strict=True):
            remaining = np.min(self._join(self._level(level, lower), remaining), axis=1)
        end = int(np.argmin(self._join(self._level(cached[-1], below[-1])[layer], remaining)))
        return {*cached[:-1], *self._hold(cached[-1], layer, end, below[-1])}

    def _level(self, level: int, below: int) -> np.ndarray:
        """The costs of `level` by the layer that asks, and by where its turn ends."""
        return self._levels[level, :, :, below]

    def _hold(self, level: int, layer: int, end: int, below: int) -> set[int]:
        """What of `level` and above is held once layer `layer` has asked; its turn ends at `end`."""
        if layer == level + 1:
            return {level}
        if end == level:
            return {level, *self._hold_above(level, layer, level + 1, below)}
        replaced = self._replacements(level, layer, end, np.array([below]))[:, :, 0]
        above, asking = np.unravel_index(np.argmin(replaced), replaced.shape)
        new, asks = level + 1 + int(above), end + 1 + int(asking)
        if asks == layer:
            return self._hold(new, layer, end, below)
        return {level, *self._hold_above(level, layer, asks, below)}

    def _hold_above(self, level: int, layer: int, end: int, below: int) -> set[int]:
        total = self._new_levels(level, layer, end, np.array([below]))[:, :, 0]
        above, ends = np.unravel_index(np.argmin(total), total.shape)
        return self._hold(level + 1 + int(above), layer, end + int(ends), below + self._units[level])


class FloatingLeastPeak(FloatingProgramme):
    """The least peak over all schedules: the same recursions over maxima of bytes beside what is held below."""

    def __init__(self, chain: Chain):
        self._fill(chain, units=[0] * chain.depth, slots=1)
        self._units = chain.after_bytes  # the tables do not count what is held below; `keep` does

    _join = np.maximum

    def _level(self, level: int, below: int) -> np.ndarray:
        costs: np.ndarray = below + self._levels[level, :, :, 0]
        return costs

    def _new_levels(self, level: int, layer: int, end: int, below: np.ndarray) -> np.ndarray:
        moving = self._chain.recompute_bytes[layer] + self._advances.transient_bytes(level, layer - 1)
        above = np.maximum(self._levels[level + 1 : layer, layer, end:layer], self._runs[level, end:layer, end])
        work: np.ndarray = np.maximum(above, moving[:, None, None])
        return work

    def _served(self, level: int, layer: int) -> np.ndarray:
        own, serve = self._chain.after_bytes[level], self._chain.serve_bytes[level + 1]
        peaks: np.ndarray = own + np.maximum(self._runs[level, layer, level + 1], serve)
        return peaks

    def _replacements(self, level: int, layer: int, end: int, below: np.ndarray) -> np.ndarray:
        asking = np.array(self._chain.recompute_bytes[end + 1 : layer + 1])
        moving = asking[None, :] + self._advances.transient_bytes(level, end, drop=True)[:, None]
        above = np.maximum(self._levels[level + 1 : end + 1, end + 1 : layer + 1, end], moving[:, :, None])
        below_it = self._chain.after_bytes[level] + self._runs[level, layer, end + 1 : layer + 1]
        peaks: np.ndarray = np.maximum(above, below_it)
        return peaks
