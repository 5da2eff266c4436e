"""Schedules that know no budget, each with what it costs: what a search within a budget chooses from."""

from collections.abc import Callable, Iterable
from functools import lru_cache

from networks.chain import Chain
from networks.schedules.periodic import periodic
from networks.schedules.replay import Cost, replay
from networks.schedules.revolve import revolve
from networks.schedules.signature import Schedule

SEARCHED = 64
"""Numbers, such as frequencies and slots, are searched one by one up to here, and above at as many steps as that."""

Candidates = list[tuple[Schedule, Cost]]
"""Schedules, each with what it costs."""


@lru_cache(maxsize=4)  # what they cost is the same for every budget
def periodics(chain: Chain) -> Candidates:
    """Periodic schedules of `chain`, both ways to recompute, and their costs."""
    # Each by itself, steps grow by the square of the frequency: beyond this, revolve takes fewer for no more memory.
    each = [periodic(frequency, recompute="each") for frequency in range(2, min(chain.depth, SEARCHED) + 1)]
    return [*numbered(chain, periodic, "checkpoint_frequency"), *_replayed(chain, each)]


def revolves(chain: Chain) -> Candidates:
    """Binomial schedules of `chain` and their costs."""
    return numbered(chain, revolve, "slots")


@lru_cache(maxsize=16)
def numbered(chain: Chain, factory: Callable[..., Schedule], argument: str) -> Candidates:
    """What `factory` makes of numbers for this argument, and their costs; numbers that it refuses are left out.

    Raises ValueError, of the last number, where it refuses all.
    """
    found: Candidates = []
    refusals = []
    for number in _searched(chain.depth):
        try:
            found += _replayed(chain, [factory(**{argument: number})])
        except ValueError as error:
            refusals.append(error)
    if not found:
        raise refusals[-1]
    return found


def _searched(depth: int) -> list[int]:
    above = {-(-depth // parts) for parts in range(1, SEARCHED + 1)}
    return sorted(above | set(range(1, min(depth, SEARCHED) + 1)))


def _replayed(chain: Chain, schedules: Iterable[Schedule]) -> Candidates:
    return [(schedule, replay(chain, schedule(chain))) for schedule in schedules]
