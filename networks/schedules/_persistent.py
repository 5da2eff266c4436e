"""The persistent programme: an after that is kept stays until it is served."""

import numpy as np

from networks.chain import Chain
from networks.schedules._memory import Advances, Memory


class PersistentProgramme:
    """Fewest forward operations over persistent schedules.

    `table[i, j, below]` is the work of the backward steps of layers j..i+1 with after[i] held: advance to some k,
    run layers j..k+1 above it, then layers k..i+1 without it.
    """

    def __init__(self, chain: Chain, memory: Memory):
        self._chain = chain
        self._memory = memory
        self._advances = Advances(chain)
        self._table = np.full((chain.depth, chain.depth + 1, memory.slots), np.inf)
        for start in range(chain.depth - 1, -1, -1):
            self._solve(start)

    def _solve(self, start: int) -> None:
        depth, memory, table = self._chain.depth, self._memory, self._table
        units = memory.units[start]
        work = self._advances.work(start, depth - 1)
        transient = self._advances.transient_bytes(start, depth - 1)
        lower = np.full((depth + 1, memory.slots), np.inf)  # row k: the advance to k, and layers k..start+1 after it
        fits = memory.slots - units
        for layer in range(start + 1, depth + 1):
            fits = min(fits, memory.cap(self._chain.serve_bytes[layer]) + 1 - units)
            if fits <= 0:
                break
            if layer == start + 1:
                table[start, layer, :fits] = 0
            else:
                between = slice(start + 1, layer)
                total = table[between, layer, units : units + fits] + lower[between, :fits]
                caps = memory.cap(self._chain.recompute_bytes[layer] + transient[: layer - start - 1]) - units
                if caps[-1] < fits - 1:  # the transient bytes grow with the advance, so the last cap is the least
                    total[np.arange(fits) > caps[:, None]] = np.inf
                np.min(total, axis=0, out=table[start, layer, :fits])
            if layer < depth:
                lower[layer, :fits] = table[start, layer, :fits] + work[layer - start - 1]

    def work(self, spare: int) -> float:
        """Forward operations of a whole step, the outputs' included, with `spare` units of the budget left unused."""
        return self._table[0, self._chain.depth, spare] + self._chain.forward_flops[-1]

    def keep(self, cached: list[int], layer: int, spare: int) -> set[int]:
        """The positions to hold when layer `layer` asks and `cached`, in ascending order, are held."""
        units = self._memory.units
        start = cached[-1]
        below = spare + sum(units[position] for position in cached[:-1])
        kept = set(cached)
        while layer > start + 1:
            start, below = self._next(start, layer, below), below + units[start]
            kept.add(start)
        return kept

    def _next(self, start: int, layer: int, below: int) -> int:
        held = below + self._memory.units[start]
        total = self._table[start + 1 : layer, layer, held] + self._table[start, start + 1 : layer, below]
        total += self._advances.work(start, layer - 1)
        transient = self._advances.transient_bytes(start, layer - 1)
        total[held > self._memory.cap(self._chain.recompute_bytes[layer] + transient)] = np.inf
        return start + 1 + int(np.argmin(total))


class PersistentLeastPeak:
    """The least peak over persistent schedules: the same recursion, over maxima of bytes.

    `need[i, j]` is the bytes that the backward steps of layers j..i+1 need beside what is held up to after[i].
    """

    def __init__(self, chain: Chain):
        self._chain = chain
        self._advances = Advances(chain)
        self._after_bytes = np.array(chain.after_bytes)
        self._need = np.zeros((chain.depth, chain.depth + 1), dtype=np.int64)
        for start in range(chain.depth - 1, -1, -1):
            transient = self._advances.transient_bytes(start, chain.depth - 1)
            self._need[start, start + 1] = chain.serve_bytes[start + 1]
            for layer in range(start + 2, chain.depth + 1):
                self._need[start, layer] = self._needs(start, layer, transient).min()
        self.peak_bytes = int(self._need[0, chain.depth])

    def _needs(self, start: int, layer: int, transient: np.ndarray) -> np.ndarray:
        between = slice(start + 1, layer)
        moving = self._chain.recompute_bytes[layer] + transient[: layer - start - 1]
        above = self._after_bytes[between] + self._need[between, layer]
        return np.maximum(np.maximum(moving, above), self._need[start, between])

    def keep(self, cached: list[int], layer: int, spare: int = 0) -> set[int]:
        """The positions to hold when layer `layer` asks and `cached`, in ascending order, are held."""
        kept, start = set(cached), cached[-1]
        while layer > start + 1:
            transient = self._advances.transient_bytes(start, layer - 1)
            start += 1 + int(np.argmin(self._needs(start, layer, transient)))
            kept.add(start)
        return kept
