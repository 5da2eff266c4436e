"""A training step replayed over integers: what a schedule costs, without a network.

Schedules that search, and the planner, ask this thousands of times, and a dry run takes twenty times as long. It
states the step's order of events a second time; a test holds it equal to the dry run for any schedule.
"""

from typing import NamedTuple

from networks.cache import ActivationCache
from networks.chain import Chain
from networks.schedules.signature import Keep


class Cost(NamedTuple):
    """What one training step costs, by the names of `CacheTracker`."""

    peak_bytes: int
    forward_flops: int
    forward_steps: int


def replay(chain: Chain, keep: Keep) -> Cost:
    """Return the cost of one step of `chain` by `keep`, whose answers are taken as valid."""
    depth, after_bytes, flops = chain.depth, chain.after_bytes, chain.forward_flops
    cache = ActivationCache(None, depth)
    live = peak = chain.workspace_bytes
    executed = steps = 0

    for layer in range(depth + 1, 0, -1):
        # Above the last layer stands the forward pass, which asks for the outputs.
        wanted = layer - 1
        if wanted not in cache:
            start = cache.nearest(wanted)
            kept = frozenset(keep(cache.costs(executed), start, wanted))
            for position in [position for position in cache if position not in kept]:
                cache.take(position)
                live -= after_bytes[position] if position != start else 0
            for number in range(start + 1, wanted + 1):
                alone = number - 1 not in cache
                if not (alone and chain.slides(number)):
                    live += after_bytes[number]
                    peak = max(peak, live)
                    live -= after_bytes[number - 1] if alone else 0
                executed += flops[number]
                if number < depth and (number in kept or number in (wanted, depth - 1)):
                    cache.put(number, None, executed)
            steps += wanted - start
        if layer > depth:
            live += chain.delta_bytes[depth]
            peak = max(peak, live)
        else:
            cache.take(wanted)
            live += chain.parameter_delta_bytes[layer]
            peak = max(peak, live)
            live -= chain.delta_bytes[layer]
    return Cost(peak, executed, steps)
