"""What the dynamic programmes of `optimal` share: a budget counted in units, and the cost of advancing.

Notation: the backward step of layer j asks for after[j-1]. To *advance* from i to k means to run layers i+1..k and to
keep only after[k]. The advances for layer L are the forward pass. `below` is the number of units that positions below a
given one hold. A table has the fewest forward operations for every `below`. Where the budget is too small it has
infinity.
"""

import math
from typing import TypeVar

import numpy as np

from networks.chain import Chain
from networks.rounding import ceil_div

Bytes = TypeVar("Bytes", int, np.ndarray)


class Memory:
    """A budget in units of bytes. The count is exact if the sizes of activations have a large common divisor.

    Otherwise sizes are rounded. The unit depends on the chain alone. So a larger budget never leads to more work.

    Attributes:
        units: of each activation, from position 0 (the input, 0 units) to L-1.
        exact: whether the units give the bytes exactly. Otherwise they are rounded to the nearest, or down.
        slots: the length of a table. It is one more than the largest `below` that can fit.
    """

    def __init__(self, chain: Chain, budget_bytes: int, *, slots: int, round_down: bool = False):
        after_bytes = chain.after_bytes[: chain.depth]
        total = sum(after_bytes)
        divisor = math.gcd(*after_bytes) or 1
        self.exact = total // divisor <= slots
        self._unit = divisor if self.exact else ceil_div(total, slots)
        # An exact unit is divided further, as far as the slots go, because the least peak is found to one unit.
        self._parts = max(1, slots * divisor // max(total, 1)) if self.exact else 1
        # Rounded sizes err to both sides. So a plan for a little more than the budget may be within it.
        beyond = 0 if self.exact or round_down else math.isqrt(chain.depth) + 1
        self._budget = budget_bytes if not beyond else (budget_bytes // self._unit + beyond) * self._unit
        rounding = 0 if self.exact or round_down else self._unit // 2
        self.units = [(size * self._parts + rounding) // self._unit for size in after_bytes]
        self.slots = max(0, min(self.cap(min(chain.serve_bytes[1:])), sum(self.units)) + 1)

    def cap(self, other_bytes: Bytes) -> Bytes:
        """The most units that fit into the budget beside `other_bytes`. It is negative if those alone do not fit."""
        units: Bytes = (self._budget - other_bytes) * self._parts // self._unit
        return units


class Advances:
    """Work and transient bytes of every advance in a chain."""

    def __init__(self, chain: Chain):
        depth = chain.depth
        after_bytes = chain.after_bytes
        self._work = np.cumsum(chain.forward_flops, dtype=np.float64)
        # Bytes of the move to a position, where nobody else holds the activation before it.
        self._moving = np.zeros(depth, dtype=np.int64)
        for position in range(1, depth):
            slides = chain.slides[position]
            self._moving[position] = after_bytes[position] + (0 if slides else after_bytes[position - 1])
        self._after_bytes = after_bytes

    def work(self, start: int, stop: int) -> np.ndarray:
        """Forward operations of the advances from `start` to each of start+1..stop."""
        work: np.ndarray = self._work[start + 1 : stop + 1] - self._work[start]
        return work

    def transient_bytes(self, start: int, stop: int, *, drop: bool = False) -> np.ndarray:
        """Most bytes of working activations in the advances from `start` to each of start+1..stop.

        The caller counts the activation of `start`. With `drop` it is dropped on the way, and counted here until then.
        """
        moving = self._moving[start + 1 : stop + 1].copy()
        if not drop and len(moving):
            moving[0] = self._after_bytes[start + 1]
        return np.maximum.accumulate(moving)
