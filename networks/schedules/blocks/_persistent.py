"""The persistent schedules of `taped` in deep chains: the plans of its dynamic programmes, replayed in bytes.

The programmes count held bytes in units, rounded to the nearest. The answer is the plan of the most units whose peak,
in bytes, is within the budget.
"""

import math
from collections.abc import Collection, Mapping
from functools import lru_cache

import numpy as np

from networks.block_chain import BlockChain
from networks.rounding import ceil_div
from networks.schedules.blocks._programme import LeastPeak, LeastWork, Programme
from networks.schedules.blocks._spans import Rows
from networks.schedules.blocks.replay import BlockCost, replay_blocks
from networks.schedules.blocks.schedule import Answers, answering, held_below
from networks.schedules.signature import Keep

UNITS = 10_000
"""Most units that the bytes of all outputs and tapes are divided into. Deep chains have fewer: see `_most_units`."""


@lru_cache(maxsize=4)
def least_peak(chain: BlockChain) -> tuple[Keep, BlockCost]:
    """The persistent schedule of the least peak, and what it costs."""
    return _answers(chain, LeastPeak(chain))


def least_work(chain: BlockChain, budget_bytes: int) -> Keep:
    """The persistent schedule of the least work within a budget that `least_peak` meets."""
    keep, cost = least_peak(chain)
    unit, beyond = _unit(chain)
    # Rounding may add bytes, too. So the replay of a plan for a little more than the budget may be within it.
    programme = LeastWork(chain, (budget_bytes // unit + beyond) * unit, unit=unit)
    for spare in range(programme.slots):
        if programme.work(spare) >= cost.forward_flops:
            break
        found, found_cost = _answers(chain, programme, spare)
        if found_cost.peak_bytes <= budget_bytes:
            return _with_least_peak(chain, programme, found, found_cost)
    return keep


def _with_least_peak(chain: BlockChain, programme: LeastWork, keep: Keep, cost: BlockCost) -> Keep:
    """The schedule that does the work of `keep` and leaves the most units unused, if its peak is lower. Else `keep`."""
    spare = max((one for one in range(programme.slots) if programme.work(one) <= cost.forward_flops), default=0)
    other, other_cost = _answers(chain, programme, spare)
    return other if other_cost.peak_bytes < cost.peak_bytes else keep


def _unit(chain: BlockChain) -> tuple[int, int]:
    """Bytes of a unit, and how many units a plan may exceed the budget by rounding alone.

    The unit depends on the chain alone, so a larger budget never leads to more work. Time allows a number of units. Of
    the units near it, this one has the least rounding errors. Similar blocks are rounded alike, so their errors add up.
    """
    made_bytes = tuple(sum(block.made_bytes) for block in chain.blocks[:-1])
    sizes = np.array(made_bytes + chain.tape_bytes[1:], dtype=np.int64)
    total = max(1, int(sizes.sum()))
    units = _most_units(chain.depth, len(Rows(chain)))
    # total is divided by each number of units, and rounded up
    candidates = np.unique(-(-total // np.arange(units * 4 // 5, units + 1)))
    wrong = [int(np.abs((sizes + unit // 2) // unit * unit - sizes).sum()) for unit in candidates.tolist()]
    best = int(np.argmin(wrong))
    unit = int(candidates[best])
    return unit, 1 + min(math.isqrt(2 * chain.depth) + 1, ceil_div(wrong[best], unit))


def _most_units(depth: int, rows: int) -> int:
    """The most units that time and memory allow.

    Time grows with the third power of the depth. Tables grow with its square, which limits the units beyond 400 blocks.
    If there are more than two rows for each block, the rows count instead of the depth.
    """
    rows = max(depth, rows // 2)
    return min(UNITS, max(55 * 10**8 // (depth**2 * rows), 2000), 32 * 10**7 // (depth * rows))


def _answers(chain: BlockChain, programme: Programme, spare: int = 0) -> tuple[Keep, BlockCost]:
    """What `programme` answers in a step with `spare` units unused, and what the step costs.

    The answers do not hold the programme's tables.
    """
    answers: Answers = {}

    def ask(cached: Mapping[int, int], start: int, stop: int) -> Collection[int]:
        held = held_below(cached, stop)
        return answers.setdefault((held, stop), frozenset(programme.keep(list(held), stop // 2 + 1, spare)))

    cost = replay_blocks(chain, ask)
    return answering(answers), cost
