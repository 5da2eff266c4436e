"""What a schedule of blocks is, and every other schedule lifted to one: it holds outputs, and no tapes.

A schedule of a dense network's `Chain` knows activations alone. Lifted, it holds the outputs of blocks in their place,
and each block is run again with its tape when its backward pass comes. So no lifted schedule does less than about two
times the work of the forward pass.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import accumulate
from typing import Any, cast

from networks.block_chain import BlockChain
from networks.chain import Chain
from networks.schedules.foreign import announced
from networks.schedules.signature import Keep, Schedule
from networks.schedules.spec import FACTORIES, calls_in, made_from, parse_schedule


@dataclass(frozen=True)
class BlockSchedule:
    """A schedule of the blocks of a model; called with a `BlockChain` it gives `keep`.

    Attributes:
        text: the call that makes it; pickled, it is this text.
        bind: gives `keep`, or raises ValueError if it cannot serve the chain.
    """

    text: str
    bind: Callable[[BlockChain], Keep] = field(repr=False)

    @property
    def __name__(self) -> str:
        """Its text, as of every schedule."""
        return self.text

    def __call__(self, chain: BlockChain) -> Keep:
        if not isinstance(chain, BlockChain):
            raise ValueError(f"schedule {self.text} is for the blocks of a PyTorch model, got {type(chain).__name__}")
        return self.bind(chain)

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return block_schedule, (self.text,)


Answers = dict[tuple[tuple[int, ...], int], frozenset[int]]
"""The positions to hold, by those that are held below the `stop` of a question, in ascending order, and that `stop`."""


def answering(answers: Answers) -> Keep:
    """The `keep` that looks `answers` up, because a step asks the same each time.

    A question out of turn, over a graph that was retained, is answered with what is held.
    """

    def keep(cached: Mapping[int, int], start: int, stop: int) -> Collection[int]:
        held = held_below(cached, stop)
        return answers.get((held, stop), held)

    return keep


def held_below(cached: Iterable[int], stop: int) -> tuple[int, ...]:
    """The positions below `stop`, in ascending order."""
    return tuple(sorted(position for position in cached if position < stop))


BLOCK_FACTORIES: dict[str, Callable[..., BlockSchedule]] = {}
"""Every factory of a schedule of blocks that is not lifted, by name; the package registers them."""


def block_schedule(text: str) -> BlockSchedule:
    """Return the schedule that `text` names: one of `BLOCK_FACTORIES`, or any other schedule, lifted."""
    call = calls_in(text)[0]
    announces = call.is_strange and call.head not in BLOCK_FACTORIES and call.name in announced()
    return lifted(parse_schedule(text)) if call.place or announces else _registered(text)


@lru_cache(maxsize=256)
def _registered(text: str) -> BlockSchedule:
    factories: dict[str, Callable[..., Schedule | BlockSchedule]] = {**FACTORIES, **BLOCK_FACTORIES}
    made = made_from(text, factories)
    return made if isinstance(made, BlockSchedule) else lifted(made)


def lifted(schedule: Schedule) -> BlockSchedule:
    """Hold x[l] where `schedule` holds after[l], and no tapes.

    A budget of `schedule` bounds the step of the blocks, too: `OutputsChain` takes it for no cheaper than it is.
    """

    def bind(chain: BlockChain) -> Keep:
        inner = schedule(cast(Chain, OutputsChain(chain)))  # it has all that schedules read of a Chain

        def keep(cached: Mapping[int, int], start: int, stop: int) -> Collection[int]:
            # `stop` is 2L or 2l-1; the network asks for after[l-1], unless it is held.
            asked, last = (stop - 1) // 2, stop // 2
            held = {
                position // 2: age for position, age in sorted(cached.items()) if position < stop and position % 2 == 0
            }
            kept: Collection[int] = held
            if start // 2 < last:
                with suppress(ValueError):  # `optimal` knows the questions of one step alone
                    kept = inner(held, start // 2, last)
            # The block that asks runs at once, with its tape, and what it reads serves nobody after that.
            return {0, 2 * asked + 1, *(2 * number for number in kept if number < asked)}

        return keep

    return BlockSchedule(schedule.__name__, bind)


@dataclass(frozen=True)
class OutputsChain:
    """What a schedule reads of a `Chain`, of the outputs of `blocks`: no tape is held but that of the block in turn.

    A run is charged with the most scratch of the runs up to it, so a replay of this chain is never below that of the
    blocks.
    """

    blocks: BlockChain

    @property
    def depth(self) -> int:
        """L, the number of blocks."""
        return self.blocks.depth

    @property
    def batch(self) -> int:
        """The sample that blocks are measured on, however large, is one."""
        return 1

    @property
    def after_bytes(self) -> tuple[int, ...]:
        """Bytes of x[l]. What several of them share is counted in each."""
        return self.blocks.output_bytes

    @property
    def forward_flops(self) -> tuple[int, ...]:
        """Work of a run of block l; the runs with tape at the blocks' turns are not part of what a schedule counts."""
        return self.blocks.forward_flops

    @cached_property
    def slides(self) -> tuple[bool, ...]:
        """No output is written over another."""
        return (False,) * (self.depth + 1)

    @cached_property
    def recompute_bytes(self) -> tuple[int, ...]:
        """Most bytes live beside all outputs while blocks are run for the tape of block l; of L, the forward pass."""
        runs = (block.run_bytes for block in self.blocks.blocks)
        scratch = [max(0, run - output) for run, output in zip((0, *runs), self.after_bytes, strict=True)]
        most = list(accumulate(scratch[:-2], max))
        first = [beside + above for beside, above in zip(self.blocks.forward_bytes, scratch, strict=True)]
        waiting = (beside + above for beside, above in zip(self.blocks.waiting_bytes[1:-1], most, strict=True))
        return (0, *waiting, max(first[:-1]))

    @cached_property
    def serve_bytes(self) -> tuple[int, ...]:
        """Most bytes live beside all outputs from the run with tape of block l to the end of its backward pass."""
        turns = [0, *map(self._turn_bytes, range(1, self.depth + 1))]
        turns[1] = max(turns[1], self.blocks.outside_bytes)  # nothing is held then either
        return tuple(turns)

    def _turn_bytes(self, number: int) -> int:
        chain, block = self.blocks, self.blocks.blocks[number - 1]
        gone = chain.output_bytes[number - 1] - chain.bytes_of(chain.tape_inputs[number])  # once the block has run
        waiting = chain.waiting_bytes[number]
        turn = max(waiting + block.taped_run_bytes, waiting - block.delta_bytes + block.backward_bytes - gone)
        if number < self.depth:
            return turn
        beside = block.tape_bytes + chain.graph_bytes - gone
        output = chain.output_bytes[number]
        held = output if chain.loss_holds_output else chain.bytes_of(chain.tape_outputs[number])
        return max(
            chain.forward_bytes[number] + block.taped_run_bytes,
            beside + output + chain.loss_forward_bytes,
            beside + held + chain.loss_backward_bytes + chain.engine_bytes,
            waiting - block.delta_bytes + block.backward_bytes - gone,
        )
