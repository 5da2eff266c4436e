"""The dynamic programmes of `taped`: the least work, and the least peak, with outputs and tapes held until they serve.

Notation: a *span* (i, j) is the backward passes of blocks j, .., i+1 with x[i] at hand, and `below` are the bytes that
are held beside x[i]. A span begins when block j asks for its tape, and is run in one of three ways:

    turn      (j = i+1): block j runs with its tape, and its backward pass follows
    tape      block i+1 runs with its tape, which is held; then the span (i+1, j), then the pass of block i+1
    advance   blocks i+1..k run; then the span (k, j) with x[i] held, then the span (i, k)

Once block i+1 has run with its tape, x[i] stays alive if that tape holds it, or if the tape of block i is held and
holds it. The second is no matter where the first is true. Otherwise the span has a second row, in which x[i] stays.
Compare Beaumont et al. 2019, whose two kinds of checkpoint these are.
"""

from abc import ABC, abstractmethod
from functools import cached_property

import numpy as np

from networks.block_chain import BlockChain
from networks.schedules._memory import Bytes

TAPE = -1
"""Says that a span begins with a tape. Other numbers are positions that it advances to."""


class Spans:
    """Bytes and work of what spans do: arrays over block or output 0..L."""

    def __init__(self, chain: BlockChain):
        self.depth = chain.depth
        self.output_bytes = np.array(chain.output_bytes)
        self.tape_bytes = np.array(chain.tape_bytes)
        self.work = np.cumsum(chain.forward_flops, dtype=np.float64)
        self.holds_input = [*(block.tape_holds_input for block in chain.blocks), False]
        """Of x[l], whether the tape of block l+1 keeps it alive."""
        self.holds_output = [False, *(block.tape_holds_output for block in chain.blocks)]
        self._chain = chain
        self._first = np.array(chain.forward_bytes)
        self._waiting = np.array(chain.waiting_bytes)
        self._run = np.array([0, *(block.run_bytes for block in chain.blocks)])

    @cached_property
    def pass_bytes(self) -> np.ndarray:
        """Most bytes of the backward pass of each block, and of the loss before that of L, beside what is held."""
        chain, last = self._chain, self._chain.blocks[-1]
        passes: np.ndarray = (
            np.array([0, *(block.backward_bytes - block.delta_bytes for block in chain.blocks)]) + self._waiting
        )
        held = last.output_bytes if chain.loss_holds_output or last.tape_holds_output else 0
        loss = max(last.output_bytes + chain.loss_forward_bytes, held + chain.loss_backward_bytes + chain.engine_bytes)
        passes[-1] = max(passes[-1], last.tape_bytes + chain.graph_bytes + loss)
        return passes

    def taped_run_bytes(self, number: int, asking: int) -> int:
        """Most bytes of the run of a block with its tape, beside what is held and what it reads."""
        beside = self._first[number] if asking == self.depth else self._waiting[asking]
        return int(self._chain.blocks[number - 1].taped_run_bytes + beside)

    def advance_bytes(self, start: int, asking: int) -> np.ndarray:
        """Most bytes of the runs from x[start] to each of x[start+1]..x[asking-1], beside what is held and x[start]."""
        runs = slice(start + 1, asking)
        needs = self._run[runs] + (self._first[runs] if asking == self.depth else self._waiting[asking])
        needs[1:] += self.output_bytes[start + 1 : asking - 1]
        most: np.ndarray = np.maximum.accumulate(needs)
        return most


class Programme(ABC):
    """Says what to hold by how each span begins; sizes are counted in units."""

    def __init__(self, chain: BlockChain, *, unit: int):
        self._spans = Spans(chain)
        self._outputs: list[int] = ((self._spans.output_bytes + unit // 2) // unit).tolist()
        self._tapes: list[int] = ((self._spans.tape_bytes + unit // 2) // unit).tolist()

    @abstractmethod
    def _begin(self, start: int, asking: int, below: int, *, stays: bool) -> int:
        """How a span of several blocks begins: `TAPE`, or the position to advance to."""

    def keep(self, held: list[int], asking: int, spare: int = 0) -> set[int]:
        """The positions to hold when block `asking` asks and `held`, in ascending order, are held."""
        start = max(position for position in held if position % 2 == 0) // 2
        kept, below = {0, *held} - {2 * start}, spare + self._below(held, start)
        taped = 2 * start - 1 in kept
        while start + 1 < asking:
            stays = self._stays(start, taped)
            choice = self._begin(start, asking, below, stays=stays)
            taped = choice == TAPE
            if taped:
                kept.add(2 * start + 1)
                below += self._taped(start, stays)
                start += 1
            else:
                kept.add(2 * start)
                below += self._outputs[start]
                start = choice
        return kept | {0}

    def _below(self, held: list[int], start: int) -> int:
        """What is held beside x[start]."""
        tapes = [(position + 1) // 2 for position in held if position % 2]
        outputs = {position // 2 for position in held if position % 2 == 0}
        outputs.update(number - 1 for number in tapes if self._spans.holds_input[number - 1])
        outputs.update(number for number in tapes if self._spans.holds_output[number])
        return sum(self._outputs[number] for number in outputs - {start}) + sum(self._tapes[number] for number in tapes)

    def _rows(self, start: int) -> list[bool]:
        """Whether x[start] stays alive once block start+1 has run with its tape, in each row of its spans."""
        return sorted({self._stays(start, taped) for taped in (False, True)})

    def _stays(self, start: int, taped: bool) -> bool:
        """The same, where the tape of block `start` is held or not."""
        return self._spans.holds_input[start] or (taped and self._spans.holds_output[start])

    def _taped(self, start: int, stays: bool) -> int:
        """What is held beside x[start+1] once block start+1 has run with its tape, but for what is below."""
        return (self._outputs[start] if stays else 0) + self._tapes[start + 1]


class LeastWork(Programme):
    """The least work within a budget: O(L^3) operations on rows of units.

    `_work[stays][j][i]` is a row of the work of the span (i, j) for every `below`, infinite where it does not fit.
    """

    def __init__(self, chain: BlockChain, budget_bytes: int, *, unit: int):
        super().__init__(chain, unit=unit)
        self._unit = unit
        self._budget_bytes = budget_bytes
        depth = self._spans.depth
        fitting = min(self._cap(int(self._spans.pass_bytes[1:].min())), sum(self._outputs) + sum(self._tapes))
        self.slots = max(0, fitting + 1)
        self._work = [np.full((asking, self.slots), np.inf) for asking in range(depth + 1)]
        self._staying = {
            start: np.full((depth + 1, self.slots), np.inf) for start in range(depth) if self._rows(start)[1:]
        }
        self._lower = np.empty((depth, self.slots))
        self._total = np.empty((depth, self.slots))
        for start in range(depth - 1, -1, -1):
            for stays in self._rows(start):
                self._solve(start, stays=stays)

    def _row(self, start: int, asking: int, *, stays: bool) -> np.ndarray:
        second = stays and start in self._staying
        row: np.ndarray = self._staying[start][asking] if second else self._work[asking][start]
        return row

    def _cap(self, other_bytes: Bytes) -> Bytes:
        """The most units that fit into the budget beside `other_bytes`; negative if not even those fit."""
        units: Bytes = (self._budget_bytes - other_bytes) // self._unit
        return units

    def _solve(self, start: int, *, stays: bool) -> None:
        depth, work = self._spans.depth, self._spans.work
        for asking in range(start + 1, depth + 1):
            row = self._row(start, asking, stays=stays)
            fits = self._tape_fits(start, asking, stays=stays)
            if asking == start + 1:
                row[:fits] = work[asking] - work[start]
            else:
                self._advance(start, asking, row)
                shift = self._taped(start, stays)
                taped = self._after_tape(start, asking)[shift : shift + fits] + (work[start + 1] - work[start])
                np.minimum(row[: len(taped)], taped, out=row[: len(taped)])
            if asking < depth:
                np.add(row, work[asking] - work[start], out=self._lower[asking])

    def _after_tape(self, start: int, asking: int) -> np.ndarray:
        return self._row(start + 1, asking, stays=self._stays(start + 1, True))

    def _tape_fits(self, start: int, asking: int, *, stays: bool) -> int:
        """For how many `below` block start+1 fits, in its run with tape and in its backward pass."""
        run = self._cap(self._spans.taped_run_bytes(start + 1, asking)) - self._outputs[start]
        turn = self._cap(int(self._spans.pass_bytes[start + 1])) - (self._outputs[start] if stays else 0)
        return max(0, min(self.slots, run + 1, turn + 1))

    def _advance(self, start: int, asking: int, row: np.ndarray) -> None:
        """The least work of the span if it begins with an advance; `_lower` has that of the advances and below."""
        own = self._outputs[start]
        fits = self._cap(self._spans.advance_bytes(start, asking)) + 1 - own  # the longer the advance, the fewer
        width = min(self.slots - own, int(fits[0]))
        if width <= 0:
            return
        total = self._total[: len(fits), :width]
        np.add(self._work[asking][start + 1 :, own : own + width], self._lower[start + 1 : asking, :width], out=total)
        if fits[-1] < width:
            total[np.arange(width) >= fits[:, None]] = np.inf
        np.min(total, axis=0, out=row[:width])

    def work(self, spare: int) -> float:
        """Work of the whole step with `spare` units of the budget left unused; infinite where it does not fit."""
        return _at(self._row(0, self._spans.depth, stays=self._stays(0, False)), spare)

    def _begin(self, start: int, asking: int, below: int, *, stays: bool) -> int:
        work, held = self._spans.work, below + self._outputs[start]
        taped = np.inf
        if below < self._tape_fits(start, asking, stays=stays):
            taped = work[start + 1] + _at(self._after_tape(start, asking), below + self._taped(start, stays))
        total = np.array([_at(self._row(start, end, stays=stays), below) for end in range(start + 1, asking)])
        total += self._work[asking][start + 1 :, held] if held < self.slots else np.inf
        total += work[start + 1 : asking]
        total[self._cap(self._spans.advance_bytes(start, asking)) < held] = np.inf
        best = int(np.argmin(total))
        return TAPE if taped <= total[best] else start + 1 + best


def _at(row: np.ndarray, below: int) -> float:
    return float(row[below]) if below < len(row) else np.inf


class LeastPeak(Programme):
    """The least peak: the same recursion, over maxima of bytes beside what is held below.

    `_need[stays, i, j]` are the most bytes of the span (i, j), x[i] among them.
    """

    def __init__(self, chain: BlockChain):
        super().__init__(chain, unit=1)
        depth = self._spans.depth
        self._need = np.zeros((2, depth + 1, depth + 1), dtype=np.int64)
        for start in range(depth - 1, -1, -1):
            for stays in self._rows(start):
                for asking in range(start + 1, depth + 1):
                    taped = self._taped_need(start, asking, stays)
                    self._need[int(stays), start, asking] = self._advanced_needs(start, asking, stays).min(
                        initial=taped
                    )

    def _taped_need(self, start: int, asking: int, stays: bool) -> int:
        number, own = start + 1, self._outputs[start]
        run = own + self._spans.taped_run_bytes(number, asking)
        above = self._need[int(self._stays(number, True)), number, asking] if number < asking else 0
        return int(max(run, self._spans.pass_bytes[number] + own * stays, above + self._taped(start, stays)))

    def _advanced_needs(self, start: int, asking: int, stays: bool) -> np.ndarray:
        """By how far one advances: to start+1..asking-1."""
        ends = range(start + 1, asking)
        first = [int(self._stays(end, False)) for end in ends]
        above = np.maximum(self._spans.advance_bytes(start, asking), self._need[first, ends, asking])
        needs: np.ndarray = np.maximum(self._outputs[start] + above, self._need[int(stays), start, start + 1 : asking])
        return needs

    def _begin(self, start: int, asking: int, below: int, *, stays: bool) -> int:
        needs = self._advanced_needs(start, asking, stays)
        best = int(np.argmin(needs))
        return TAPE if self._taped_need(start, asking, stays) <= needs[best] else start + 1 + best
