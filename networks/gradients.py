"""The weight gradients that a training step gathers."""

from collections.abc import Callable

from networks.optimizers import Pair


class GradientSum:
    """Each layer's weight gradients, added up over the parts of a batch.

    Every part brings those of layers `depth`..1, in this order. So the sums are a queue. To add to a layer's sum, it is
    taken from the left and put back on the right. `add(sums, deltas)` adds a pair to another, in place.
    """

    __slots__ = ("_add", "_missing", "_sums")

    def __init__(self, depth: int, add: Callable[[Pair, Pair], None]):
        self._missing = depth
        self._add = add
        self._sums: list[Pair] = []

    def add(self, deltas: Pair) -> bool:
        """Add the next layer's weight gradients. Return whether it added: the first part's become the sums."""
        if self._missing:
            self._missing -= 1
            self._sums.append(deltas)
            return False
        self._sums.append(self._sums.pop(0))
        self._add(self._sums[-1], deltas)
        return True

    def take(self) -> Pair:
        """Return the sum that was added to last, and hold it no longer."""
        return self._sums.pop()

    def take_all(self) -> list[Pair]:
        """Return the sums of layers 1..L, and hold none."""
        sums, self._sums = self._sums, []
        sums.reverse()
        return sums
