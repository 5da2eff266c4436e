"""Online eviction: keep each activation until the budget is full, then evict the one that is worth least (DTR).

M. Kirisame et al., "Dynamic Tensor Rematerialization", ICLR 2021, whose heuristic on a chain is

    h = cost / (bytes * staleness)

The cost is the work to compute the activation again, with its evicted neighbours: those in a row right below it and
right above it. Staleness is the number of forward operations since the activation's last use.

DTR evicts at the moment of an allocation. A schedule is asked only once for each stretch of layers. So it walks ahead
to the next request that will miss, and evicts where DTR would. Its answer is what is left. What was evicted on the way
is dropped at the start of the stretch, so a step never holds more than the walk has counted.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Mapping
from functools import cache, lru_cache, partial
from itertools import accumulate

from networks.chain import Chain
from networks.schedules.budget import budget
from networks.schedules.replay import cost_of, replay
from networks.schedules.signature import Keep, Schedule
from networks.wording import one_of

Heuristic = Callable[[int, int, int], float]

HEURISTICS: dict[str, Heuristic] = {
    "dtr": lambda cost, nbytes, staleness: cost / (nbytes * staleness) if nbytes * staleness else float("inf"),
    "lru": lambda cost, nbytes, staleness: -staleness,
    "largest": lambda cost, nbytes, staleness: -nbytes,
}
"""What an activation is worth, by its cost, bytes and staleness. They are the published heuristic, least recently used,
and largest first. If several are worth the same, the lowest position is evicted."""

_STANDING: dict[Heuristic, Callable[[int, int], int]] = {
    HEURISTICS["lru"]: lambda nbytes, last_used: last_used,
    HEURISTICS["largest"]: lambda nbytes, last_used: -nbytes,
}
"""The heuristics under which an activation's worth does not depend on the others, and what they order by."""


class _TooSmallError(ValueError):
    """A budget is too small. Its message names one that can be met. That takes many replays, so it is found when the
    message is read."""

    def __init__(self, message: str, budget_met: Callable[[], int]):
        super().__init__(message)
        self._budget_met = cache(budget_met)

    def __str__(self) -> str:
        return f"{self.args[0]}: it can meet {self._budget_met()} bytes"


def evicting(*, budget_bytes: int | None = None, budget_of: str | None = None, heuristic: str = "dtr") -> Schedule:
    """Hold what fits into a budget, and evict by `heuristic`: `"dtr"`, `"lru"` or `"largest"`.

    The budget is `budget_bytes`, or what `budget_of` takes on the same chain; see `budget`. It bounds the peak of the
    whole training step as a dry run predicts it: activations, gradients, weight gradients, outputs and workspace.
    Evictions look ahead only to the next recomputation, so a later layer may not fit. Therefore the step is replayed
    when the schedule is bound to a chain. If its peak passes the budget, ValueError is raised.
    """
    limit = budget(budget_bytes, budget_of)
    if not isinstance(heuristic, str) or heuristic not in HEURISTICS:
        raise ValueError(f"heuristic must be {one_of(heuristic, HEURISTICS)}")

    @lru_cache(maxsize=4)
    def schedule(chain: Chain) -> Keep:
        budget_bytes = limit.on(chain)
        keep = evict(chain, budget_bytes, HEURISTICS[heuristic])
        if cost_of(chain, keep).peak_bytes > budget_bytes:
            raise _TooSmallError(
                f"budget_bytes={budget_bytes} is too small for evicting by {heuristic} with {chain.depth} layers and a "
                f"batch of {chain.batch}",
                partial(_budget_met, chain, budget_bytes, HEURISTICS[heuristic]),
            )
        return keep

    schedule.__name__ = f"evicting({limit}, heuristic={heuristic!r})"
    return schedule


def _budget_met(chain: Chain, budget_bytes: int, heuristic: Heuristic) -> int:
    """A budget above `budget_bytes` that is met. Each budget tried is the peak that the one before it led to."""
    while (peak := replay(chain, evict(chain, budget_bytes, heuristic)).peak_bytes) > budget_bytes:
        budget_bytes = peak
    return budget_bytes


def evict(chain: Chain, budget_bytes: int, heuristic: Heuristic) -> Keep:
    """Return the eviction for `budget_bytes`. Its peak may still pass them."""
    flops_up_to = list(accumulate(chain.forward_flops))
    resized = [number for number in range(1, chain.depth + 1) if not chain.slides[number]]

    def keep(cached: Mapping[int, int], start: int, stop: int) -> Collection[int]:
        walk = _Walk(chain, flops_up_to, resized, budget_bytes, heuristic, {**cached, start: 0})
        walk.run(start, stop)
        walk.serve()
        return (cached.keys() - walk.evicted) | walk.kept

    return keep


class _Walk:
    """What is held on the way from one request that misses to the next. `cached` has the staleness of what is held.

    Attributes:
        evicted: the positions of `cached` that are evicted on the way.
        kept: the positions of the stretch that are still held. It is complete when `serve` has returned.
    """

    def __init__(
        self,
        chain: Chain,
        flops_up_to: list[int],
        resized: list[int],
        budget_bytes: int,
        heuristic: Heuristic,
        cached: Mapping[int, int],
    ):
        self.evicted: set[int] = set()
        self.kept: set[int] = set()
        self._chain = chain
        self._flops_up_to = flops_up_to
        self._resized = resized
        self._budget_bytes = budget_bytes
        self._heuristic = heuristic
        self._held = sorted(cached)
        self._start = self._held[-1]
        self._held_bytes = sum(chain.after_bytes[position] for position in cached)
        self._last_used = {position: -staleness for position, staleness in cached.items()}
        self._now = 0
        self._standing = _STANDING.get(heuristic)

    def run(self, start: int, stop: int) -> None:
        """Run layers start+1..stop and hold their activations."""
        depth, after_bytes, slides = self._chain.depth, self._chain.after_bytes, self._chain.slides
        room = self._budget_bytes - self._chain.recompute_bytes[min(stop + 1, depth)]
        number = start
        while number < stop:
            number += 1
            if self._held_bytes + after_bytes[number] > room:
                # The activation that the layer reads can be evicted if the new one is written over it.
                below = number if slides[number] else number - 1
                self._make_room(room - after_bytes[number], below=below)
            self._now += self._chain.forward_flops[number]
            if number < depth:
                self._held.append(number)
                self._held_bytes += after_bytes[number]
                self._last_used[number] = self._now
                if self._held_bytes + after_bytes[number] > room >= self._held_bytes:
                    number = self._shift(number, start, stop)

    def _shift(self, number: int, start: int, stop: int) -> int:
        """Run on from `number` while each layer evicts the lowest position and holds its own. Return the last layer.

        This shortcut is right if all that is held, except the input, has just been run, layer by layer, and if it is as
        large as what comes. Then the lowest position is worth least. By DTR this is sure only where two are held,
        because the higher one is not stale at all.
        """
        lowest, afters = number - len(self._held) + 2, len(self._held) - 1
        if self._held[1] != lowest or lowest <= start or (afters > 2 and not self._standing):
            return number
        last = min(self._resized[bisect_right(self._resized, lowest)] - 1, stop)
        if last <= number:
            return number
        self._held = [0, *range(last - afters + 1, last + 1)]
        before = self._now - self._flops_up_to[number]
        self._last_used |= {position: before + self._flops_up_to[position] for position in self._held[1:]}
        self._now = before + self._flops_up_to[last]
        return last

    def serve(self) -> None:
        """Serve the backward steps whose activation is held."""
        chain = self._chain
        layer = self._held[-1] + 1
        while layer > 0 and self._held[-1] == layer - 1:
            self._make_room(self._budget_bytes - chain.serve_bytes[layer], below=layer - 1)
            self._held_bytes -= chain.after_bytes[self._held.pop()]
            layer -= 1
            if layer > self._start:
                self.kept.add(layer)
        self.kept.update(self._held[bisect_right(self._held, self._start) :])

    def _make_room(self, room: int, *, below: int) -> None:
        """Evict positions under `below`, but not the input, until what is held fits into `room`."""
        while self._held_bytes > room:
            candidates = range(1, bisect_left(self._held, below))
            if not candidates:
                return
            worth = self._standing_worth if self._standing else self._worth(below)
            position = self._held.pop(min(candidates, key=worth))
            self._held_bytes -= self._chain.after_bytes[position]
            if position <= self._start:
                self.evicted.add(position)

    def _standing_worth(self, i: int) -> int:
        """A number for the i-th held position. It orders positions as the heuristic does."""
        position = self._held[i]
        last_used = self._last_used[position]
        return self._standing(self._chain.after_bytes[position], last_used)  # type: ignore[misc]  # asked where there is one

    def _worth(self, below: int) -> Callable[[int], float]:
        """The heuristic's value of the i-th held position. The evicted run above the last one ends at `below`."""
        bounds = [*self._held, below]

        def worth(i: int) -> float:
            position = bounds[i]
            cost = self._flops_up_to[bounds[i + 1] - 1] - self._flops_up_to[bounds[i - 1]]
            return self._heuristic(cost, self._chain.after_bytes[position], self._now - self._last_used[position])

        return worth
