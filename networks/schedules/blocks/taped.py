"""The least work of a model of blocks within a budget in bytes: which outputs to hold, and which tapes.

Beaumont, Eyraud-Dubois, Herrmann, Joly, Shilova, "Optimal checkpointing for heterogeneous chains: how to train deep
neural networks with limited memory", arXiv:1911.13214 ("rotor"). The budget bounds the peak of the whole step as
`replay_blocks` counts it: outputs, tapes, gradients, weight gradients that pile up, scratch, graph, and the loss. Work
is `forward_flops` of all runs.

Up to `MOST_SEARCHED` blocks the answer is the optimum: the least work of all schedules, and of equal work the lowest
peak, in bytes.

In deeper chains it is the optimum of all *persistent* schedules: an output or a tape that is held stays until it has
served. Sizes are rounded to units there. A schedule that gives up an output before it has served may do less work. One
that makes a tape early, and runs the block again without, may fit a smaller budget. `make optimality` measures how
often.
"""

from functools import lru_cache

from networks.block_chain import BlockChain
from networks.schedules.blocks import _persistent
from networks.schedules.blocks._floating import FloatingSearch
from networks.schedules.blocks.replay import replay_blocks
from networks.schedules.blocks.schedule import BlockSchedule, answering, block_schedule
from networks.schedules.blocks.torch_checkpoint import plain
from networks.schedules.budget import budget
from networks.schedules.signature import Keep

MOST_SEARCHED = 8
"""Most blocks of a chain whose schedules are all searched: time grows about threefold with each block."""

MOST_BLOCKS = 1000
"""Most blocks of a chain: the tables grow with the square of their number, and the time with the third power."""


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


@lru_cache(maxsize=4)
def smallest_budget(chain: BlockChain) -> int:
    """The smallest `budget_bytes` that `taped` can meet, whatever the work."""
    if chain.depth > MOST_BLOCKS:
        raise ValueError(
            f"taped serves up to {MOST_BLOCKS:,} blocks, got {chain.depth:,}; give several layers as one block"
        )
    if chain.depth > MOST_SEARCHED:
        return _persistent.least_peak(chain)[1].peak_bytes
    return FloatingSearch(chain).least_peak()


def _solve(chain: BlockChain, budget_bytes: int) -> Keep:
    least = smallest_budget(chain)
    if budget_bytes < least:
        raise ValueError(
            f"budget_bytes={budget_bytes} is too small for these {chain.depth} blocks: "
            f"the smallest budget that a schedule can meet is {least} bytes"
        )
    everything = plain()(chain)
    if replay_blocks(chain, everything).peak_bytes <= budget_bytes:
        return everything
    if chain.depth > MOST_SEARCHED:
        return _persistent.least_work(chain, budget_bytes)
    return answering(FloatingSearch(chain).least_work(budget_bytes))
