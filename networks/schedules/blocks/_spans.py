"""What the spans of the dynamic programmes hold and do: their rows, and the bytes and the work of each.

Borders hold a storage from the block that makes it to the last block that passes it on, without a gap. So if x[k]
shares a storage with anything held below x[i], the storage is in x[i] too, and an advance counts it once.

Block i+1 runs with its tape. Then a storage of x[i] stays alive if this tape holds it. It also stays alive if it is
*held below*: by the tape of block i, or by outputs and tapes further down. Spans that differ in what is held below x[i]
are different *rows*. If blocks pass nothing on, each x[i] has one row. It has two if the tape of block i holds x[i] and
the tape of block i+1 does not.
"""

from dataclasses import replace
from itertools import accumulate

import numpy as np

from networks.block_chain import Block, BlockChain

MOST_ROWS = 8
"""Most rows of one x[i]. If there were more, all that was passed on to x[i] counts as held below."""

NOTHING: frozenset[int] = frozenset()


class Rows:
    """The rows of a chain, numbered from those of x[0] to those of x[L-1]; each is a set of storages held below."""

    def __init__(self, chain: BlockChain):
        self._chain = chain
        self._borders = [frozenset(border) - {0} for border in chain.borders]
        self._held: list[list[frozenset[int]]] = [[NOTHING] for _ in range(chain.depth)]
        for start, held in enumerate(self._held):
            if len(held) > MOST_ROWS:
                held[:] = [self._borders[start].difference(chain.made[start], chain.tape_inputs[start + 1])]
            for end in range(start + 1, chain.depth):
                if not self._borders[start] & self._borders[end]:
                    break
                self._add(end, self._borders[start])
            for below in held:
                self._add(start + 1, self._after_tape(start, below))
        self.first = list(accumulate(map(len, self._held), initial=0))
        """The first row of each x[i]."""

    def __len__(self) -> int:
        return self.first[-1]

    def of(self, start: int) -> range:
        """The rows of x[start]."""
        return range(self.first[start], self.first[start + 1])

    def after_tape(self, start: int, row: int) -> int:
        """The row of x[start+1] once block start+1 has run with its tape."""
        return self._number(start + 1, self._after_tape(start, self._held[start][row - self.first[start]]))

    def after_advance(self, start: int) -> list[int]:
        """The rows of x[start+1], .., x[L-1] where x[start] is held."""
        return [self._number(end, self._borders[start]) for end in range(start + 1, self._chain.depth)]

    def staying(self, start: int, row: int) -> frozenset[int]:
        """Storages of x[start] that stay alive once block start+1 has run with its tape."""
        return self._chain.tape_inputs[start + 1] | self._held[start][row - self.first[start]]

    def _after_tape(self, start: int, below: frozenset[int]) -> frozenset[int]:
        return self._chain.tape_inputs[start + 1] | below | self._chain.tape_outputs[start + 1]

    def _add(self, start: int, held: frozenset[int]) -> None:
        if start < self._chain.depth and self._told_apart(start, held) not in self._held[start]:
            self._held[start].append(self._told_apart(start, held))

    def _number(self, start: int, held: frozenset[int]) -> int:
        rows = self._held[start]
        told = self._told_apart(start, held)
        return self.first[start] + (rows.index(told) if told in rows else 0)

    def _told_apart(self, start: int, held: frozenset[int]) -> frozenset[int]:
        """The storages of x[start] in `held` that the tape of block start+1 does not hold. Rows differ in them."""
        return (held & self._borders[start]) - self._chain.tape_inputs[start + 1]


class Spans:
    """Bytes and work of spans, as arrays over blocks or outputs 0..L. The last block is the loss."""

    def __init__(self, blocks: BlockChain):
        chain = _with_loss(blocks)
        self.depth = chain.depth
        self.output_bytes = np.array(chain.output_bytes)
        self.tape_bytes = np.array(chain.tape_bytes)
        self.work = np.cumsum(chain.forward_flops, dtype=np.float64)
        self.rows = Rows(chain)
        self._chain = chain
        loss_bytes = blocks.loss_forward_bytes, blocks.loss_backward_bytes + blocks.engine_bytes
        forward_bytes, backward_bytes = (blocks.graph_bytes + nbytes for nbytes in loss_bytes)
        self._first = np.array([*blocks.forward_bytes, forward_bytes])
        self._waiting = np.array([*blocks.waiting_bytes, backward_bytes])
        self._run = np.array([0, *(block.run_bytes for block in chain.blocks)])
        self._shared_bytes = _shared_bytes(chain)

    def staying_bytes(self, start: int, row: int) -> tuple[int, int]:
        """Bytes of the storages of x[start] that stay alive beside a tape, and of those of them not in x[start+1]."""
        staying = self.rows.staying(start, row)
        return self._chain.bytes_of(staying), self._chain.bytes_of(staying.difference(self._chain.borders[start + 1]))

    def left_bytes(self, start: int) -> np.ndarray:
        """For each of x[start+1], .., x[L-1]: bytes of the storages of x[start] that are not in it."""
        left: np.ndarray = self.output_bytes[start] - self._shared_bytes[start, start + 1 : self.depth]
        return left

    def pass_bytes(self, start: int) -> int:
        """Most bytes of the backward pass of block start+1, beside what is held and what of x[start] stays alive."""
        block = self._chain.blocks[start]
        return int(block.backward_bytes - block.delta_bytes + self._waiting[start + 1])

    def taped_run_bytes(self, number: int, asking: int) -> int:
        """Most bytes of the run of a block with its tape, beside what is held and what it reads."""
        beside = self._first[number] if asking == self.depth else self._waiting[asking]
        return int(self._chain.blocks[number - 1].taped_run_bytes + beside)

    def advance_bytes(self, start: int, asking: int) -> np.ndarray:
        """Most bytes of the runs from x[start] to each of x[start+1]..x[asking-1], beside what is held and x[start]."""
        runs = slice(start + 1, asking)
        needs = self._run[runs] + (self._first[runs] if asking == self.depth else self._waiting[asking])
        inputs = slice(start + 1, asking - 1)
        needs[1:] += self.output_bytes[inputs] - self._shared_bytes[start, inputs]
        most: np.ndarray = np.maximum.accumulate(needs)
        return most


def _with_loss(chain: BlockChain) -> BlockChain:
    """The chain with its loss as one block more, which makes nothing and reads x[L]."""
    loss = Block(
        name="loss",
        made_bytes=(),
        tape_bytes=0,
        tape_inputs=tuple(range(len(chain.borders[-1]))) if chain.loss_holds_output else (),
        run_bytes=0,
        taped_run_bytes=0,
        backward_bytes=0,
        gradient_bytes=0,
        delta_bytes=0,
        forward_flops=0,
    )
    return replace(chain, blocks=(*chain.blocks, loss))


def _shared_bytes(chain: BlockChain) -> np.ndarray:
    """Bytes of the storages that x[i] and x[j] share."""
    shared = np.zeros((chain.depth + 1, chain.depth + 1), dtype=np.int64)
    last = {storage: number for number, border in enumerate(chain.borders) for storage in border}
    for number, made in enumerate(chain.made):
        for storage in made:
            borders = slice(number, last[storage] + 1)
            shared[borders, borders] += chain.storage_bytes[storage]
    return shared
