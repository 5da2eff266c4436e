"""A training step replayed over integers: what a schedule costs, without a network.

Schedules that search, and the planner, ask this thousands of times, and a dry run takes ten times as long. This file
states the step's order of events a second time. A test holds it equal to the dry run for any schedule.
"""

from bisect import bisect_right
from collections.abc import Collection
from functools import lru_cache
from itertools import accumulate
from math import inf
from typing import NamedTuple

from networks.cache import ActivationCache
from networks.chain import Chain
from networks.positions import CountedCosts, Positions
from networks.schedules.signature import Keep


class Cost(NamedTuple):
    """What one training step costs, by the names of `CacheTracker`.

    `events_at_peak` is a number of events that the tracker has logged, at least, when the peak is last reached: one for
    each layer that is run forward, and three for each that has been stepped back.
    """

    peak_bytes: int
    forward_flops: int
    forward_steps: int
    events_at_peak: int


@lru_cache(maxsize=64)
def cost_of(chain: Chain, keep: Keep) -> Cost:
    """As `replay`, of a `keep` that lives on.

    A schedule that searches replays what it returns, and a planner asks for the same again.
    """
    return replay(chain, keep)


def replay(chain: Chain, keep: Keep, *, most_bytes: float = inf, most_flops: float = inf) -> Cost:
    """Return the cost of one step of `chain` by `keep`, whose answers are taken as valid.

    A step whose peak passes `most_bytes`, or whose work passes `most_flops`, ends early. Its cost is then that so far,
    which passes them, too.
    """
    depth, after_bytes, slides = chain.depth, chain.after_bytes, chain.slides
    flops_up_to = list(accumulate(chain.forward_flops))
    resized = [number for number in range(1, depth + 1) if not slides[number]]
    # The very class of a step's cache: the more of a class are made, the less CPython sets aside for the attributes of
    # the next, and what a step measures shall not hang on how a schedule is searched.
    cache = ActivationCache(None, depth)
    in_order = [0]  # positions put so far; those that are gone stay until they are on top
    afters = flops = steps = 0
    peak = 0, 0  # bytes, events
    for layer in range(depth, 0, -1):
        stop = depth if layer == depth else layer - 1
        if stop not in cache:
            while in_order[-1] not in cache:
                in_order.pop()
            start = in_order[-1]
            answer = keep(CountedCosts(cache.costs(flops)), start, stop)
            cache.use(start, flops)
            kept, dropped = _changes(cache, answer)
            for position in dropped:
                cache.take(position)
                afters -= after_bytes[position] if position != start else 0
            # What is asked for first stays until it is, kept or not; the outputs are never the cache's.
            kept = sorted(one for one in {*kept, layer - 1} if start < one <= stop and one < depth)
            in_order += kept
            for position in kept:
                cache.put(position, None, flops + flops_up_to[position] - flops_up_to[start])
            beside = chain.recompute_bytes[layer]
            new = {start + 1, *(position + 1 for position in kept if position < stop)}
            new.update(resized[bisect_right(resized, start) : bisect_right(resized, stop)])
            # Any other layer of the stretch is written over the one before it: nothing changes but the work.
            for number in sorted(new):
                free = number - 1 not in cache
                if not (free and slides[number]):
                    afters += after_bytes[number]
                    peak = max(peak, (afters + beside, steps + number - start + 3 * (depth - layer)))
                    afters -= after_bytes[number - 1] if free else 0
            flops += flops_up_to[stop] - flops_up_to[start]
            steps += stop - start
            if peak[0] > most_bytes or flops > most_flops:
                break
            if layer == depth:
                afters -= after_bytes[depth]  # from here on `serve_bytes` and `recompute_bytes` count the outputs
        peak = max(peak, (afters + chain.serve_bytes[layer], steps + 3 * (depth - layer)))
        cache.take(layer - 1)
        afters -= after_bytes[layer - 1]
    peak_bytes, events_at_peak = peak
    return Cost(peak_bytes, flops, steps, events_at_peak)


def _changes(cache: ActivationCache, answer: Collection[int]) -> tuple[Collection[int], Collection[int]]:
    """The positions of the stretch that an answer holds, others perhaps among them, and the cached ones it gives up."""
    if isinstance(answer, Positions):
        return answer.added, answer.dropped
    kept = frozenset(answer)
    return kept, [position for position in cache if position not in kept]
