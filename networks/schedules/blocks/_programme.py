"""The dynamic programmes of `taped`: the least work, and the least peak, with outputs and tapes held until they serve.

Notation: a *span* (i, j) is the backward passes of blocks j, .., i+1, with x[i] held. `below` is the bytes of all else
that is held. A span begins when block j asks for its tape. It runs in one of three ways:

    turn      (j = i+1): block j runs with its tape, and its backward pass follows
    tape      block i+1 runs with its tape, which is held; then the span (i+1, j), then the pass of block i+1
    advance   blocks i+1..k run; then the span (k, j) with x[i] held, then the span (i, k)

The loss is the last block. Its turn comes at the end of the forward pass. The bytes of a span depend on what is held
below x[i]: see `networks.schedules.blocks._spans`. Outputs and tapes are the two kinds of checkpoint of Beaumont et al.
2019.
"""

from abc import ABC, abstractmethod
from itertools import pairwise
from typing import Any

import numpy as np

from networks.block_chain import BlockChain
from networks.schedules._memory import Bytes
from networks.schedules.blocks._spans import Spans

TAPE = -1
"""Says that a span begins with a tape. Other numbers are positions that it advances to."""


class Programme(ABC):
    """Says what to hold by how each span begins; sizes are counted in units."""

    def __init__(self, chain: BlockChain, *, unit: int):
        def units(nbytes: Any) -> Any:
            return ((np.asarray(nbytes) + unit // 2) // unit).tolist()

        self._spans = spans = Spans(chain)
        self._rows = rows = spans.rows
        starts = range(spans.depth)
        self._outputs: list[int] = units(spans.output_bytes)
        self._tapes: list[int] = units(spans.tape_bytes)
        self._left: list[list[int]] = [units(spans.left_bytes(start)) for start in starts]
        """What is held beside x[start+1], .., x[L-1] if x[start] is held, without what is held below."""
        self._advanced = [rows.after_advance(start) for start in starts]
        """The rows of these."""
        staying = [spans.staying_bytes(start, row) for start in starts for row in rows.of(start)]
        self._staying: list[tuple[int, int]] = units(staying)

    @abstractmethod
    def _begin(self, start: int, row: int, asking: int, below: int) -> int:
        """How a span of several blocks begins: `TAPE`, or the position to advance to."""

    def keep(self, held: list[int], asking: int, spare: int = 0) -> set[int]:
        """The positions to hold when block `asking` asks. L+1 is the loss. `held` are held now, in ascending order."""
        at = self._reached(held, spare)
        kept = {0, *held} - {2 * at[0]}
        while at[0] + 1 < asking:
            start, row, below = at
            end = self._begin(start, row, asking, below)
            kept.add(2 * start + 1 if end == TAPE else 2 * start)
            at = self._tape(*at) if end == TAPE else self._advance_to(end, *at)
        return {*kept, 0} if asking == self._spans.depth else {*kept, 0, 2 * asking - 1}

    def _reached(self, held: list[int], below: int) -> tuple[int, int, int]:
        """The highest x[i] held, its row, and what is held beside it, as spans count it."""
        at = (0, 0, below)
        for position in held[1:]:
            output = position // 2  # the input of a tape
            at = self._advance_to(output, *at) if output > at[0] else at
            at = self._tape(*at) if position % 2 else at
        return at

    def _tape(self, start: int, row: int, below: int) -> tuple[int, int, int]:
        after = self._rows.after_tape(start, row) if start + 1 < self._spans.depth else 0
        return start + 1, after, below + self._beside_tape(start, row)

    def _advance_to(self, end: int, start: int, row: int, below: int) -> tuple[int, int, int]:
        place = end - start - 1
        return end, self._advanced[start][place], below + self._left[start][place]

    def _beside_tape(self, start: int, row: int) -> int:
        """What is held beside x[start+1] once block start+1 has run with its tape, without what is held below."""
        return self._staying[row][1] + self._tapes[start + 1]


class LeastWork(Programme):
    """The least work within a budget: O(L^3) operations on arrays over units.

    `_work[j][row]` is the work of the span (i, j) for every `below`, infinite if it does not fit. Rows are those of
    x[i].
    """

    def __init__(self, chain: BlockChain, budget_bytes: int, *, unit: int):
        super().__init__(chain, unit=unit)
        self._unit = unit
        self._budget_bytes = budget_bytes
        depth = self._spans.depth
        fitting = min(self._cap(min(map(self._spans.pass_bytes, range(depth)))), sum(self._outputs) + sum(self._tapes))
        self.slots = max(0, fitting + 1)
        self._work = [np.full((self._rows.first[asking], self.slots), np.inf) for asking in range(depth + 1)]
        self._lower = np.empty((depth, self.slots))
        self._total = np.empty((depth, self.slots))
        for start in range(depth - 1, -1, -1):
            for row in self._rows.of(start):
                self._solve(start, row)

    def _cap(self, other_bytes: Bytes) -> Bytes:
        """The most units that fit into the budget beside `other_bytes`. Negative if `other_bytes` alone do not fit."""
        units: Bytes = (self._budget_bytes - other_bytes) // self._unit
        return units

    def _solve(self, start: int, row: int) -> None:
        depth, work = self._spans.depth, self._spans.work
        _, after, shift = self._tape(start, row, 0)
        alike = _stretches(self._left[start], self._advanced[start])
        for asking in range(start + 1, depth + 1):
            found = self._work[asking][row]
            fits = self._tape_fits(start, row, asking)
            if asking == start + 1:
                found[:fits] = work[asking] - work[start]
            else:
                self._advance(start, asking, alike, found)
                taped = self._work[asking][after][shift : shift + fits] + (work[start + 1] - work[start])
                np.minimum(found[: len(taped)], taped, out=found[: len(taped)])
            if asking < depth:
                np.add(found, work[asking] - work[start], out=self._lower[asking])

    def _tape_fits(self, start: int, row: int, asking: int) -> int:
        """The number of values of `below` with which block start+1 fits: its run with tape and its backward pass."""
        run = self._cap(self._spans.taped_run_bytes(start + 1, asking)) - self._outputs[start]
        turn = self._cap(self._spans.pass_bytes(start)) - self._staying[row][0]
        return max(0, min(self.slots, run + 1, turn + 1))

    def _advance(self, start: int, asking: int, alike: list[tuple[int, int]], found: np.ndarray) -> None:
        """Lower `found` to the work of the span if it begins with an advance.

        `_lower` has the work of each advance and of the span below its end. Ends that are `alike` are taken at once.
        """
        fits = self._cap(self._spans.advance_bytes(start, asking)) + 1 - self._outputs[start]
        for first, stop in alike:
            fitting = fits[first:stop]  # the longer the advance, the fewer
            shift, row = self._left[start][first], self._advanced[start][first] if len(fitting) else 0
            width = min(self.slots - shift, int(fitting[0])) if len(fitting) else 0
            if width <= 0:
                return
            count, end = len(fitting), start + 1 + first
            total = self._total[:count, :width]
            above = self._work[asking][row : row + count, shift : shift + width]
            np.add(above, self._lower[end : end + count, :width], out=total)
            if fitting[-1] < width:
                total[np.arange(width) >= fitting[:, None]] = np.inf
            np.minimum(found[:width], total.min(axis=0), out=found[:width])

    def work(self, spare: int) -> float:
        """Work of the whole step with `spare` units of the budget left unused. Infinite if it does not fit."""
        return _at(self._work[self._spans.depth][0], spare)

    def _begin(self, start: int, row: int, asking: int, below: int) -> int:
        work, ends = self._spans.work, range(start + 1, asking)
        taped = np.inf
        if below < self._tape_fits(start, row, asking):
            _, after, beside = self._tape(start, row, below)
            taped = work[start + 1] + _at(self._work[asking][after], beside)
        total = np.array([_at(self._work[end][row], below) for end in ends])
        advances = (self._advance_to(end, start, row, below) for end in ends)
        total += [_at(self._work[asking][after], beside) for _, after, beside in advances]
        total += work[start + 1 : asking]
        total[self._cap(self._spans.advance_bytes(start, asking)) < below + self._outputs[start]] = np.inf
        best = int(np.argmin(total))
        return TAPE if taped <= total[best] else start + 1 + best


def _at(row: np.ndarray, below: int) -> float:
    return float(row[below]) if below < len(row) else np.inf


def _stretches(values: list[int], rows: list[int]) -> list[tuple[int, int]]:
    """The start and end of each stretch of equal values with consecutive rows."""
    pairs = enumerate(pairwise(zip(values, rows, strict=True)), 1)
    borders = [place for place, ((value, row), other) in pairs if other != (value, row + 1)]
    return list(pairwise([0, *borders, len(values)]))


class LeastPeak(Programme):
    """The least peak: the same recursion over peaks, which are bytes beside what is held below.

    `_need[row, j]` is the peak of the span (i, j), including x[i]. The row is of x[i].
    """

    def __init__(self, chain: BlockChain):
        super().__init__(chain, unit=1)
        depth = self._spans.depth
        self._need = np.zeros((len(self._rows), depth + 1), dtype=np.int64)
        for start in range(depth - 1, -1, -1):
            for row in self._rows.of(start):
                for asking in range(start + 1, depth + 1):
                    taped = self._taped_need(start, row, asking)
                    self._need[row, asking] = self._advanced_needs(start, row, asking).min(initial=taped)

    def _taped_need(self, start: int, row: int, asking: int) -> int:
        number, after, beside = self._tape(start, row, 0)
        run = self._outputs[start] + self._spans.taped_run_bytes(number, asking)
        turn = self._spans.pass_bytes(start) + self._staying[row][0]
        above = self._need[after, asking] if number < asking else 0
        return int(max(run, turn, above + beside))

    def _advanced_needs(self, start: int, row: int, asking: int) -> np.ndarray:
        """The peak of the span for each advance: to start+1, .., asking-1."""
        count = asking - start - 1
        left = np.array(self._left[start][:count], dtype=np.int64)
        run = self._outputs[start] + self._spans.advance_bytes(start, asking)
        above = left + self._need[self._advanced[start][:count], asking]
        needs: np.ndarray = np.maximum(np.maximum(run, above), self._need[row, start + 1 : asking])
        return needs

    def _begin(self, start: int, row: int, asking: int, below: int) -> int:
        needs = self._advanced_needs(start, row, asking)
        best = int(np.argmin(needs))
        return TAPE if self._taped_need(start, row, asking) <= needs[best] else start + 1 + best
