"""Schedules that know no budget, each with what it costs: what a search within a budget chooses from."""

from functools import lru_cache

from networks.chain import Chain
from networks.schedules.periodic import periodic
from networks.schedules.replay import Cost, replay
from networks.schedules.revolve import revolve
from networks.schedules.signature import Schedule

SEARCHED = 64
"""Frequencies and slots are searched one by one up to here, and above at as many steps as that."""


@lru_cache(maxsize=4)  # what they cost is the same for every budget
def periodics(chain: Chain) -> list[tuple[Schedule, Cost]]:
    """Periodic schedules of `chain`, both ways to recompute, and their costs."""
    # Each by itself, steps grow by the square of the frequency: beyond this, revolve takes fewer for no more memory.
    candidates = [
        *(periodic(frequency) for frequency in _searched(chain.depth)),
        *(periodic(frequency, recompute="each") for frequency in range(2, min(chain.depth, SEARCHED) + 1)),
    ]
    return _replayed(chain, candidates)


@lru_cache(maxsize=4)
def revolves(chain: Chain) -> list[tuple[Schedule, Cost]]:
    """Binomial schedules of `chain` and their costs."""
    return _replayed(chain, [revolve(slots=slots) for slots in _searched(chain.depth)])


def _searched(depth: int) -> list[int]:
    above = {-(-depth // parts) for parts in range(1, SEARCHED + 1)}
    return sorted(above | set(range(1, min(depth, SEARCHED) + 1)))


def _replayed(chain: Chain, schedules: list[Schedule]) -> list[tuple[Schedule, Cost]]:
    return [(schedule, replay(chain, schedule(chain))) for schedule in schedules]
