"""What each schedule costs on a chain of layers, the best of each within a budget, and what fills a peak."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from networks.chain import Chain
from networks.planning.allowance import STEP_ALLOWANCE, allowance_bytes, least_allowance_bytes
from networks.planning.searches import SEARCHES, Search, made
from networks.schedules import store_all
from networks.schedules.portable import HasSchedule
from networks.schedules.replay import cost_of
from networks.schedules.signature import Schedule
from networks.trace import Trace, dry_run

ROOMS, LEAST_ROOM_STEP = 8, 1024
"""Within a budget, several rooms for a predicted peak are tried. They lie a part of store-all's allowance apart (one
eighth), and these bytes at least."""

REMEDIES = {
    "afters": "use a smaller batch or narrower layers",
    "deltas": "use a smaller batch or narrower layers",
    "parameter_deltas": "no schedule lowers them: use fewer or narrower layers",
    "workspace": "use a smaller batch or narrower layers",
}
"""What may fill a peak, and what lowers it. Checkpoints and working activations are one: they have one remedy."""

WORDS = {
    "afters": "activations",
    "checkpoints": "checkpoints",
    "working_afters": "other activations",
    "deltas": "output gradients",
    "parameter_deltas": "weight gradients",
    "workspace": "scratch memory",
}
"""What people read of the kinds of buffers: those of `REMEDIES`, and a tracker's."""


def fills_most(bytes_by_kind: Mapping[str, int]) -> tuple[str, float]:
    """Return which of `REMEDIES` a peak is mostly made of, and its share; `bytes_by_kind` is as a tracker's."""
    filling = {**bytes_by_kind, "afters": bytes_by_kind["checkpoints"] + bytes_by_kind["working_afters"]}
    kind = max(REMEDIES, key=filling.__getitem__)
    return kind, filling[kind] / sum(bytes_by_kind.values())


@dataclass(frozen=True)
class PlanRow(HasSchedule):
    """What one schedule costs.

    If the schedule cannot serve the budget, `trace` and the figures are None, and `refusal` is its error.
    """

    name: str
    schedule: Schedule | None
    trace: Trace | None
    allowance_bytes: int
    fits: bool
    refusal: ValueError | None = None

    @property
    def reason(self) -> str:
        """Why the schedule cannot serve the budget. Empty if it can."""
        return "" if self.refusal is None else str(self.refusal)

    @property
    def predicted_peak_bytes(self) -> int | None:
        """The most bytes of buffers that are live at once."""
        return None if self.trace is None else self.trace.peak_bytes

    @property
    def smallest_budget_bytes(self) -> int | None:
        """The smallest budget that this very step fits."""
        return None if self.trace is None else self.trace.peak_bytes + self.allowance_bytes

    @property
    def forward_steps(self) -> int | None:
        """Layers that are run forward, each time counted."""
        return None if self.trace is None else self.trace.forward_steps

    @property
    def forward_flops(self) -> int | None:
        """Floating-point operations of the forward steps."""
        return None if self.trace is None else self.trace.forward_flops

    @property
    def dominant_kind(self) -> str | None:
        """What the peak is mostly made of, of `REMEDIES`."""
        return None if self.trace is None else fills_most(self.trace.peak_bytes_by_kind)[0]


def rows_within(chain: Chain, budget_bytes: int, also: Mapping[str, Search]) -> Iterator[PlanRow]:
    """The row of each search of `SEARCHES` and of `also`, within the budget."""
    return (_row(chain, name, search, budget_bytes) for name, search in {**SEARCHES, **also}.items())


def traced(row: PlanRow) -> Trace:
    """The trace of a row that has one, as every row that fits has."""
    assert row.trace is not None
    return row.trace


def work_and_peak(row: PlanRow) -> tuple[int, int]:
    """The order of rows that fit. The best has the least work. Of the same work the best has the lowest peak."""
    trace = traced(row)
    return trace.forward_flops, trace.peak_bytes


def _row(chain: Chain, name: str, search: Search, budget_bytes: int) -> PlanRow:
    """The row of the schedule that `search` finds for the budget. If none fits, it is the last one that it finds."""
    found = search_within(chain, search, budget_bytes)
    if found.schedule is None:
        return PlanRow(name, None, None, 0, fits=False, refusal=found.refusal)
    return costed(chain, name, found.schedule, budget_bytes)


class Found(NamedTuple):
    """What a search finds within a budget: a schedule and whether it fits, or the reason why there is none."""

    schedule: Schedule | None
    fits: bool = False
    refusal: ValueError | None = None


def search_within(chain: Chain, search: Search, budget_bytes: int) -> Found:
    """Find the schedule with the largest room whose peak and allowance fit in the budget.

    The allowance depends on the schedule. The schedule depends on the room that the allowance leaves. So rooms are
    tried from the largest down. A room that would give the same schedule again is left out. Rooms are multiples of a
    step that depends on the chain alone. So a larger budget has no smaller room, and work never rises with the budget.
    """
    step = max(LEAST_ROOM_STEP, _figures(chain, made(store_all))[1] // ROOMS)
    room, found = max(0, budget_bytes - STEP_ALLOWANCE) // step * step, None
    while True:
        try:
            schedule = search(chain, room)
            cost = cost_of(chain, schedule(chain))
        except ValueError as error:
            return found or Found(None, refusal=error)
        # A step that is far too large with the least of its allowance need not be traced.
        fits = cost.peak_bytes + least_allowance_bytes(chain, cost) <= budget_bytes
        fits = fits and costed(chain, "", schedule, budget_bytes).fits
        found = Found(schedule, fits)
        if fits or cost.peak_bytes > room:  # of the least peak there is
            return found
        room = (cost.peak_bytes - 1) // step * step


def costed(chain: Chain, name: str, schedule: Schedule, budget_bytes: int) -> PlanRow:
    """The row of one schedule within the budget, called `name`."""
    trace, allowance = _figures(chain, schedule)
    return PlanRow(name, schedule, trace, allowance, fits=trace.peak_bytes + allowance <= budget_bytes)


@lru_cache(maxsize=64)  # rows of one schedule are asked for within several budgets
def _figures(chain: Chain, schedule: Schedule) -> tuple[Trace, int]:
    step = "backward" if chain.deltas_pile_up else "train_step"
    dtype = f"float{8 * chain.itemsize}"
    trace = dry_run(chain.layers, batch=chain.batch, schedule=schedule, dtype=dtype, step=step)
    return trace, allowance_bytes(trace)
