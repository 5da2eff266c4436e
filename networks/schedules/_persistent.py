"""The persistent programme: an activation that is kept is held until it is served."""

from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np

from networks.chain import Chain
from networks.schedules._memory import Advances, Memory


class PersistentProgramme:
    """Finds the fewest forward operations over persistent schedules.

    `positions` are the places where checkpoints may stand, in ascending order from 0. In most chains these are all of
    0..L-1, in very deep ones fewer. The layers between two neighbours are a *segment*. When a segment runs, all of its
    activations are kept.

    `table[i, j, below]` is the least work of the backward steps of segments j-1, .., i with the i-th position held.
    First one advances to some k-th position and keeps it. Then segments j-1..k run backward. Then the k-th position is
    gone, and segments k-1..i run.
    """

    def __init__(self, chain: Chain, memory: Memory, positions: Sequence[int]):
        self.slots = memory.slots
        self._chain = chain
        self._memory = memory
        self._advances = Advances(chain)
        self._positions = np.array(positions)
        self._ends = np.array([*positions[1:], chain.depth])  # in each segment this layer asks first
        self._asking = [chain.recompute_bytes[end] for end in self._ends]
        by_stop = np.full((len(positions) + 1, len(positions), memory.slots), np.inf)
        self._table = by_stop.swapaxes(0, 1)  # numbers that one minimum reads are neighbours
        for start in range(len(positions) - 1, -1, -1):
            self._solve(start)

    def _solve(self, start: int) -> None:
        table = self._table
        units = self._units[start]
        work, transient = self._advance(start)
        most_transient = transient.tolist()
        lower = np.full((len(self._ends) + 1, self.slots), np.inf)  # row k: advance to k, then segments k-1..start
        fits = self.slots - units
        for stop in range(start + 1, len(self._ends) + 1):
            fits = min(fits, self._memory.cap(self._segment_bytes[stop - 1]) + 1 - units)
            if fits <= 0:
                break
            if stop == start + 1:
                table[start, stop, :fits] = self._segment_work[start]
            else:
                between = slice(start + 1, stop)
                total = table[between, stop, units : units + fits] + lower[between, :fits]
                # The transient bytes grow with the advance, so the last cap is the least.
                if self._memory.cap(self._asking[stop - 1] + most_transient[stop - start - 2]) - units < fits - 1:
                    caps = self._caps(stop, transient[: stop - start - 1]) - units
                    total[np.arange(fits) > caps[:, None]] = np.inf
                total.min(axis=0, out=table[start, stop, :fits])
            if stop < len(self._ends):
                lower[stop, :fits] = table[start, stop, :fits] + work[stop - start - 1]

    @cached_property
    def _units(self) -> list[int]:
        return [self._memory.units[position] for position in self._positions]

    @cached_property
    def _segment_work(self) -> list[float]:
        """Forward operations of the activations inside each segment."""
        inside = (self._chain.forward_flops[start + 1 : end] for start, end in self._segments())
        return [float(sum(flops)) for flops in inside]

    @cached_property
    def _segment_bytes(self) -> list[int]:
        """Most bytes that each segment takes, forward and backward. What is held up to its start is not counted."""
        return [self._run_segment(start, end) for start, end in self._segments()]

    def _run_segment(self, start: int, end: int) -> int:
        chain = self._chain
        inside = np.cumsum([0, *chain.after_bytes[start + 1 : end]])
        served = inside + np.array(chain.serve_bytes[start + 1 : end + 1])
        return max(int(served.max()), chain.recompute_bytes[end] + int(inside[-1]))

    def _segments(self) -> Iterator[tuple[int, int]]:
        return zip(self._positions.tolist(), self._ends.tolist(), strict=True)

    def _advance(self, start: int) -> tuple[np.ndarray, np.ndarray]:
        """Work and transient bytes of the advances from the `start`-th position to each one above it."""
        first, last = int(self._positions[start]), int(self._positions[-1])
        above = self._positions[start + 1 :] - first - 1
        return self._advances.work(first, last)[above], self._advances.transient_bytes(first, last)[above]

    def _caps(self, stop: int, transient: np.ndarray) -> np.ndarray:
        return self._memory.cap(self._asking[stop - 1] + transient)

    def work(self, spare: int) -> float:
        """Forward operations of a whole step, outputs included, if `spare` units of the budget stay unused."""
        work: float = self._table[0, len(self._ends), spare] + self._chain.forward_flops[-1]
        return work

    def keep(self, cached: list[int], layer: int, spare: int) -> set[int]:
        """The positions to hold when layer `layer` asks. `cached` are those held now, in ascending order."""
        start = int(np.searchsorted(self._positions, cached[-1]))
        stop = int(np.searchsorted(self._ends, layer)) + 1
        below = spare + sum(self._memory.units[position] for position in cached[:-1])
        kept = set(cached)
        while stop > start + 1:
            start, below = self._next(start, stop, below), below + self._units[start]
            kept.add(int(self._positions[start]))
        return kept | set(range(int(self._positions[start]) + 1, layer))

    def _next(self, start: int, stop: int, below: int) -> int:
        held = below + self._units[start]
        work, transient = (values[: stop - start - 1] for values in self._advance(start))
        total = self._table[start + 1 : stop, stop, held] + self._table[start, start + 1 : stop, below] + work
        total[held > self._caps(stop, transient)] = np.inf
        return start + 1 + int(np.argmin(total))


class PersistentLeastPeak:
    """Finds the least peak over persistent schedules. The recursion is the same, and takes maxima of bytes.

    A span of n layers from `start` is the backward steps of layers start+n..start+1. All spans of one length are solved
    at once. The tables:

        need[start, n]      the bytes that the span needs, without what is held up to after[start]
        need_above[end, n]  the bytes that the span that ends at `end` needs, with after[end-n]
        transient[start, n] the most bytes of working activations in the advance from `start` to start+n+1
    """

    def __init__(self, chain: Chain):
        depth, advances = chain.depth, Advances(chain)
        self._recompute = np.array(chain.recompute_bytes)
        self._need = np.zeros((depth, depth + 1), dtype=np.int64)
        self._need_above = np.zeros((depth + 1, depth + 1), dtype=np.int64)
        self._transient = np.zeros((depth, depth), dtype=np.int64)
        for start in range(depth):
            self._transient[start, : depth - 1 - start] = advances.transient_bytes(start, depth - 1)
        self._need[:, 1] = chain.serve_bytes[1:]
        for length in range(1, depth + 1):
            starts = slice(0, depth - length + 1)
            if length > 1:
                self._need[starts, length] = self._needs(starts, length).min(axis=1)
            self._need_above[length:, length] = chain.after_bytes[starts] + self._need[starts, length]

    def _needs(self, starts: slice, length: int) -> np.ndarray:
        """The needs of the span of each start (rows), for each advance of 1..length-1 layers (columns)."""
        ends = slice(starts.start + length, starts.stop + length)
        needs = self._recompute[ends, None] + self._transient[starts, : length - 1]
        np.maximum(needs, self._need_above[ends, length - 1 : 0 : -1], out=needs)
        return np.maximum(needs, self._need[starts, 1:length], out=needs)

    def keep(self, cached: list[int], layer: int, spare: int) -> set[int]:
        """The positions to hold when layer `layer` asks. `cached` are those held now, in ascending order."""
        kept, start = set(cached), cached[-1]
        while layer > start + 1:
            start += 1 + int(np.argmin(self._needs(slice(start, start + 1), layer - start)))
            kept.add(start)
        return kept
