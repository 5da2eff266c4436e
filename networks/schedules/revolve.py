"""Binomial checkpoints: the fewest forward steps with a given number of slots (Griewank and Walther 2000).

A. Griewank, A. Walther, "Algorithm 799: revolve", ACM TOMS 26(1), 2000. With beta(s, r) = C(s+r, s), s slots
reverse beta(s, r) steps without running any of them more than r times.

Convention: the input takes one of the slots. The activation that is being computed takes none. Forward steps count
every layer that a training step runs. That is the paper's count of advances plus one, because the last layer counts
here. Nothing is run a second time to be taped.
"""

import math
from collections.abc import Collection, Mapping

from networks.chain import Chain
from networks.checks import check_count
from networks.schedules.signature import Keep, Schedule


def revolve(*, slots: int) -> Schedule:
    """Hold at most `slots` activations, the input included, at the binomial positions: optimal if all layers are alike.

    One slot keeps only the input and recomputes everything from there. L slots are store-all. Slots are not bytes:
    activations of unequal sizes count alike. Working activations, gradients and weight gradients do not count.
    """
    slots = check_count("slots", slots)

    def schedule(chain: Chain) -> Keep:
        def keep(cached: Mapping[int, int], start: int, stop: int) -> Collection[int]:
            # Everything cached is at or below `start`, which has a slot already.
            kept, left = [*cached], slots - len(cached) + 1
            steps = min(stop, chain.depth - 1) + 1 - start
            while left > 1 and steps > 1:
                advance = _advance(steps, left)
                start, steps, left = start + advance, steps - advance, left - 1
                kept.append(start)
            return kept

        return keep

    schedule.__name__ = f"revolve(slots={slots})"
    return schedule


def revolve_forward_steps(depth: int, slots: int) -> int:
    """Forward steps of a training step of `depth` layers by `revolve(slots=slots)`, in closed form.

    P(L, s) + 1 with P(L, s) = r L - C(s+r, s+1) and r the least for which beta(s, r) >= L.
    """
    depth = check_count("depth", depth)
    slots = check_count("slots", slots)
    repetitions, _ = _repetitions(depth, slots)
    return repetitions * depth - math.comb(slots + repetitions, slots + 1) + 1


def _repetitions(steps: int, slots: int) -> tuple[int, int]:
    """The least r for which beta(slots, r) >= steps, and that beta."""
    repetitions, beta = 0, 1
    while beta < steps:
        repetitions += 1
        beta = beta * (slots + repetitions) // repetitions
    return repetitions, beta


def _advance(steps: int, slots: int) -> int:
    """How far to run before the next checkpoint, with 2 or more `steps` to reverse and `slots` from here on.

    Any i serves for which i steps can be reversed in r-1 repetitions with all slots, and the others in r with one
    slot less, neither in fewer; this is the greatest.
    """
    repetitions, beta = _repetitions(steps, slots)
    below = beta * repetitions // (slots + repetitions)  # beta(s, r-1)
    beside = below * slots // (slots + repetitions - 1)  # beta(s-1, r-1)
    return min(below, steps - beside)
