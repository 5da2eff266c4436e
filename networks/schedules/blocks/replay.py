"""A training step of a model of blocks, replayed over integers: what is live at each moment, and what it costs."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from networks.block_chain import BlockChain
from networks.schedules.signature import Keep

RUN, TAPED_RUN, LOSS_FORWARD, LOSS_BACKWARD, BACKWARD, BEFORE, BEFORE_BACKWARD = PHASES = (
    *("run", "taped run", "loss forward", "loss backward", "backward", "before", "before backward"),
)
"""What may be executed in a moment: a run of a block without or with its tape, a pass of the loss, the backward pass of
a block, a pass of what runs before the blocks."""


class Moment(NamedTuple):
    """The most that is live while one thing is executed, by what fills it.

    Attributes:
        phase: one of `PHASES`.
        block: the block that is run; of the loss, block L; 0 of what runs before the blocks.
        asking: the block whose backward pass waits for this; 0 in the forward pass.
        outputs_bytes: storages of outputs that are alive, those of the block's input among them.
        tapes_bytes: tapes that are held, but for that of the block whose backward pass this is.
        own_bytes: what the run or the pass itself takes.
        gradients_bytes: gradients of the blocks above.
        beside_bytes: the gradient that waits, graph, maps and husks.
    """

    phase: str
    block: int
    asking: int
    outputs_bytes: int
    tapes_bytes: int
    own_bytes: int
    gradients_bytes: int
    beside_bytes: int

    @property
    def live_bytes(self) -> int:
        """All of them together."""
        return sum(self[3:])


class BlockCost(NamedTuple):
    """What one training step costs.

    Attributes:
        highest: its highest moment.
        forward_flops: the work of all runs of blocks.
        runs: how often each block is run, by its number.
    """

    highest: Moment
    forward_flops: int
    runs: tuple[int, ...]

    @property
    def peak_bytes(self) -> int:
        """Bytes of the highest moment."""
        return self.highest.live_bytes


def replay_blocks(chain: BlockChain, keep: Keep) -> BlockCost:
    """Return the cost of one step of `chain` by `keep`; of equal moments the first is the highest."""
    return cost_of_moments(chain, moments(chain, keep))


def cost_of_moments(chain: BlockChain, step: Iterable[Moment]) -> BlockCost:
    """Return the cost of a step of these moments."""
    step = list(step)
    runs = [0] * (chain.depth + 1)
    for moment in step:
        runs[moment.block] += moment.phase in (RUN, TAPED_RUN)
    flops = sum(times * work for times, work in zip(runs, chain.forward_flops, strict=True))
    return BlockCost(max(step, key=lambda moment: moment.live_bytes), flops, tuple(runs))


def moments(chain: BlockChain, keep: Keep) -> Iterator[Moment]:
    """The moments of one step of `chain` by `keep`, in order.

    Answers are taken as valid. Position 2L, what the loss reads, is nobody's to hold. A tape that is held is not made
    again.
    """
    step = _Step(chain, keep)
    yield Moment(BEFORE, 0, 0, 0, 0, chain.before_run_bytes, 0, 0)
    yield from step.run(chain.depth, asking=0)
    yield from step.loss()
    for number in range(chain.depth, 0, -1):
        step.reach(number)
        if 2 * number - 1 not in step.held:
            yield from step.run(number, asking=number)
        yield step.backward(number)
    gradients = chain.gradients_above_bytes[0]
    beside = chain.waiting_bytes[0] - gradients
    yield Moment(BEFORE_BACKWARD, 0, 0, 0, 0, chain.before_backward_bytes, gradients, beside)


class _Copy(NamedTuple):
    """A storage as a run has made it. A rerun makes another one, even if a tape keeps the first alive."""

    storage: int
    run: int


class _Step:
    """What is held in a step: positions, and when each was used last by the clock of work."""

    def __init__(self, chain: BlockChain, keep: Keep):
        self.held: dict[int, int] = {0: 0}
        self._chain = chain
        self._keep = keep
        self._now = self._runs = 0
        self._border = tuple(_Copy(storage, 0) for storage in chain.borders[0])  # what the last run gave
        self._copies = {0: self._border}  # what each position that is held keeps alive
        self._holders: Counter[_Copy] = Counter(self._border)
        self._outputs_bytes = self._tapes_bytes = 0
        self._asking = 0

    def run(self, last: int, *, asking: int) -> Iterator[Moment]:
        """Run the blocks up to `last` from the highest output held below it. A block that asks needs its tape."""
        self._asking = asking
        stop = 2 * last - 1 if asking else 2 * last
        start = max(position for position in self.held if position < 2 * last and position % 2 == 0)
        cached = {position: self._now - used for position, used in self.held.items()}
        answer = frozenset(self._keep(cached, start, stop)) | ({0, stop} if asking else {0})
        self._border = self._copies[start]
        for position in self.held.keys() - answer:
            self._drop(position)
        self.held |= {start: self._now} if start in answer else {}
        for number in range(start // 2 + 1, last + 1):
            taped = 2 * number - 1 in answer and 2 * number - 1 not in self.held
            yield self._run_moment(number, taped=taped)
            below, self._border = self._border, self._made(number)
            self._now += self._chain.forward_flops[number]
            if taped:
                self._hold(2 * number - 1, self._of_tape(number, below))
            if number < last and 2 * number in answer:
                self._hold(2 * number, self._border)

    def loss(self) -> Iterator[Moment]:
        """Both passes of the loss."""
        chain, last = self._chain, self._chain.depth
        outputs = self._outputs_with(self._border)
        taped = self._tapes_bytes
        yield Moment(LOSS_FORWARD, last, 0, outputs, taped, chain.loss_forward_bytes, 0, chain.graph_bytes)
        outputs = outputs if chain.loss_holds_output else self._outputs_bytes
        beside = chain.graph_bytes + chain.engine_bytes
        yield Moment(LOSS_BACKWARD, last, 0, outputs, taped, chain.loss_backward_bytes, 0, beside)

    def reach(self, number: int) -> None:
        """The gradient at x[number] is there: all that serves the blocks above is dropped."""
        for position in [position for position in self.held if position >= 2 * number]:
            self._drop(position)

    def backward(self, number: int) -> Moment:
        """The backward pass of block `number`, which takes its tape."""
        block = self._chain.blocks[number - 1]
        inputs = self._drop(2 * number - 1)[: len(block.tape_inputs)]
        outputs = self._outputs_with(inputs)
        gradients, beside = self._waiting(number)
        beside -= block.delta_bytes
        return Moment(BACKWARD, number, number, outputs, self._tapes_bytes, block.backward_bytes, gradients, beside)

    def _run_moment(self, number: int, *, taped: bool) -> Moment:
        block = self._chain.blocks[number - 1]
        gradients, beside = self._waiting(self._asking) if self._asking else (0, self._chain.forward_bytes[number])
        phase, own = (TAPED_RUN, block.taped_run_bytes) if taped else (RUN, block.run_bytes)
        outputs = self._outputs_with(self._border)
        return Moment(phase, number, self._asking, outputs, self._tapes_bytes, own, gradients, beside)

    def _made(self, number: int) -> tuple[_Copy, ...]:
        """x[number], as a run on the border makes it and passes it on."""
        self._runs += 1
        made = (_Copy(storage, self._runs) for storage in self._chain.made[number])
        return (*made, *(self._border[place] for place in self._chain.blocks[number - 1].passed_on))

    def _of_tape(self, number: int, below: tuple[_Copy, ...]) -> tuple[_Copy, ...]:
        """What the tape of the block that has just run keeps alive of its input and of what it has made."""
        block = self._chain.blocks[number - 1]
        return (*(below[place] for place in block.tape_inputs), *(self._border[place] for place in block.tape_outputs))

    def _waiting(self, number: int) -> tuple[int, int]:
        gradients = self._chain.gradients_above_bytes[number]
        return gradients, self._chain.waiting_bytes[number] - gradients

    def _outputs_with(self, copies: Iterable[_Copy]) -> int:
        """Bytes of the storages of outputs that are alive, and of `copies`."""
        return self._outputs_bytes + self._bytes_of(copy for copy in set(copies) if not self._holders[copy])

    def _bytes_of(self, copies: Iterable[_Copy]) -> int:
        return self._chain.bytes_of(copy.storage for copy in copies)

    def _hold(self, position: int, copies: tuple[_Copy, ...]) -> None:
        self.held[position] = self._now
        self._copies[position] = copies
        self._outputs_bytes = self._outputs_with(copies)
        self._holders.update(copies)
        self._tapes_bytes += self._tape_bytes(position)

    def _drop(self, position: int) -> tuple[_Copy, ...]:
        del self.held[position]
        copies = self._copies.pop(position)
        self._holders.subtract(copies)
        self._outputs_bytes -= self._bytes_of(copy for copy in set(copies) if not self._holders[copy])
        self._tapes_bytes -= self._tape_bytes(position)
        return copies

    def _tape_bytes(self, position: int) -> int:
        return self._chain.tape_bytes[(position + 1) // 2] if position % 2 else 0
