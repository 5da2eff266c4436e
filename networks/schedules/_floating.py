"""The floating programme: an activation that is kept may be dropped before it is served.

A *level* is a position that is held. It pays to drop a level only when one computes from it for the last time. So a
level has one of two ends. Either it is served. Or, when some layer asks, a higher position is computed from it and
replaces it. "Run j..e" means the backward steps of layers j, j-1, .., e+1. There are two tables:

    runs[c, j, e]    run j..e. after[c] is held all the time.
    levels[c, j, e]  run j..e. after[c] is held at the start. It may be replaced. The last one in its place is served,
                     and is position e.
"""

import itertools
from collections.abc import Sequence

import numpy as np

from networks.chain import Chain
from networks.schedules._memory import Advances, Memory


class FloatingProgramme:
    """Finds the fewest forward operations over all schedules of a chain. Time grows with the fifth power of depth."""

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
        """Work of `runs[level, layer, end]`, for each next position that is kept (rows) and its end (columns)."""
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
        """Work of `levels[level, layer, end]`, for each position that replaces `level` (rows), and each layer that asks
        at that moment (columns)."""
        total = self._levels[level + 1 : end + 1, end + 1 : layer + 1, end][..., below]
        total += self._runs[level, layer, end + 1 : layer + 1][..., below]
        total += self._advances.work(level, end)[:, None, None]
        transient = self._advances.transient_bytes(level, end, drop=True)
        asking = np.array(self._chain.recompute_bytes[end + 1 : layer + 1])
        caps = self._memory.cap(asking[None, :] + transient[:, None])
        return np.where(below <= caps[:, :, None], total, np.inf)

    def work(self, spare: int) -> float:
        """Forward operations of a whole step, outputs included, if `spare` units of the budget stay unused."""
        work: float = self._levels[0, self._chain.depth, 0, spare] + self._chain.forward_flops[-1]
        return work

    _join: np.ufunc = np.add

    def keep(self, cached: list[int], layer: int, spare: int) -> set[int]:
        """The positions to hold when layer `layer` asks. `cached` are those held now, in ascending order."""
        units = [self._units[position] for position in cached]
        below = list(itertools.accumulate(units[:-1], initial=spare))
        # remaining[e]: the cost of what is still to do when the levels above are gone and layer e is next.
        remaining = np.full(self._chain.depth + 1, np.inf)
        remaining[0] = 0
        for level, lower in zip(cached[:-1], below[:-1], strict=True):
            remaining = np.min(self._join(self._level(level, lower), remaining), axis=1)
        end = int(np.argmin(self._join(self._level(cached[-1], below[-1])[layer], remaining)))
        return {*cached[:-1], *self._hold(cached[-1], layer, end, below[-1])}

    def _level(self, level: int, below: int) -> np.ndarray:
        """The costs of `level`, for each layer that asks (rows) and each end of its run (columns)."""
        return self._levels[level, :, :, below]

    def _hold(self, level: int, layer: int, end: int, below: int) -> set[int]:
        """The positions from `level` on that are held after layer `layer` has asked. The level's run ends at `end`."""
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
    """Finds the least peak over all schedules. The recursions are the same, and take maxima of bytes, not sums of work.

    Bytes that are held below a level are not counted in its tables.
    """

    def __init__(self, chain: Chain):
        self._fill(chain, units=[0] * chain.depth, slots=1)
        self._units = chain.after_bytes  # `keep` adds what is held below

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
