"""Oracles for chains of blocks, written from the rules of what is live and nothing else: a naive replay, and a search.

A = {x held} + {x[l-1] : tape l held and its block's tape holds the input}
  + {x[l] : tape l held and its block's tape holds the output} - {x[0]}
H = bytes of A + bytes of the tapes held
"""

import heapq
import itertools
from collections.abc import Collection, Iterator

import numpy as np

from networks.block_chain import Block, BlockChain
from networks.schedules import Keep


def random_block_chain(seed: int, *, most_blocks: int = 5) -> BlockChain:
    """A chain of 1 to `most_blocks` blocks, whose tapes, gradients or scratch may each be small or large."""
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
            output_bytes=output,
            tape_bytes=tape,
            tape_holds_input=bool(flag() < 0.8),
            tape_holds_output=holds_output,
            run_bytes=output + number(size * (flag() < 0.5)),
            taped_run_bytes=output + tape + number(size * (flag() < 0.5)),
            backward_bytes=tape + holds_output * output + delta + gradient + number(size * (flag() < 0.5)),
            gradient_bytes=gradient,
            delta_bytes=delta,
            graph_bytes=number(2000),
            husk_bytes=number(1000),
            standing_bytes=number(1000),
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


class Rules:
    """The bytes of each moment, by what is held: a set of positions, 2l for x[l] and 2l-1 for the tape of block l."""

    def __init__(self, chain: BlockChain):
        self.chain = chain
        self.depth = chain.depth
        self.blocks = (None, *chain.blocks)

    def alive(self, held: Collection[int]) -> set[int]:
        alive = {position // 2 for position in held if position % 2 == 0}
        for number in range(1, self.depth + 1):
            if 2 * number - 1 in held:
                alive |= {number - 1} if self.blocks[number].tape_holds_input else set()
                alive |= {number} if self.blocks[number].tape_holds_output else set()
        return alive - {0}

    def bytes_held(self, held: Collection[int], *, beside: Collection[int] = ()) -> int:
        """H, with the outputs `beside` counted once."""
        outputs = (self.alive(held) | set(beside)) - {0}
        tapes = [number for number in range(1, self.depth + 1) if 2 * number - 1 in held]
        return sum(self.blocks[number].output_bytes for number in outputs) + sum(
            self.blocks[number].tape_bytes for number in tapes
        )

    def waiting(self, number: int) -> int:
        chain, above = self.chain, range(number + 1, self.depth + 1)
        gradients = sum(self.blocks[one].gradient_bytes for one in above) if chain.gradients_pile_up else 0
        return (
            chain.loss_bytes
            + chain.engine_bytes
            + self.blocks[number].delta_bytes
            + gradients
            + sum(self.blocks[one].husk_bytes for one in above)
            + sum(self.blocks[one].graph_bytes for one in range(1, number + 1))
            + sum(block.standing_bytes for block in chain.blocks)
        )

    def run(self, held: Collection[int], number: int, *, taped: bool, asking: int) -> int:
        block = self.blocks[number]
        if asking:
            beside = self.waiting(asking)
        else:
            beside = self.chain.before_bytes
            beside += sum(self.blocks[one].graph_bytes for one in range(1, number + 1))
            beside += sum(self.blocks[one].standing_bytes for one in range(1, number + 1))
        own = block.taped_run_bytes if taped else block.run_bytes
        return self.bytes_held(held, beside=[number - 1]) + own + beside

    def before(self) -> int:
        """The most of both passes of what runs before the blocks."""
        chain = self.chain
        gradients = sum(block.gradient_bytes for block in chain.blocks) if chain.gradients_pile_up else 0
        stays = chain.loss_bytes + chain.engine_bytes + gradients
        stays += sum(block.husk_bytes + block.standing_bytes for block in chain.blocks)
        return max(chain.before_run_bytes, chain.before_backward_bytes + stays)

    def loss(self, held: Collection[int]) -> int:
        chain, last = self.chain, self.depth
        stands = sum(block.graph_bytes + block.standing_bytes for block in chain.blocks)
        forward = self.bytes_held(held, beside=[last]) + chain.loss_forward_bytes + stands
        holds = chain.loss_holds_output or chain.blocks[-1].tape_holds_output
        backward = self.bytes_held(held, beside=[last] if holds else [])
        return max(forward, backward + chain.loss_backward_bytes + stands + chain.engine_bytes)

    def backward(self, held: Collection[int], number: int) -> int:
        """`held` is without outputs from x[number] on, and without the tape of the block."""
        block = self.blocks[number]
        beside = [number - 1] if block.tape_holds_input else []
        return self.bytes_held(held, beside=beside) + block.backward_bytes + self.waiting(number) - block.delta_bytes


def naive_replay(chain: BlockChain, keep: Keep) -> tuple[int, int]:
    """Peak bytes and forward work of a step by `keep`."""
    rules, depth = Rules(chain), chain.depth
    live, flops = [rules.before()], 0
    held: set[int] = {0}
    used, now = {0: 0}, 0
    for number in range(depth, 0, -1):
        tape = 2 * number - 1
        held = {position for position in held if position <= tape}
        if tape not in held:
            stop, asking = (2 * depth, 0) if number == depth else (tape, number)
            start = max(position for position in held if position % 2 == 0 and position <= 2 * (number - 1))
            answer = {*keep({position: now - used[position] for position in held}, start, stop), 0}
            used[start] = now
            held &= answer
            for run in range(start // 2 + 1, number + 1):
                taped = run == number or (2 * run - 1 in answer and 2 * run - 1 not in held)
                live.append(rules.run(held, run, taped=taped, asking=asking))
                flops += chain.blocks[run - 1].forward_flops
                now += chain.blocks[run - 1].forward_flops
                new = ({2 * run - 1} if taped else set()) | ({2 * run} if run < number and 2 * run in answer else set())
                held |= new
                used |= dict.fromkeys(new, now)
        if number == depth:
            live.append(rules.loss(held))
        held.discard(tape)
        live.append(rules.backward(held, number))
    return max(live), flops


def block_pareto_front(chain: BlockChain) -> list[tuple[int, int]]:
    """All (peak bytes, forward work) of which no way of running the step has both less: by falling peak.

    A state is what is held, the block whose backward pass is next, and the block that has just been run for it. Every
    answer to every question is tried, one position at a time.
    """
    rules, depth = Rules(chain), chain.depth

    def moves(
        held: frozenset[int], number: int, at: int | None
    ) -> Iterator[tuple[int, int, frozenset[int], int, int | None]]:
        """Yield (work, peak, held, next block, the block that has just been run)."""
        tape, asking = 2 * number - 1, number if number < depth else 0
        if at is None:
            if tape in held:
                left = frozenset(position for position in held if position < tape)
                yield 0, rules.backward(left, number), left, number - 1, None
                return
            start = max(position for position in held if position % 2 == 0 and position <= 2 * (number - 1))
            others = sorted(held - {0})
            for dropped in itertools.chain.from_iterable(
                itertools.combinations(others, count) for count in range(len(others) + 1)
            ):
                yield 0, 0, held - set(dropped), number, start // 2
            return
        run = at + 1
        flops = chain.blocks[run - 1].forward_flops
        if run == number:
            peak = rules.run(held, run, taped=True, asking=asking)
            after = held | {tape}
            yield flops, max(peak, rules.loss(after)) if number == depth else peak, after, number, None
            return
        for taped in (False, True)[: 1 if 2 * run - 1 in held else 2]:
            peak = rules.run(held, run, taped=taped, asking=asking)
            after = held | ({2 * run - 1} if taped else frozenset())
            yield flops, peak, after, number, run
            yield flops, peak, after | {2 * run}, number, run

    front: list[tuple[int, int]] = []
    least_peak: dict[tuple[frozenset[int], int, int | None], float] = {}
    order = itertools.count()
    queue = [(0, rules.before(), next(order), frozenset({0}), depth, None)]
    while queue:
        flops, peak, _, held, number, at = heapq.heappop(queue)
        if peak >= least_peak.get((held, number, at), float("inf")):
            continue
        least_peak[held, number, at] = peak
        if number == 0:
            front.append((peak, flops))
            continue
        for more, live, *state in moves(held, number, at):
            label = flops + more, max(peak, live)
            if label[1] < least_peak.get(tuple(state), float("inf")):
                heapq.heappush(queue, (*label, next(order), *state))
    return front
