"""Greedy checkpoints: segments of about equal bytes (Chen et al. 2016, algorithm 3).

The walk goes forward and adds up the bytes of the activations. It keeps the activation at which the sum passes b, and
starts again from 0. The paper leaves b to a search. Here every b that makes a difference is tried. Of those whose step
stays within a byte budget, one with the least forward work is taken.
"""

from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import lru_cache
from itertools import accumulate, pairwise

from networks.chain import Chain
from networks.schedules.budget import budget
from networks.schedules.signature import Keep, Schedule


def greedy(*, budget_bytes: int | None = None, budget_of: str | None = None) -> Schedule:
    """Keep activations by the greedy walk with the b that costs the least work within a budget.

    The budget is `budget_bytes`, or what `budget_of` takes on the same chain; see `budget`. It bounds the peak of the
    whole training step as a dry run predicts it: activations, gradients, weight gradients, outputs and workspace. A
    recomputed segment is kept until it is used. If no b meets the budget, ValueError is raised when the schedule is
    bound to a chain. It names the smallest budget that some b meets.
    """
    limit = budget(budget_bytes, budget_of)

    @lru_cache(maxsize=4)
    def schedule(chain: Chain) -> Keep:
        budget_bytes = limit.on(chain)
        plans = list(_plans(chain))
        fitting = [plan for plan in plans if plan[1] <= budget_bytes]
        if not fitting:
            raise ValueError(
                f"budget_bytes={budget_bytes} is too small for greedy checkpoints of {chain.depth} layers with a batch "
                f"of {chain.batch}: the smallest budget they can meet is {min(peak for _, peak, _ in plans)} bytes"
            )
        _, _, kept = min(fitting)
        checkpoints = frozenset((0, *kept))

        def keep(cached: Mapping[int, int], start: int, stop: int) -> Collection[int]:
            return checkpoints if stop == chain.depth else cached.keys() | range(start + 1, stop + 1)

        return keep

    schedule.__name__ = f"greedy({limit})"
    return schedule


def _plans(chain: Chain) -> Iterator[tuple[int, int, list[int]]]:
    """For every b that makes a difference: forward operations run again, the step's peak, the positions kept.

    The peak is the most that the backward step of any layer l holds. That is `serve_bytes`, the checkpoints below l,
    and the segment up to l-1. The forward pass never holds more: at layer l it has the same checkpoints, after[l-1] and
    after[l]. The backward pass has delta[l] in the place of after[l].
    """
    depth, after_bytes = chain.depth, chain.after_bytes
    total = list(accumulate(after_bytes[:-1]))
    at_layer = [serve + below for serve, below in zip(chain.serve_bytes[1:-1], total, strict=False)]
    # Layer L's step needs nothing of its segment but after[L-1], which the forward pass has just left.
    again = chain.forward_flops[: depth - 1]
    all_again, most_at = sum(again), _greatest(at_layer)

    for kept in _walks(total):
        checkpoints = peak = 0
        for start, stop in pairwise([0, *kept, depth - 1]):
            checkpoints += after_bytes[start]
            peak = max(peak, checkpoints - total[start] + most_at(start, stop))
        last = 0 if depth - 1 in kept else after_bytes[depth - 1]
        peak = max(peak, checkpoints + last + chain.serve_bytes[depth])
        yield all_again - sum(again[position] for position in kept if position < depth - 1), peak, kept


def _greatest(values: list[int]) -> Callable[[int, int], int]:
    """Return a function of `start` and `stop` that gives the greatest of values[start:stop], or 0 if there is none.

    A table has the greatest of 1, 2, 4, .. values from each index on. Two of these, which overlap, cover any range.
    """
    levels: list[list[int]] = [values]
    while len(levels[-1]) > 2 ** (len(levels) - 1):
        below, half = levels[-1], 2 ** (len(levels) - 1)
        levels.append([max(one, other) for one, other in zip(below, below[half:], strict=False)])

    def greatest(start: int, stop: int) -> int:
        stop = min(stop, len(values))
        if start >= stop:
            return 0
        level = (stop - start).bit_length() - 1
        width: int = 2**level
        return max(levels[level][start], levels[level][stop - width])

    return greatest


def _walks(total: list[int]) -> Iterator[list[int]]:
    """The positions that the walk keeps, from b = 0, where it keeps all, up to the b where it keeps none.

    `total` holds the bytes of all activations up to each position.
    """
    b = 0
    while b < total[-1]:
        kept, position = [], 0
        while (position := bisect_right(total, total[position] + b)) < len(total):
            kept.append(position)
        yield kept
        # The walk stays the same until b reaches the smallest of the sums that passed it.
        b = min(total[stop] - total[start] for start, stop in pairwise([0, *kept]))
    yield []
