"""Candidates: schedules that take no budget. A search within a budget chooses the best of them."""

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
"""Numbers, such as frequencies and slots, are all tried up to this one. Above it, so many more numbers are tried."""


class Candidates:
    """Schedules of a chain, and the cost of each. A cost is computed only as far as the choices so far needed it."""

    def __init__(self, chain: Chain, bound: Mapping[Schedule, Keep]):
        self._chain = chain
        self._bound = [*bound.items()]
        # The forward pass alone tells most of them apart.
        self._costs = [replay(chain, keep, most_bytes=0) for _, keep in self._bound]
        self._finished = [False] * len(self._bound)
        self._lock = Lock()

    def cheapest(self, room: int) -> Schedule:
        """Return the one with the least work whose peak is within `room` bytes. If none is, the one of least peak.

        The cost of a step only grows as it runs. So a step that costs more than the best is not run to its end.
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
    """The periodic schedules of `chain`, with both ways to recompute."""
    # Each by itself, steps grow by the square of the frequency: beyond this, revolve takes fewer for no more memory.
    each = [periodic(frequency, recompute="each") for frequency in range(2, min(chain.depth, SEARCHED) + 1)]
    return Candidates(chain, {one: one(chain) for one in (*map(periodic, searched(chain.depth)), *each)})


def revolves(chain: Chain) -> Candidates:
    """Binomial schedules of `chain`."""
    return numbered(chain, revolve, "slots")


@lru_cache(maxsize=16)
def numbered(chain: Chain, factory: Callable[..., Schedule], argument: str) -> Candidates:
    """The schedules that `factory` makes with numbers for this argument. Numbers that it refuses are left out.

    If it refuses all, its ValueError for the last number is raised.
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
    """The numbers that are tried for a chain of `depth`. A number above `depth` makes no difference."""
    above = {ceil_div(depth, parts) for parts in range(1, SEARCHED + 1)}
    return sorted(above | set(range(1, min(depth, SEARCHED) + 1)))
