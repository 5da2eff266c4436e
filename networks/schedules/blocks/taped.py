"""The least work of a model of blocks within a budget in bytes: which outputs to hold, and which tapes.

Beaumont, Eyraud-Dubois, Herrmann, Joly, Shilova, "Optimal checkpointing for heterogeneous chains: how to train deep
neural networks with limited memory", arXiv:1911.13214 ("rotor"). The budget bounds the peak of the whole step as
`replay_blocks` counts it: outputs, tapes, deltas, gradients that pile up, scratch, graph, and the loss. Work is
`forward_flops` of all runs.

The answer is the least work of all *persistent* schedules: an output or a tape that is held stays until it has served.
Of equal work, the peak is the lowest, to within a unit. Held bytes are counted in units and rounded to the nearest. The
plan is replayed in bytes, and the largest number of units is taken whose plan is within the budget.

A schedule that gives up an output before it has served may do less work. One that makes a tape early, and runs the
block again without, may fit a smaller budget. `make optimality` measures how often.
"""

import math
from collections.abc import Collection, Mapping
from functools import lru_cache

import numpy as np

from networks.block_chain import BlockChain
from networks.rounding import ceil_div
from networks.schedules.blocks._programme import LeastPeak, LeastWork, Programme, Rows
from networks.schedules.blocks.replay import BlockCost, replay_blocks
from networks.schedules.blocks.schedule import BlockSchedule, block_schedule
from networks.schedules.blocks.torch_checkpoint import plain
from networks.schedules.budget import budget
from networks.schedules.signature import Keep

MOST_BLOCKS = 1000
"""Most blocks of a chain: the tables grow with the square of their number, and the time with the third power."""

UNITS = 10_000
"""Most units that the bytes of all outputs and tapes are divided into; fewer with depth, see `_most_units`."""


def taped(*, budget_bytes: int | None = None, budget_of: str | None = None) -> BlockSchedule:
    """Do the least forward work with a peak within a budget, by holding outputs and tapes.

    It is `budget_bytes`, or what `budget_of` takes on the same chain; see `networks.schedules.budget`. Binding the
    schedule to a chain raises ValueError if no schedule of the class fits, and names the smallest budget that one does.
    """
    limit = budget(budget_bytes, budget_of, parse=block_schedule)

    @lru_cache(maxsize=4)  # every step of a training asks
    def bind(chain: BlockChain) -> Keep:
        return _solve(chain, limit.by(lambda schedule: replay_blocks(chain, schedule(chain)).peak_bytes))

    return BlockSchedule(f"taped({limit})", bind)


def smallest_budget(chain: BlockChain) -> int:
    """The smallest `budget_bytes` that `taped` can meet, whatever the work."""
    return _least_peak(chain)[1].peak_bytes


def _solve(chain: BlockChain, budget_bytes: int) -> Keep:
    keep, cost = _least_peak(chain)
    if budget_bytes < cost.peak_bytes:
        raise ValueError(
            f"budget_bytes={budget_bytes} is too small for these {chain.depth} blocks: "
            f"the smallest budget that a schedule can meet is {cost.peak_bytes} bytes"
        )
    everything = plain()(chain)
    if replay_blocks(chain, everything).peak_bytes <= budget_bytes:
        return everything
    unit, beyond = _unit(chain)
    # Rounded sizes err to both sides: a plan for a little more than the budget may well be within it.
    programme = LeastWork(chain, (budget_bytes // unit + beyond) * unit, unit=unit)
    for spare in range(programme.slots):
        if programme.work(spare) >= cost.forward_flops:
            break
        found, found_cost = _answers(chain, programme, spare)
        if found_cost.peak_bytes <= budget_bytes:
            return _with_least_peak(chain, programme, found, found_cost)
    return keep


def _with_least_peak(chain: BlockChain, programme: LeastWork, keep: Keep, cost: BlockCost) -> Keep:
    """Of the schedules that do the work of `keep`, one that leaves the most units unused, if its peak is lower."""
    spare = max((one for one in range(programme.slots) if programme.work(one) <= cost.forward_flops), default=0)
    other, other_cost = _answers(chain, programme, spare)
    return other if other_cost.peak_bytes < cost.peak_bytes else keep


@lru_cache(maxsize=4)
def _least_peak(chain: BlockChain) -> tuple[Keep, BlockCost]:
    if chain.depth > MOST_BLOCKS:
        raise ValueError(
            f"taped serves up to {MOST_BLOCKS:,} blocks, got {chain.depth:,}; give several layers as one block"
        )
    return _answers(chain, LeastPeak(chain))


def _unit(chain: BlockChain) -> tuple[int, int]:
    """Bytes of a unit, and the units that a plan may seem to be over a budget that it is within.

    The unit depends on the chain alone, so that a larger budget never makes for more work. Of those near the number of
    units that time allows, it is the one in which sizes are rounded least: blocks that are alike are rounded alike, and
    errors of one sign add up.
    """
    made_bytes = tuple(sum(block.made_bytes) for block in chain.blocks[:-1])
    sizes = np.array(made_bytes + chain.tape_bytes[1:], dtype=np.int64)
    total = max(1, int(sizes.sum()))
    units = _most_units(chain.depth, len(Rows(chain)))
    candidates = np.unique(-(-total // np.arange(units * 4 // 5, units + 1)))
    wrong = [int(np.abs((sizes + unit // 2) // unit * unit - sizes).sum()) for unit in candidates.tolist()]
    best = int(np.argmin(wrong))
    unit = int(candidates[best])
    return unit, 1 + min(math.isqrt(2 * chain.depth) + 1, ceil_div(wrong[best], unit))


def _most_units(depth: int, rows: int) -> int:
    """Units by depth: time grows with its third power, and tables, which count beyond 400 blocks, with its square.

    Of more rows than two for each block, it grows with these.
    """
    rows = max(depth, rows // 2)
    return min(UNITS, max(55 * 10**8 // (depth**2 * rows), 2000), 32 * 10**7 // (depth * rows))


def _answers(chain: BlockChain, programme: Programme, spare: int = 0) -> tuple[Keep, BlockCost]:
    """What `programme` answers in a step with `spare` units left unused, looked up without its tables; the step's cost.

    A step asks the same each time. A question out of turn, over a graph that was retained, is answered with `cached`.
    """
    answers: dict[tuple[tuple[int, ...], int], frozenset[int]] = {}

    def ask(cached: Mapping[int, int], start: int, stop: int) -> Collection[int]:
        held = [position for position in sorted(cached) if position < stop]
        return answers.setdefault((tuple(held), stop), frozenset(programme.keep(held, (stop + 1) // 2, spare)))

    def keep(cached: Mapping[int, int], start: int, stop: int) -> Collection[int]:
        held = tuple(position for position in sorted(cached) if position < stop)
        return answers.get((held, stop), held)

    return keep, replay_blocks(chain, ask)
