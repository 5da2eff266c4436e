"""Schedules that know no budget: what a search within a budget chooses from."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from math import inf
from threading import Lock

from networks.chain import Chain
from networks.rounding import ceil_div
from networks.schedules.periodic import periodic
from networks.schedules.replay import replay
from networks.schedules.revolve import revolve
from networks.schedules.signature import Keep, Schedule

SEARCHED = 64
"""Numbers, such as frequencies and slots, are searched one by one up to here, and above at as many steps as that."""


class Candidates:
    """Schedules bound to a chain, and what each costs: as much of it as the choices so far have asked for."""

    def __init__(self, chain: Chain, bound: Mapping[Schedule, Keep]):
        self._chain = chain
        self._bound = [*bound.items()]
        # The forward pass alone tells most of them apart.
        self._costs = [replay(chain, keep, most_bytes=0) for _, keep in self._bound]
        self._finished = [False] * len(self._bound)
        self._lock = Lock()

    def cheapest(self, room: int) -> Schedule:
        """Return the one of least work whose peak is within `room` bytes; where none is, the one of least peak.

        A cost so far is at most the cost. So a step that has passed the best of the others need not be run to its end.
        """

        def rank(number: int) -> tuple[int, int, int, int]:
            cost = self._costs[number]
            return max(0, cost.peak_bytes - room), cost.forward_flops, cost.peak_bytes, number

        def promise(number: int) -> tuple[int, int, int]:
            over, flops, peak_bytes, _ = rank(number)
            return over, flops, -peak_bytes  # of two that have done the same work, what holds more has less to do

        with self._lock:
            best, *others = sorted(range(len(self._bound)), key=promise)
            self._run(best, most_bytes=inf, most_flops=inf)
            for number in others:
                if rank(number) < rank(best):
                    peak_bytes, flops = self._costs[best].peak_bytes, self._costs[best].forward_flops
                    within = peak_bytes <= room
                    self._run(number, most_bytes=room if within else peak_bytes, most_flops=flops if within else inf)
                    best = min(best, number, key=rank)
            return self._bound[best][0]

    def _run(self, number: int, *, most_bytes: float, most_flops: float) -> None:
        """Run the step of a candidate to its end, or until it passes a bound."""
        if not self._finished[number]:
            _, keep = self._bound[number]
            cost = replay(self._chain, keep, most_bytes=most_bytes, most_flops=most_flops)
            self._costs[number] = cost
            self._finished[number] = cost.peak_bytes <= most_bytes and cost.forward_flops <= most_flops


@lru_cache(maxsize=4)  # what they cost is the same for every budget
def periodics(chain: Chain) -> Candidates:
    """Periodic schedules of `chain`, both ways to recompute."""
    # Each by itself, steps grow by the square of the frequency: beyond this, revolve takes fewer for no more memory.
    each = [periodic(frequency, recompute="each") for frequency in range(2, min(chain.depth, SEARCHED) + 1)]
    return Candidates(chain, {one: one(chain) for one in (*map(periodic, searched(chain.depth)), *each)})


def revolves(chain: Chain) -> Candidates:
    """Binomial schedules of `chain`."""
    return numbered(chain, revolve, "slots")


@lru_cache(maxsize=16)
def numbered(chain: Chain, factory: Callable[..., Schedule], argument: str) -> Candidates:
    """What `factory` makes of numbers for this argument; numbers that it refuses are left out.

    Raises ValueError, of the last number, where it refuses all.
    """
    bound: dict[Schedule, Keep] = {}
    refusals = []
    for number in searched(chain.depth):
        try:
            schedule = factory(**{argument: number})
            bound[schedule] = schedule(chain)
        except ValueError as error:
            refusals.append(error)
    if not bound:
        raise refusals[-1]
    return Candidates(chain, bound)


def searched(depth: int) -> list[int]:
    """The numbers that are searched where `depth` is the largest that makes a difference."""
    above = {ceil_div(depth, parts) for parts in range(1, SEARCHED + 1)}
    return sorted(above | set(range(1, min(depth, SEARCHED) + 1)))
