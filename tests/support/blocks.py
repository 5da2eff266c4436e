"""Oracles for chains of blocks, written from the rules of what is live and nothing else: a naive replay, and a search.

A storage is named by the block that makes it, its place there, and which copy it is of those that are alive. What is
held maps a position to the storages that it keeps alive: x[l] all of its own, and the tape of block l what its block
says of x[l-1] and of what it makes. H are the bytes of all these storages, each once, and of the tapes held.
"""

import heapq
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from networks.block_chain import Block, BlockChain
from networks.schedules import Keep


def random_block_chain(seed: int, *, most_blocks: int = 5, passing: bool = False) -> BlockChain:
    """A chain of 1 to `most_blocks` blocks, whose tapes, gradients or scratch may each be small or large.

    Each block makes one tensor, or where they are `passing` some, and passes on some of those that it is given.
    """
    chain = _random_chain(seed, most_blocks)
    return _passing(chain, np.random.default_rng([seed, 1])) if passing else chain


def sharing(chain: BlockChain, seed: int) -> BlockChain:
    """The chain, with gradients that are added to others, and gradients that wait for more."""
    generator = np.random.default_rng([seed, 2])
    blocks = (
        replace(
            block,
            added_gradient_bytes=int(generator.integers(0, block.gradient_bytes, endpoint=True)),
            waiting_gradient_bytes=int(generator.integers(0, 10**5)),
        )
        for block in chain.blocks
    )
    return replace(chain, blocks=tuple(blocks))


def _passing(chain: BlockChain, generator: np.random.Generator) -> BlockChain:
    blocks: list[Block] = []
    places = int(generator.integers(1, 3))
    for block in chain.blocks:
        output = sum(block.made_bytes)
        parts = (output, int(generator.integers(0, output, endpoint=True)))[: generator.integers(1, 3)]
        inputs, outputs = (np.flatnonzero(generator.random(count) < 0.6).tolist() for count in (places, len(parts)))
        passed = np.flatnonzero(generator.random(places) < 0.7).tolist()
        more = sum(parts) - output
        blocks.append(
            replace(
                block,
                made_bytes=parts,
                passed_on=tuple(passed),
                tape_inputs=tuple(inputs),
                tape_outputs=tuple(outputs),
                run_bytes=block.run_bytes + more,
                taped_run_bytes=block.taped_run_bytes + more,
                backward_bytes=block.backward_bytes + sum(parts[place] for place in outputs),
            )
        )
        places = len(parts) + len(passed)
    return replace(chain, blocks=tuple(blocks))


def _random_chain(seed: int, most_blocks: int) -> BlockChain:
    generator = np.random.default_rng(seed)

    def number(most: float) -> int:
        return int(generator.integers(0, max(1, most), endpoint=True))

    def block(name: int) -> Block:
        size, flag = 10 ** generator.uniform(3, 6), generator.random
        output, tape, delta = 1 + number(size), number(3 * size), number(size)
        holds_output = bool(flag() < 0.4)
        gradient = number(size)
        return Block(
            name=f"block {name}",
            made_bytes=(output,),
            tape_bytes=tape,
            tape_inputs=(0,) * (flag() < 0.8),
            tape_outputs=(0,) * holds_output,
            run_bytes=output + number(size * (flag() < 0.5)),
            taped_run_bytes=output + tape + number(size * (flag() < 0.5)),
            backward_bytes=tape + holds_output * output + delta + gradient + number(size * (flag() < 0.5)),
            gradient_bytes=gradient,
            delta_bytes=delta,
            graph_bytes=number(2000),
            husk_bytes=number(1000) + number(1000),
            forward_flops=1 + number(20),
        )

    return BlockChain(
        blocks=tuple(block(name) for name in range(1, int(generator.integers(1, most_blocks + 1)) + 1)),
        loss_forward_bytes=number(10**5),
        loss_backward_bytes=number(10**5),
        loss_holds_output=bool(generator.random() < 0.5),
        loss_bytes=number(10**4),
        engine_bytes=number(1000),
        gradients_pile_up=bool(generator.random() < 0.5),
        before_bytes=number(10**4),
        before_run_bytes=number(10**5),
        before_backward_bytes=number(10**5),
    )


Storage = tuple[int, int, int]
"""The block that makes it, its place there, and which of its copies it is. Block 0 is the caller."""

Border = tuple[Storage, ...]
Held = dict[int, Border]

CALLERS: Border = ((0, 0, 0),) * 9


class Rules:
    """The bytes of each moment, by what is held: positions 2l for x[l] and 2l-1 for the tape of block l."""

    def __init__(self, chain: BlockChain):
        self.chain = chain
        self.depth = chain.depth
        self.blocks = (None, *chain.blocks)

    def made(self, held: Held, number: int, below: Border) -> Border:
        """x[number] as the block makes it of x[number-1]."""
        block = self.blocks[number]
        copies = [copy for maker, _, copy in set(below).union(*held.values()) if maker == number]
        copy = 1 + max(copies, default=0)
        new = ((number, place, copy) for place in range(len(block.made_bytes)))
        return (*new, *(below[place] for place in block.passed_on))

    def tape(self, number: int, below: Border, border: Border) -> Border:
        """What the tape of a block keeps alive of x[number-1] and x[number]."""
        block = self.blocks[number]
        return (*(below[place] for place in block.tape_inputs), *(border[place] for place in block.tape_outputs))

    def bytes_held(self, held: Held, *, beside: Iterable[Storage] = ()) -> int:
        """H, with the storages `beside` counted once."""
        sizes = {
            (maker, place, copy): self.blocks[maker].made_bytes[place] if maker else 0
            for maker, place, copy in set(beside).union(*held.values())
        }
        return sum(sizes.values()) + sum(self.blocks[(one + 1) // 2].tape_bytes for one in held if one % 2)

    def gradients(self, numbers: Iterable[int]) -> int:
        """Those that these blocks leave, where gradients stay."""
        return sum(self.blocks[one].gradient_bytes - self.blocks[one].added_gradient_bytes for one in numbers)

    def waiting(self, number: int) -> int:
        chain, above = self.chain, range(number + 1, self.depth + 1)
        return (
            chain.loss_bytes
            + chain.engine_bytes
            + self.blocks[number].delta_bytes
            + (self.gradients(above) if chain.gradients_pile_up else self.blocks[number].waiting_gradient_bytes)
            + sum(self.blocks[one].husk_bytes for one in above)
            + sum(self.blocks[one].graph_bytes for one in range(1, number + 1))
        )

    def run(self, held: Held, number: int, below: Border, *, taped: bool, asking: int) -> int:
        block = self.blocks[number]
        if asking:
            beside = self.waiting(asking)
        else:
            beside = self.chain.before_bytes
            beside += sum(self.blocks[one].graph_bytes for one in range(1, number + 1))
        own = block.taped_run_bytes if taped else block.run_bytes
        return self.bytes_held(held, beside=below) + own + beside

    def before(self) -> int:
        """The most of both passes of what runs before the blocks."""
        chain = self.chain
        gradients = self.gradients(range(1, self.depth + 1)) if chain.gradients_pile_up else 0
        stays = chain.loss_bytes + chain.engine_bytes + gradients
        stays += sum(block.husk_bytes for block in chain.blocks)
        return max(chain.before_run_bytes, chain.before_backward_bytes + stays)

    def loss(self, held: Held, last: Border) -> int:
        chain = self.chain
        stands = sum(block.graph_bytes for block in chain.blocks)
        forward = self.bytes_held(held, beside=last) + chain.loss_forward_bytes + stands
        backward = self.bytes_held(held, beside=last if chain.loss_holds_output else ())
        return max(forward, backward + chain.loss_backward_bytes + stands + chain.engine_bytes)

    def backward(self, held: Held, number: int) -> int:
        """`held` is without outputs from x[number] on."""
        block, tape = self.blocks[number], 2 * number - 1
        inputs = [storage for storage in held[tape] if storage[0] != number]  # the others are in `backward_bytes`
        others = {position: kept for position, kept in held.items() if position != tape}
        return self.bytes_held(others, beside=inputs) + block.backward_bytes + self.waiting(number) - block.delta_bytes


def naive_replay(chain: BlockChain, keep: Keep) -> tuple[int, int]:
    """Peak bytes and forward work of a step by `keep`."""
    rules, depth = Rules(chain), chain.depth
    live, flops = [rules.before()], 0
    held: Held = {0: CALLERS}
    used, now = {0: 0}, 0
    for number, asking in [(depth, 0), *((number, number) for number in range(depth, 0, -1))]:
        tape = 2 * number - 1
        held = {position: kept for position, kept in held.items() if position <= tape}
        if tape not in held:
            stop = tape if asking else 2 * depth
            start = max(position for position in held if position % 2 == 0 and position <= 2 * (number - 1))
            border = held[start]
            answer = {*keep({position: now - used[position] for position in held}, start, stop), 0}
            answer |= {tape} if asking else set()
            used[start] = now
            held = {position: kept for position, kept in held.items() if position in answer}
            for run in range(start // 2 + 1, number + 1):
                taped = 2 * run - 1 in answer and 2 * run - 1 not in held
                live.append(rules.run(held, run, border, taped=taped, asking=asking))
                flops += chain.blocks[run - 1].forward_flops
                now += chain.blocks[run - 1].forward_flops
                below, border = border, rules.made(held, run, border)
                new = {2 * run - 1: rules.tape(run, below, border)} if taped else {}
                new |= {2 * run: border} if run < number and 2 * run in answer else {}
                held |= new
                used |= dict.fromkeys(new, now)
        if asking:
            live.append(rules.backward(held, number))
            del held[tape]
        else:
            live.append(rules.loss(held, border))
    return max(live), flops


State = tuple[frozenset[tuple[int, Border]], int, int | None, Border]
"""What is held, the block whose backward pass is next, the block that has just been run for it, and what that gave. In
the forward pass, what is next is L+1: the loss."""


def block_pareto_front(chain: BlockChain) -> list[tuple[int, int]]:
    """All (peak bytes, forward work) of which no way of running the step has both less: by falling peak.

    Every answer to every question is tried, one position at a time. A tape that is held is never given up, because
    autograd holds those of the forward pass.
    """
    rules, depth = Rules(chain), chain.depth

    def moves(kept: frozenset[tuple[int, Border]], number: int, at: int | None, below: Border) -> Iterator:
        """Yield (work, peak, the state after it)."""
        held = dict(kept)
        tape, asking = 2 * number - 1, number if number <= depth else 0
        if at == depth:
            yield 0, rules.loss(held, below), kept, depth, None, ()
            return
        if at is None:
            if tape in held:
                left = {position: each for position, each in held.items() if position <= tape}
                peak = rules.backward(left, number)
                del left[tape]
                yield 0, peak, frozenset(left.items()), number - 1, None, ()
                return
            start = max(position for position in held if position % 2 == 0 and position <= 2 * (number - 1))
            outputs = sorted((position, each) for position, each in held.items() if position and position % 2 == 0)
            for dropped in itertools.chain.from_iterable(
                itertools.combinations(outputs, count) for count in range(len(outputs) + 1)
            ):
                yield 0, 0, kept - set(dropped), number, start // 2, held[start]
            return
        run = at + 1
        flops = chain.blocks[run - 1].forward_flops
        border = rules.made(held, run, below)
        with_tape = kept | {(2 * run - 1, rules.tape(run, below, border))}
        if run == number:
            yield flops, rules.run(held, run, below, taped=True, asking=asking), with_tape, number, None, ()
            return
        for after in (kept,) if 2 * run - 1 in held else (kept, with_tape):
            peak = rules.run(held, run, below, taped=after is with_tape, asking=asking)
            yield flops, peak, after, number, run, border
            if run < depth:
                yield flops, peak, after | {(2 * run, border)}, number, run, border

    front: list[tuple[int, int]] = []
    least_peak: dict[State, float] = {}
    order = itertools.count()
    queue = [(0, rules.before(), next(order), frozenset({(0, CALLERS)}), depth + 1, None, ())]
    while queue:
        flops, peak, _, *state = heapq.heappop(queue)
        if peak >= least_peak.get(tuple(state), float("inf")):
            continue
        least_peak[tuple(state)] = peak
        if state[1] == 0:
            front.append((peak, flops))
            continue
        for more, live, *after in moves(*state):
            label = flops + more, max(peak, live)
            if label[1] < least_peak.get(tuple(after), float("inf")):
                heapq.heappush(queue, (*label, next(order), *after))
    return front


def deep_block_chain(depth: int, *, seed: int = 0) -> BlockChain:
    """Unequal blocks of some MiB each."""
    generator = np.random.default_rng(seed)

    def block(number: int) -> Block:
        output, tape, gradient = (int(size) * 2**14 + number for size in generator.integers(1, 200, size=3))
        return Block(
            name=str(number),
            made_bytes=(output,),
            tape_bytes=tape,
            tape_outputs=(0,) * (generator.random() < 0.3),
            run_bytes=2 * output,
            taped_run_bytes=2 * output + tape,
            backward_bytes=tape + 3 * output + gradient,
            gradient_bytes=gradient,
            delta_bytes=output,
            graph_bytes=3000,
            husk_bytes=200,
            forward_flops=int(generator.integers(2**20, 2**30)),
        )

    return BlockChain(
        blocks=tuple(block(number) for number in range(depth)), loss_forward_bytes=40, loss_backward_bytes=80
    )
