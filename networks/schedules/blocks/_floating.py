"""The search of `taped` in short chains: the least work, or the least peak, of all schedules that there are.

The search takes states of a step best first, and counts bytes as `replay_blocks` does. An output may be given up while
others below it stay: this is called *floating*. A block may run again, without a tape, while its tape is held. The tape
of block L may be made after the loss.

The search leaves out what cannot help. It gives an output up at its last use, because holding it longer takes bytes and
lowers no work. It holds a tape until its use, because dropping the tape earlier wastes the work of making it.
Autograd itself holds the tapes of the forward pass.
"""

import heapq
import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from functools import cache, reduce
from operator import or_
from typing import NamedTuple

from networks.block_chain import BlockChain
from networks.schedules.blocks.schedule import Answers

Held = tuple[int, ...]
"""For each position, what it keeps alive, as an integer. Each storage and each tape has its own bits. 0: not held."""

CALLERS = 1
"""The bit of the caller's copy. It is set in every output that is held, so none of these is 0."""


class State(NamedTuple):
    """How far a step has come.

    Attributes:
        asking: the block whose backward pass is next; L+1 in the forward pass, at whose end is the loss.
        held: what the positions below 2L, and below 2 * asking, keep alive.
        at: the block that has been run last for `asking`; -1 between these runs.
        border: what keeps x[at] alive.
    """

    asking: int
    held: Held
    at: int = -1
    border: int = 0


Move = tuple[int, int, State]
"""What a step does next: its work, bytes that its peak is not below, and the state after it."""


class FloatingSearch:
    """All schedules of a chain. The number of states grows about threefold with each block."""

    def __init__(self, chain: BlockChain):
        self._chain = chain
        self._live_bytes = cache(self._count_bytes)
        self._work = list(itertools.accumulate(chain.forward_flops))
        self._copies = 2 * chain.depth + 2  # bits for each storage or tape: more than copies of it that can be alive
        sizes = (*chain.storage_bytes, *chain.tape_bytes[1:])
        self._fields = [(size, self._any_copy([number])) for number, size in enumerate(sizes)]
        tapes = range(len(chain.storage_bytes), len(sizes))
        self._tape = [0, *(1 << number * self._copies for number in tapes)]
        self._made = [sum(1 << storage * self._copies for storage in made) for made in chain.made]
        passed_on = (set(border).difference(made) for border, made in zip(chain.borders, chain.made, strict=True))
        self._passed_on = [self._any_copy(storages) for storages in passed_on]
        self._tape_inputs = [self._any_copy(storages) for storages in chain.tape_inputs]
        self._tape_outputs = [self._any_copy(storages) for storages in chain.tape_outputs]
        blocks = enumerate(chain.blocks, 1)
        turns = (chain.waiting_bytes[number] - block.delta_bytes + block.backward_bytes for number, block in blocks)
        loss = chain.graph_bytes + max(chain.loss_forward_bytes, chain.loss_backward_bytes + chain.engine_bytes)
        self._turn_bytes = [0, *turns, loss]
        """Bytes of each block's backward pass, beside what is held and its input. L+1 is the loss."""
        askings = range(chain.depth + 2)
        self._tape_to_come = {
            (asking, number, input_dead): self._least_bytes_of_tape(asking, number, input_dead=input_dead)
            for asking in askings
            for number in range(1, min(asking, chain.depth) + 1)
            for input_dead in (False, True)
        }
        self._ahead_bytes = [[self._least_ahead_bytes(asking, at) for at in range(asking)] for asking in askings]

    def least_peak(self) -> int:
        """The least peak of a schedule, in bytes."""
        peak_bytes, _ = self._best(lambda work, left, peak: (peak, left), math.inf)
        return peak_bytes

    def least_work(self, budget_bytes: int) -> Answers:
        """The answers of the least work within a budget that can be met. Among equals: those of the lowest peak."""
        _, answers = self._best(lambda work, left, peak: (work + left, peak), budget_bytes)
        return answers

    def _best(self, order: Callable[[int, int, int], tuple[int, int]], budget_bytes: float) -> tuple[int, Answers]:
        """Peak and answers of the first schedule by `order`, which gets the work done, the least left, and the peak."""
        chain = self._chain
        first = State(chain.depth + 1, (CALLERS, *(0,) * (2 * chain.depth - 1)))
        came_from: dict[State, State] = {}
        tickets = itertools.count(0, -1)  # among equals the newest comes first, because it is furthest
        queue = [((0, 0), next(tickets), 0, chain.outside_bytes, first, first)]
        while True:
            _, _, work, peak, state, before = heapq.heappop(queue)
            if state in came_from:
                continue
            came_from[state] = before
            if not state.asking:
                return peak, self._answers(came_from, state)
            for more, live, after in self._moves(state):
                highest = max(peak, live)
                if highest <= budget_bytes and after not in came_from and _all_serve(after):
                    key = order(work + more, self._work_to_come(after), highest)
                    heapq.heappush(queue, (key, next(tickets), work + more, highest, after, state))

    def _answers(self, came_from: dict[State, State], last: State) -> Answers:
        """The answers of the way to `last`."""
        way = [last]
        while came_from[way[-1]] is not way[-1]:
            way.append(came_from[way[-1]])
        between = [state for state in reversed(way) if state.at < 0]
        asked = [(state, after) for state, after in itertools.pairwise(between) if not state.held[-1]]
        depth = self._chain.depth
        return {
            (_positions(state.held), min(2 * depth, 2 * state.asking - 1)): frozenset(_positions(after.held))
            for state, after in asked
        }

    def _moves(self, state: State) -> Iterator[Move]:
        if state.at == self._chain.depth:
            return self._loss(state)
        if state.at >= 0:
            return self._run(state)
        return self._backward(state) if state.held[-1] else self._ask(state)

    def _backward(self, state: State) -> Iterator[Move]:
        """The backward pass of block `asking`, which takes its tape."""
        number = state.asking
        *held, tape = state.held
        live = self._live(held, tape & self._tape_inputs[number]) + self._turn_bytes[number]
        yield 0, live, State(number - 1, tuple(held[:-1]))

    def _ask(self, state: State) -> Iterator[Move]:
        """Block `asking` asks for its tape. The output that the run starts from stays held, or is given up."""
        asking, held, _, _ = state
        start = max(position for position in range(0, len(held), 2) if held[position])
        yield 0, 0, State(asking, held, start // 2, held[start])
        if start:
            yield 0, 0, State(asking, _with(held, start, 0), start // 2, held[start])

    def _run(self, state: State) -> Iterator[Move]:
        """The run of the next block, with its tape or without, and what is held of it."""
        asking, held, at, border = state
        number = at + 1
        block, work = self._chain.blocks[number - 1], self._chain.forward_flops[number]
        live = self._live(held, border) + self._beside_bytes(asking, number)
        output = self._output(number, held, border)
        ways = [(held, live + block.run_bytes)]
        if not held[2 * number - 1]:
            tape = self._tape[number] | border & self._tape_inputs[number] | output & self._tape_outputs[number]
            taped = _with(held, 2 * number - 1, tape)
            most = max(live + block.taped_run_bytes, self._bytes_to_come(asking, taped, number))
            if number == asking:
                yield work, most, State(asking, taped)
                return
            ways.append((taped, most))
        for after, most in ways:
            for left in (after, _with(after, 2 * number, output)) if number < asking - 1 else (after,):
                ahead = self._live(left) + self._ahead_bytes[asking][number]
                yield work, max(most, ahead), State(asking, left, number, output)

    def _loss(self, state: State) -> Iterator[Move]:
        """Both passes of the loss."""
        chain, (_, held, _, output) = self._chain, state
        forward = self._live(held, output) + chain.loss_forward_bytes
        backward = self._live(held, output if chain.loss_holds_output else 0) + chain.loss_backward_bytes
        yield 0, chain.graph_bytes + max(forward, backward + chain.engine_bytes), State(chain.depth, held)

    def _output(self, number: int, held: Held, border: int) -> int:
        """The copies of x[number] that a run makes and passes on. New copies get bits that nothing alive has."""
        alive = reduce(or_, held, border)
        made = self._made[number]
        while made & alive:
            made <<= 1
        return CALLERS | made | border & self._passed_on[number]

    def _work_to_come(self, state: State) -> int:
        """The least work that is left.

        A block without a tape runs with one. The run starts at the highest output held below it. So the blocks between
        run too.
        """
        held, flops = state.held, self._chain.forward_flops
        blocks = len(held) // 2
        last = state.at if state.at >= 0 else blocks
        work = self._work[blocks] - self._work[last]
        passed = False
        for number in range(last, 0, -1):
            passed = not held[2 * number - 1] or (passed and not (number < blocks and held[2 * number]))
            work += passed * flops[number]
        return work

    def _bytes_to_come(self, asking: int, held: Held, at: int) -> int:
        """A lower bound of the peak once block `at` has run. A tape stays until its block's backward pass."""
        most = alive = below = 0
        for number, tape in enumerate(held[1::2], 1):
            if tape:
                live = self._live_bytes(alive | tape & self._tape_inputs[number]) + self._turn_bytes[number]
            else:
                passes = asking - (number <= at)
                live = self._live_bytes(alive) + self._tape_to_come[passes, number, not below]
            alive |= tape
            below = tape
            most = max(most, live)
        return most

    def _least_bytes_of_tape(self, asking: int, number: int, *, input_dead: bool) -> int:
        """The least bytes, beside what is held, to make a block's tape in a later pass and to use it.

        The output of the block below is counted if no tape that is held keeps it alive.
        """
        chain, block = self._chain, self._chain.blocks[number - 1]
        made = set(chain.made[number - 1]) if input_dead else set()
        run = block.taped_run_bytes + chain.bytes_of(made)
        stays = block.tape_bytes + chain.bytes_of(chain.tape_outputs[number])

        def bytes_in(one: int) -> int:
            waits = max(self._turn_bytes[number + 1 : one + 1], default=-stays)  # for the turns of the blocks above
            return max(self._beside_bytes(one, number) + run, waits + stays)

        turn = self._turn_bytes[number] + chain.bytes_of(made & chain.tape_inputs[number])
        return max(turn, min(map(bytes_in, range(number, asking + 1))))

    def _least_ahead_bytes(self, asking: int, at: int) -> int:
        """Most bytes, beside what is held, of the runs from x[at] on and of the turn of `asking`."""
        runs = (
            self._beside_bytes(asking, number)
            + (block.taped_run_bytes if number == asking else min(block.run_bytes, block.taped_run_bytes))
            for number, block in enumerate(self._chain.blocks[at:asking], at + 1)
        )
        return max([self._turn_bytes[asking], *runs])

    def _beside_bytes(self, asking: int, number: int) -> int:
        """Bytes beside outputs and tapes while block `number` is run for `asking`."""
        chain = self._chain
        return chain.forward_bytes[number] if asking > chain.depth else chain.waiting_bytes[asking]

    def _live(self, held: Iterable[int], border: int = 0) -> int:
        """Bytes of what is held, and of what is of `border` beside it."""
        return self._live_bytes(reduce(or_, held, border))

    def _count_bytes(self, alive: int) -> int:
        """Bytes of all that is alive, each copy of a storage counted once."""
        return sum(size * (alive & field).bit_count() for size, field in self._fields)

    def _any_copy(self, storages: Iterable[int]) -> int:
        """All the bits of some storages."""
        return sum(((1 << self._copies) - 1) << storage * self._copies for storage in storages)


def _all_serve(state: State) -> bool:
    """Whether a block without a tape is above each output that is held. True while blocks run: it is not known yet."""
    if state.at >= 0:
        return True
    highest = max((position for position in range(2, len(state.held), 2) if state.held[position]), default=0)
    return not highest or not all(state.held[highest + 1 :: 2])


def _with(held: Held, position: int, copies: int) -> Held:
    return (*held[:position], copies, *held[position + 1 :])


def _positions(held: Held) -> tuple[int, ...]:
    return tuple(position for position, copies in enumerate(held) if copies)
