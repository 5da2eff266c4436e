"""Optimal checkpointing in bytes: the least work that keeps a step's whole peak within a budget.

Also known as rematerialisation under a memory budget; compare Beaumont et al. 2019 ("rotor"). The budget bounds
everything that a step holds, as `Chain` counts it: activations of unequal sizes, working activations, the gradient,
weight gradients that grow as backward descends, outputs and workspace. Work is `forward_flops`. Of the schedules with
the least work, one with the least peak is taken, to within one unit.

There are two dynamic programmes. The depth decides which one answers:

- *Floating*, up to `FLOATING_DEPTH` layers: an activation that is kept for some requests may be dropped before it is
  served. This is the optimum of all schedules that compute an activation only when a layer asks for it and it is
  missing. A schedule that computes earlier, before the weight gradients pile up, does less work at one budget in ten
  thousand.
- *Persistent*, in deeper chains: an activation that is kept is held until it is served. It takes O(L^3) vector
  operations. If layers are unequal, a floating schedule can be cheaper, or fit a smaller budget. `make optimality`
  measures how often and by how much. Beyond `POSITIONS` layers, groups of layers share a place for a checkpoint. The
  answer is then the best of this programme and of periodic, binomial, greedy and evicting schedules. It is good, but no
  optimum.

Held bytes are counted in units. If the sizes have a large common divisor, as with equal widths, the count is exact.
Otherwise sizes are rounded to the nearest unit, and the plan is replayed in bytes. More and more units stay unused
until its true peak is within the budget. `work_bound` solves the same programme with sizes rounded down. No schedule of
the class does less work than that.
"""

from bisect import bisect_left
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from functools import lru_cache

import numpy as np

from networks.chain import Chain
from networks.rounding import ceil_div
from networks.schedules._floating import FloatingLeastPeak, FloatingProgramme
from networks.schedules._memory import Memory
from networks.schedules._persistent import PersistentLeastPeak, PersistentProgramme
from networks.schedules.budget import budget
from networks.schedules.candidates import periodics, revolves
from networks.schedules.evicting import HEURISTICS, evict
from networks.schedules.greedy import greedy
from networks.schedules.replay import Cost, cost_of, replay
from networks.schedules.signature import Keep, Schedule
from networks.schedules.store_all import store_all

FLOATING_DEPTH = 16
"""Most layers for the floating programme, because its time grows with the fifth power of the depth."""

POSITIONS = 300
"""Most places for checkpoints in the persistent programme, because its time grows with their third power. In a deeper
chain each group of layers has one place: its smallest after."""

MOST_LAYERS = 4096
"""Most layers of a chain, because tables of the least peak grow with the square of the depth, and the time with its
third power."""

SLOTS = 1000, 4000
"""Fewest and most units that the sum of all activations is divided into. Deep chains have fewer, to bound the time."""

Programme = FloatingProgramme | PersistentProgramme
AnyProgramme = Programme | PersistentLeastPeak


def optimal(*, budget_bytes: int | None = None, budget_of: str | None = None) -> Schedule:
    """Do the least forward work with a peak within a budget. The peak has everything that a step holds.

    The budget is `budget_bytes`, or what `budget_of` takes on the same chain; see `budget`. If no schedule of the class
    fits, ValueError is raised when the schedule is bound to a chain. It names the smallest budget that can be met.
    """
    limit = budget(budget_bytes, budget_of)

    @lru_cache(maxsize=4)  # each training step asks
    def schedule(chain: Chain) -> Keep:
        return _solve(chain, limit.on(chain))

    schedule.__name__ = f"optimal({limit})"
    return schedule


def _solve(chain: Chain, budget_bytes: int) -> Keep:
    keep, cost = _least_peak(chain)
    if budget_bytes < cost.peak_bytes:
        raise ValueError(
            f"budget_bytes={budget_bytes} is too small for {chain.depth} layers with a batch of {chain.batch}: "
            f"the smallest budget that a schedule can meet is {cost.peak_bytes} bytes"
        )
    everything = store_all()(chain)
    if replay(chain, everything).peak_bytes <= budget_bytes:
        return everything
    keep = _within(chain, _programme(chain, budget_bytes), budget_bytes) or keep
    return keep if chain.depth <= FLOATING_DEPTH else _better(chain, keep, budget_bytes)


def work_bound(chain: Chain, budget_bytes: int) -> int:
    """Forward operations that no schedule of `optimal`'s class can go below. `optimal` reaches it if units are exact.

    Raises ValueError if the budget is too small even for sizes rounded down. It is also raised beyond `POSITIONS`
    layers, because there a rival may do less than any schedule with checkpoints in those places.
    """
    if chain.depth > POSITIONS:
        raise ValueError(f"work is bounded for up to {POSITIONS} layers, got {chain.depth}")
    programme = _programme(chain, budget_bytes, round_down=True)
    work = programme.work(0) if programme.slots else np.inf
    if np.isinf(work):
        raise ValueError(f"no schedule fits budget_bytes={budget_bytes}")
    return int(work)


def smallest_budget(chain: Chain) -> int:
    """The smallest `budget_bytes` that `optimal` can meet, at any amount of work."""
    return _least_peak(chain)[1].peak_bytes


def _within(chain: Chain, programme: Programme, budget_bytes: int) -> Keep | None:
    """The plan with the fewest units unused whose true peak is within the budget. None if there is none."""
    for spare in range(programme.slots):
        if np.isinf(programme.work(spare)):
            return None
        keep, cost = _answers(chain, programme, spare, most_bytes=budget_bytes)
        if cost.peak_bytes <= budget_bytes:
            return _with_least_peak(chain, programme, keep, cost, range(spare + 1, programme.slots))
    return None


def _better(chain: Chain, keep: Keep, budget_bytes: int) -> Keep:
    """`keep`, or a rival that does less work. There may be one if plans are rounded, grouped or persistent."""
    best = cost_of(chain, keep)
    for rival in _rivals(chain, budget_bytes):
        cost = replay(chain, rival, most_bytes=budget_bytes, most_flops=best.forward_flops)
        less = (cost.forward_flops, cost.peak_bytes) < (best.forward_flops, best.peak_bytes)
        if less and cost.peak_bytes <= budget_bytes:
            keep, best = rival, cost
    return keep


def _rivals(chain: Chain, budget_bytes: int) -> Iterator[Keep]:
    """The best of each other kind within the budget. Some of them may pass it."""
    yield from (evict(chain, budget_bytes, heuristic) for heuristic in HEURISTICS.values())
    if chain.depth > POSITIONS:
        yield periodics(chain).cheapest(budget_bytes)(chain)
        yield revolves(chain).cheapest(budget_bytes)(chain)
        with suppress(ValueError):  # greedy checkpoints may not fit
            yield greedy(budget_bytes=budget_bytes)(chain)


def _with_least_peak(chain: Chain, programme: Programme, keep: Keep, cost: Cost, spares: range) -> Keep:
    """The schedule with the work of `keep` and the most units unused, if its peak is lower. Otherwise `keep`."""
    same = bisect_left(spares, True, key=lambda spare: programme.work(spare) > cost.forward_flops)
    if not same:
        return keep
    candidate, candidate_cost = _answers(chain, programme, spares[same - 1], most_bytes=cost.peak_bytes)
    return candidate if candidate_cost.peak_bytes < cost.peak_bytes else keep


def _answers(chain: Chain, programme: AnyProgramme, spare: int, *, most_bytes: float = np.inf) -> tuple[Keep, Cost]:
    """The answers of `programme` in a step with `spare` units unused, and the cost of that step.

    The answers are stored, so that the tables can go. Each step asks the same questions, and the tables of a deep chain
    take hundreds of megabytes. A step that passes `most_bytes` ends early.
    """
    answers: dict[tuple[tuple[int, ...], int], tuple[set[int], set[int]]] = {}

    def ask(cached: Mapping[int, int], start: int, stop: int) -> Collection[int]:
        held = set(cached)
        kept = programme.keep(sorted(held), stop if stop == chain.depth else stop + 1, spare)
        answers[tuple(cached), stop] = held - kept, kept - held
        return kept

    def keep(cached: Mapping[int, int], start: int, stop: int) -> Collection[int]:
        held = tuple(cached)
        if (held, stop) not in answers:
            raise ValueError(f"optimal never asks for layers {start + 1}..{stop} with {sorted(held)} cached")
        dropped, added = answers[held, stop]
        return (cached.keys() - dropped) | added

    return keep, replay(chain, ask, most_bytes=most_bytes)


@lru_cache(maxsize=4)
def _least_peak(chain: Chain) -> tuple[Keep, Cost]:
    if chain.depth > MOST_LAYERS:
        raise ValueError(
            f"optimal serves up to {MOST_LAYERS:,} layers, got {chain.depth:,}; revolve, periodic and sqrt serve any"
        )
    programme = FloatingLeastPeak if chain.depth <= FLOATING_DEPTH else PersistentLeastPeak
    return _answers(chain, programme(chain), 0)


def _programme(chain: Chain, budget_bytes: int, *, round_down: bool = False) -> Programme:
    if chain.depth <= FLOATING_DEPTH:
        memory = Memory(chain, budget_bytes, slots=_slots(4 * 10**8 // chain.depth**5), round_down=round_down)
        return FloatingProgramme(chain, memory)
    memory = Memory(chain, budget_bytes, slots=_slots(36 * 10**8 // chain.depth**3), round_down=round_down)
    return PersistentProgramme(chain, memory, _positions(chain))


def _slots(affordable: int) -> int:
    fewest, most = SLOTS
    return min(max(affordable, fewest), most)


def _positions(chain: Chain) -> list[int]:
    group = ceil_div(chain.depth, POSITIONS)
    starts = range(1, chain.depth, group)
    groups = (range(start, min(start + group, chain.depth)) for start in starts)
    return [0, *(min(members, key=chain.after_bytes.__getitem__) for members in groups)]
