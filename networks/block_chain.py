"""The chain of blocks of a PyTorch model: the bytes and the work of every value of one training step, as measured.

Block l of 1..L maps x[l-1] to x[l]; x[0] is the caller's and charged to nobody. What autograd holds of block l
beside x[l-1], x[l], parameters and buffers is its *tape*. A schedule holds outputs and tapes, in one order of
*positions*: 2l is x[l], and 2l-1 is the tape of block l.

x[l] is one tensor or several. Their memory is their *storages*: first those that block l makes, then those of x[l-1]
that it passes on, such as a skip of a U-shaped net. A storage counts once, however many borders and tapes hold it.

It is plain integers: no torch, no numpy. `networks.schedules.blocks.replay` adds them up.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import accumulate

from networks.checks import check_count


@dataclass(frozen=True, kw_only=True)
class Block:
    """One block l, as a profile has measured it. A peak does not count what was live before.

    Attributes:
        name: as the user's model calls it.
        made_bytes: each storage of x[l] that the block makes.
        passed_on: storages of x[l-1] that x[l] has, too, by their places in x[l-1].
        tape_bytes: storages that autograd holds of the block beside x[l-1], x[l], parameters and buffers.
        tape_inputs: storages of x[l-1] that the tape keeps alive, by their places in x[l-1].
        tape_outputs: storages that the block makes and its tape keeps alive, by their places in `made_bytes`.
        run_bytes: the peak of a run without tape, with what it makes and without the input.
        taped_run_bytes: the peak of a run with tape, with what it makes and without the input.
        backward_bytes: the peak of the backward pass: tape, `tape_outputs`, the gradients at x[l] and x[l-1], weight
            gradients and scratch. Neither x[l-1] nor `graph_bytes` nor gradients from above are in it.
        gradient_bytes: gradients of the block's parameters.
        added_gradient_bytes: those of them that are added to gradients from above, because a block above or the code
            after the blocks uses the parameter, too.
        waiting_gradient_bytes: gradients from above to which this block or what is below adds. They are not complete
            before the block's backward pass, so they are alive even where gradients are freed.
        delta_bytes: the gradient at x[l].
        graph_bytes: graph nodes and holders, from the first run to the end of the backward pass, taped or not.
        husk_bytes: what stays of the graph, and accumulators of gradients, from the block's backward pass to the end of
            the step.
        forward_flops: the work of a run.
    """

    name: str
    made_bytes: tuple[int, ...]
    passed_on: tuple[int, ...] = ()
    tape_bytes: int
    tape_inputs: tuple[int, ...] = (0,)
    tape_outputs: tuple[int, ...] = ()
    run_bytes: int
    taped_run_bytes: int
    backward_bytes: int
    gradient_bytes: int
    delta_bytes: int
    added_gradient_bytes: int = 0
    waiting_gradient_bytes: int = 0
    graph_bytes: int = 0
    husk_bytes: int = 0
    forward_flops: int

    def __post_init__(self) -> None:
        _check_counts(self, f"block {self.name!r}: ")
        self.check_places("tape_outputs", len(self.made_bytes), "what it makes")
        if self.added_gradient_bytes > self.gradient_bytes:
            raise ValueError(
                f"block {self.name!r}: added_gradient_bytes must be at most gradient_bytes, {self.gradient_bytes}, "
                f"got {self.added_gradient_bytes}"
            )

    def check_places(self, name: str, count: int, where: str) -> None:
        """Raise ValueError unless all of this field are places among `count` storages."""
        for place in getattr(self, name):
            if place >= count:
                raise ValueError(f"block {self.name!r}: {name} must be places in {where}, below {count}, got {place}")


@dataclass(frozen=True, kw_only=True)
class BlockChain:
    """Sizes of one training step of a model of blocks.

    In the tuples below, position l is of block l; position 0 is the input, of which nothing is charged.

    Attributes:
        blocks: block 1 to block L.
        before_bytes: what runs before block 1 leaves live during the forward pass of the blocks.
        before_run_bytes, before_backward_bytes: peaks of the two passes of what runs before block 1.
        loss_forward_bytes, loss_backward_bytes: peaks of the two passes of the loss, and of what else runs after block
            L. x[L] is in neither, and what runs before block 1 has left is in both.
        loss_holds_output: the loss keeps x[L] alive until its backward pass.
        loss_bytes: what stays live during the backward pass of the blocks of all that runs before and after them.
        engine_bytes: the maps of autograd's engine, from the backward pass of the loss on.
        gradients_pile_up: gradients stay to the end of the step. Otherwise each is freed once it is complete.
    """

    blocks: tuple[Block, ...]
    loss_forward_bytes: int
    loss_backward_bytes: int
    loss_holds_output: bool = True
    loss_bytes: int = 0
    engine_bytes: int = 0
    gradients_pile_up: bool = True
    before_bytes: int = 0
    before_run_bytes: int = 0
    before_backward_bytes: int = 0

    def __post_init__(self) -> None:
        if not self.blocks:
            raise ValueError("blocks must be at least one, got none")
        _check_counts(self, "")
        for number, block in enumerate(self.blocks, 1):
            for name in ("passed_on", "tape_inputs"):
                block.check_places(name, len(self.borders[number - 1]), f"x[{number - 1}]")

    @property
    def depth(self) -> int:
        """L, the number of blocks."""
        return len(self.blocks)

    @cached_property
    def storage_bytes(self) -> tuple[int, ...]:
        """Bytes of each storage, by its number. Number 0 is all that is the caller's."""
        return (0, *(nbytes for block in self.blocks for nbytes in block.made_bytes))

    @cached_property
    def made(self) -> tuple[range, ...]:
        """Numbers of the storages that block l makes."""
        ends = list(accumulate((len(block.made_bytes) for block in self.blocks), initial=1))
        return (range(1), *map(range, ends, ends[1:]))

    @cached_property
    def borders(self) -> tuple[tuple[int, ...], ...]:
        """Numbers of the storages of x[l]."""
        first = self.blocks[0]
        borders: list[tuple[int, ...]] = [(0,) * (1 + max((0, *first.passed_on, *first.tape_inputs)))]
        for block, made in zip(self.blocks, self.made[1:], strict=True):
            below = borders[-1]
            borders.append((*made, *(below[place] for place in block.passed_on if place < len(below))))
        return tuple(borders)

    @cached_property
    def tape_inputs(self) -> tuple[frozenset[int], ...]:
        """Numbers of the storages of x[l-1] that the tape of block l keeps alive."""
        blocks = zip(self.blocks, self.borders, strict=False)
        return (frozenset(), *(frozenset(below[place] for place in block.tape_inputs) for block, below in blocks))

    @cached_property
    def tape_outputs(self) -> tuple[frozenset[int], ...]:
        """Numbers of the storages that block l makes and its tape keeps alive."""
        blocks = zip(self.blocks, self.made[1:], strict=True)
        return (frozenset(), *(frozenset(made[place] for place in block.tape_outputs) for block, made in blocks))

    def bytes_of(self, storages: Iterable[int]) -> int:
        """Bytes of storages of these numbers."""
        return sum(map(self.storage_bytes.__getitem__, storages))

    @cached_property
    def output_bytes(self) -> tuple[int, ...]:
        """Bytes of x[l]; 0 of x[0]."""
        return tuple(self.bytes_of(set(border)) for border in self.borders)

    @cached_property
    def tape_bytes(self) -> tuple[int, ...]:
        """Bytes of the tape of block l."""
        return self._of_blocks(lambda block: block.tape_bytes)

    @cached_property
    def forward_flops(self) -> tuple[int, ...]:
        """Work of a run of block l."""
        return self._of_blocks(lambda block: block.forward_flops)

    @cached_property
    def gradients_above_bytes(self) -> tuple[int, ...]:
        """Bytes of the gradients that stand while block l waits for its backward pass: those of the blocks above.

        A parameter that several blocks use has one gradient.
        """
        if not self.gradients_pile_up:
            return self._of_blocks(lambda block: block.waiting_gradient_bytes)
        total = self._up_to(lambda block: block.gradient_bytes - block.added_gradient_bytes)
        return tuple(total[-1] - below for below in total)

    @cached_property
    def forward_bytes(self) -> tuple[int, ...]:
        """Bytes beside outputs and tapes while block l is run for the first time.

        They are what has run before leaves, and the graph of the blocks up to l.
        """
        return tuple(self.before_bytes + so_far for so_far in self._up_to(lambda block: block.graph_bytes))

    @cached_property
    def graph_bytes(self) -> int:
        """Graph bytes of all blocks."""
        return self.forward_bytes[-1] - self.before_bytes

    @cached_property
    def waiting_bytes(self) -> tuple[int, ...]:
        """Bytes beside outputs and tapes while block l waits for its backward pass, its gradient among them.

        They are what stays of the loss, the engine's maps, the gradient at x[l], weight gradients and husks of the
        blocks above, and the graph of the blocks up to l.
        """
        graph = self._up_to(lambda block: block.graph_bytes)
        husks = self._up_to(lambda block: block.husk_bytes)
        always = self.loss_bytes + self.engine_bytes + husks[-1]
        deltas = self._of_blocks(lambda block: block.delta_bytes)
        return tuple(
            always + deltas[number] + self.gradients_above_bytes[number] + graph[number] - husks[number]
            for number in range(self.depth + 1)
        )

    @property
    def outside_bytes(self) -> int:
        """The most of both passes of what runs before block 1; no schedule changes it."""
        return max(self.before_run_bytes, self.waiting_bytes[0] + self.before_backward_bytes)

    def _of_blocks(self, number_of: Callable[[Block], int]) -> tuple[int, ...]:
        return (0, *map(number_of, self.blocks))

    def _up_to(self, number_of: Callable[[Block], int]) -> list[int]:
        return list(accumulate(self._of_blocks(number_of)))


def _check_counts(of: Block | BlockChain, where: str) -> None:
    for field in fields(of):
        value = getattr(of, field.name)
        for count in (value,) if field.type is int else value if field.type == tuple[int, ...] else ():
            check_count(f"{where}{field.name}", count, least=0)
