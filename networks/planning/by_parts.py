"""The rival of every schedule: a step that recomputes nothing, because it runs the batch in parts.

Its memory is that of a part, the outputs of the whole batch and the sums of the weight gradients.
"""

from bisect import bisect_right
from dataclasses import dataclass
from typing import Any

from networks.chain import Chain
from networks.planning.allowance import PLACE_ALLOWANCE, allowance_bytes
from networks.rounding import ceil_div
from networks.trace import dry_run


@dataclass(frozen=True)
class StepByParts:
    """What a `Network.train_step` by parts of the batch needs. Its forward work is that of store-all.

    Attributes:
        micro_batch: the rows of a part; those of the whole batch if it is one part.
        parts: how many parts there are; the last one may have fewer rows.
        predicted_peak_bytes: the most bytes of buffers that are live at one moment.
        allowance_bytes: a bound on what the interpreter takes beside them.
    """

    micro_batch: int
    parts: int
    predicted_peak_bytes: int
    allowance_bytes: int

    @property
    def smallest_budget_bytes(self) -> int:
        """The smallest budget that this very step fits."""
        return self.predicted_peak_bytes + self.allowance_bytes


def fewest_parts(chain: Chain, budget_bytes: int) -> StepByParts | None:
    """The step of the fewest parts that fit the budget; None where no parts do.

    Parts are even: the batch over 1, 2, 3, .., rounded up. One and two parts are tried. From three parts on, a part in
    the middle has all weight gradients beside each of its layers, and its bytes grow with its rows. Each part also has
    a place in the log, so many small parts take more again. The search lowers a bound on the rows. Smaller parts have
    at least the places of parts of this size. So the next bound is the most rows that fit beside these places. The
    search ends when the bound stays.
    """
    for parts in (1, 2):
        step = by_parts(chain, ceil_div(chain.batch, parts))
        if step.smallest_budget_bytes <= budget_bytes:
            return step

    def bytes_of_rows(rows: int) -> int:
        return by_parts(chain, rows).smallest_budget_bytes - _place_bytes(chain, rows)

    rows, bound = ceil_div(chain.batch, 3), chain.batch + 1
    while rows and rows < bound:
        bound = rows
        rows = bisect_right(range(1, bound + 1), budget_bytes - _place_bytes(chain, bound), key=bytes_of_rows)
    return by_parts(chain, ceil_div(chain.batch, ceil_div(chain.batch, rows))) if rows else None


def by_parts(chain: Chain, rows: int) -> StepByParts:
    """A `train_step` of at most `rows` at a time.

    Of parts that are alike two are run for all, and the outputs of the others are added, and their places in the
    tracker's log.
    """
    left_out = _left_out(chain, rows)
    options: dict[str, Any] = {"dtype": f"float{8 * chain.itemsize}", "step": "train_step", "micro_batch": rows}
    trace = dry_run(chain.layers, batch=chain.batch - left_out * rows, **options)
    return StepByParts(
        micro_batch=rows,
        parts=ceil_div(chain.batch, rows),
        predicted_peak_bytes=trace.peak_bytes + left_out * rows * chain.layers[-1] * chain.itemsize,
        allowance_bytes=allowance_bytes(trace) + _place_bytes(chain, rows),
    )


def _left_out(chain: Chain, rows: int) -> int:
    """Parts of `rows` that need not be run to tell what all take: those between the first and the last are alike."""
    return max(0, ceil_div(chain.batch, rows) - 4)


def _place_bytes(chain: Chain, rows: int) -> int:
    return PLACE_ALLOWANCE * _left_out(chain, rows)
