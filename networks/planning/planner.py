"""Bytes in, schedule out: which schedule trains a network within a budget, and what it costs.

The budget bounds the peak that memray measures over one training step. That is the predicted peak, which counts every
buffer, plus what the interpreter itself allocates, which `allowance_bytes` covers: a schedule fits when prediction +
allowance <= budget.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from networks.chain import LARGEST, Chain
from networks.checks import check_count, check_dtype, check_layers
from networks.dry_run import STEPS, Trace, dry_run
from networks.planning.allowance import PLACE_ALLOWANCE, STEP_ALLOWANCE, allowance_bytes, least_allowance_bytes
from networks.planning.searches import SEARCHES, Search, made
from networks.rounding import ceil_div
from networks.schedules import optimal, store_all
from networks.schedules.optimal import smallest_budget
from networks.schedules.portable import HasSchedule, schedule_name
from networks.schedules.replay import cost_of, replay
from networks.schedules.signature import Schedule

ROOMS, LEAST_ROOM_STEP = 8, 1024
"""Of the bytes that store-all's allowance takes, the part that lies between two rooms for a predicted peak that are
tried within a budget, and the bytes that do at least."""

NONE: Mapping[str, Search] = {}

SAVES_LITTLE = 0.05
"""The share of store-all's peak under which a saving is called none."""

REMEDIES = {
    "afters": "a smaller batch or narrower layers lower them",
    "deltas": "a smaller batch or narrower layers lower them",
    "parameter_deltas": "no schedule changes them: fewer or narrower layers lower them",
    "workspace": "a smaller batch or narrower layers lower it",
}
"""What may fill a peak, and what lowers it. Checkpoints and working afters are one: it is one remedy for both."""


def fills_most(bytes_by_kind: Mapping[str, int]) -> tuple[str, float]:
    """Return which of `REMEDIES` a peak is mostly made of, and its share; `bytes_by_kind` is as a tracker's."""
    filling = {**bytes_by_kind, "afters": bytes_by_kind["checkpoints"] + bytes_by_kind["working_afters"]}
    kind = max(REMEDIES, key=filling.__getitem__)
    return kind, filling[kind] / sum(bytes_by_kind.values())


@dataclass(frozen=True)
class PlanRow(HasSchedule):
    """What one schedule costs.

    Where the schedule cannot serve the budget, `trace` and the figures are None, and `refusal` is its error.
    """

    name: str
    schedule: Schedule | None
    trace: Trace | None
    allowance_bytes: int
    fits: bool
    refusal: ValueError | None = None

    @property
    def reason(self) -> str:
        """Why the schedule cannot serve the budget; empty where it can."""
        return "" if self.refusal is None else str(self.refusal)

    @property
    def predicted_peak_bytes(self) -> int | None:
        return None if self.trace is None else self.trace.peak_bytes

    @property
    def smallest_budget_bytes(self) -> int | None:
        """The smallest budget that this very step fits."""
        return None if self.trace is None else _smallest_budget_bytes(self)

    @property
    def forward_steps(self) -> int | None:
        return None if self.trace is None else self.trace.forward_steps

    @property
    def forward_flops(self) -> int | None:
        return None if self.trace is None else self.trace.forward_flops

    @property
    def dominant_kind(self) -> str | None:
        """What the peak is mostly made of, of `REMEDIES`."""
        return None if self.trace is None else fills_most(self.trace.peak_bytes_by_kind)[0]


@dataclass(frozen=True)
class Plan(HasSchedule):
    """The schedule of least work within a budget, its figures, and the rows it was chosen from.

    `smallest_budget_bytes` is the smallest budget that can be met at all: with one byte less no row of `SEARCHES` fits.
    `advice` is empty, or says why checkpointing saves next to nothing here. `micro_batch` tells of the rival that
    recomputes nothing: it is the rows of a part, in the fewest parts by which `Network.train_step` fits. It is all rows
    if the whole batch fits, and None if not even single rows do.
    """

    schedule: Schedule
    predicted_peak_bytes: int
    allowance_bytes: int
    forward_steps: int
    forward_flops: int
    smallest_budget_bytes: int
    rows: tuple[PlanRow, ...]
    advice: str
    micro_batch: int | None

    def __repr__(self) -> str:
        peak = f"peak {self.predicted_peak_bytes:,} bytes, allowance {self.allowance_bytes:,} bytes"
        return f"<Plan {schedule_name(self.schedule)}: {peak}, {self.forward_steps} forward steps>"

    @property
    def best(self) -> PlanRow:
        """The row of `schedule`."""
        return next(row for row in self.rows if row.schedule is self.schedule)


def plan(
    layers: Iterable[int],
    *,
    batch: int,
    budget_bytes: int,
    dtype: str = "float32",
    step: str = "backward",
    also: Mapping[str, Search] = NONE,
) -> Plan:
    """Return the schedule that trains `layers` with the least forward work within `budget_bytes`.

    The step is `forward` and `backward`, or with `step="train_step"` that method, which frees each layer's parameter
    deltas as it goes. The searches `also` have a row each beside those of `SEARCHES`. Raises ValueError for bad
    arguments, and where no schedule meets the budget: it then names the smallest budget that can be met, what fills it,
    and what would lower it.
    """
    chain = _chain(layers, batch, dtype, step)
    check_count("budget_bytes", budget_bytes)
    least, micro_batch = _least(chain), _micro_batch(chain, budget_bytes)
    smallest_budget_bytes = _smallest_budget_bytes(least)
    if budget_bytes < smallest_budget_bytes:
        raise ValueError(_too_small(least, budget_bytes) + _rival(chain.batch, micro_batch))
    # Searches are not exhaustive, so hold that no budget needs more work than the smallest one.
    rows = tuple(_of_two(row, least) if row.name == least.name else row for row in _rows(chain, budget_bytes, also))
    best = min((row for row in rows if row.fits), key=_cost)
    assert best.schedule is not None
    trace = _traced(best)
    return Plan(
        schedule=best.schedule,
        predicted_peak_bytes=trace.peak_bytes,
        allowance_bytes=best.allowance_bytes,
        forward_steps=trace.forward_steps,
        forward_flops=trace.forward_flops,
        smallest_budget_bytes=smallest_budget_bytes,
        rows=rows,
        advice=_advice(chain, least),
        micro_batch=micro_batch,
    )


def max_depths(
    inputs: int,
    width: int,
    outputs: int,
    *,
    batch: int,
    budget_bytes: int,
    dtype: str = "float32",
    step: str = "backward",
    limit: int = 1024,
    also: Mapping[str, Search] = NONE,
    on_probe: Callable[[str, int], None] = lambda name, depth: None,
) -> dict[str, int]:
    """Return how many hidden layers of `width` fit into `budget_bytes`, up to `limit`, for each schedule.

    `on_probe` is told each schedule and number of layers before they are tried, which takes up to seconds.
    """

    def fits(search: Search, depth: int) -> bool:
        chain = _chain((inputs, *([width] * depth), outputs), batch, dtype, step)
        return _search(chain, search, budget_bytes).fits

    depths: dict[str, int] = {}
    for name, search in {**SEARCHES, **also}.items():
        # The search begins where the best so far has ended: deep chains take seconds each to plan.
        low, high, stride = 0, limit + 1, 0
        probe = max([1, *depths.values()])
        while high - low > 1:
            on_probe(name, probe)
            low, high = (probe, high) if fits(search, probe) else (low, probe)
            stride = 2 * stride + 1
            # Until one has failed, nothing says that the limit does not fit.
            probe = min(low + stride, limit if high > limit else (low + high) // 2)
        depths[name] = low
    return depths


def _chain(layers: Iterable[int], batch: int, dtype: str, step: str) -> Chain:
    if step not in STEPS:
        raise ValueError(f"step must be {' or '.join(map(repr, STEPS))}, got {step!r}")
    itemsize = check_dtype(dtype).itemsize
    return Chain(check_layers(layers), check_count("batch", batch), itemsize, deltas_pile_up=step == "backward")


def _rows(chain: Chain, budget_bytes: int, also: Mapping[str, Search]) -> Iterator[PlanRow]:
    return (_row(chain, name, search, budget_bytes) for name, search in {**SEARCHES, **also}.items())


def _traced(row: PlanRow) -> Trace:
    """The trace of a row that has one, as every row that fits has."""
    assert row.trace is not None
    return row.trace


def _smallest_budget_bytes(row: PlanRow) -> int:
    return _traced(row).peak_bytes + row.allowance_bytes


def _cost(row: PlanRow) -> tuple[int, int]:
    trace = _traced(row)
    return trace.forward_flops, trace.peak_bytes


def _of_two(row: PlanRow, least: PlanRow) -> PlanRow:
    return min(row, least, key=_cost) if row.fits else least


def _row(chain: Chain, name: str, search: Search, budget_bytes: int) -> PlanRow:
    """The row of the schedule that `search` finds for the budget; where none fits, of the last one it finds."""
    found = _search(chain, search, budget_bytes)
    if found.schedule is None:
        return PlanRow(name, None, None, 0, fits=False, refusal=found.refusal)
    return _costed(chain, name, found.schedule, budget_bytes)


class _Found(NamedTuple):
    """What a search finds within a budget: a schedule that fits or does not, or why there is none."""

    schedule: Schedule | None
    fits: bool = False
    refusal: ValueError | None = None


def _search(chain: Chain, search: Search, budget_bytes: int) -> _Found:
    """Find the schedule of the largest room within the budget that fits with its allowance.

    The allowance depends on the schedule, and the schedule on the room that the allowance leaves. Rooms are tried
    from above, those that the same schedule would fill left out. They are multiples of a step that is the chain's,
    whatever the budget: of a larger one the room is no smaller, so that work never rises with the budget.
    """
    step = max(LEAST_ROOM_STEP, _figures(chain, made(store_all))[1] // ROOMS)
    room, found = max(0, budget_bytes - STEP_ALLOWANCE) // step * step, None
    while True:
        try:
            schedule = search(chain, room)
            cost = cost_of(chain, schedule(chain))
        except ValueError as error:
            return found or _Found(None, refusal=error)
        # A step that is far too large with the least of its allowance need not be traced.
        fits = cost.peak_bytes + least_allowance_bytes(chain, cost) <= budget_bytes
        fits = fits and _costed(chain, "", schedule, budget_bytes).fits
        found = _Found(schedule, fits)
        if fits or cost.peak_bytes > room:  # of the least peak there is
            return found
        room = (cost.peak_bytes - 1) // step * step


def _costed(chain: Chain, name: str, schedule: Schedule, budget_bytes: int) -> PlanRow:
    trace, allowance = _figures(chain, schedule)
    return PlanRow(name, schedule, trace, allowance, fits=trace.peak_bytes + allowance <= budget_bytes)


@lru_cache(maxsize=64)  # rows of one schedule are asked for within several budgets
def _figures(chain: Chain, schedule: Schedule) -> tuple[Trace, int]:
    step = "backward" if chain.deltas_pile_up else "train_step"
    dtype = f"float{8 * chain.itemsize}"
    trace = dry_run(chain.layers, batch=chain.batch, schedule=schedule, dtype=dtype, step=step)
    return trace, allowance_bytes(trace)


@lru_cache(maxsize=4)  # plans of one chain for several budgets share it
def _least(chain: Chain) -> PlanRow:
    """The row of the smallest budget: from that of the least peak, lowered until nothing fits in a byte less.

    A schedule of a slightly higher peak may need a smaller allowance, because it has fewer events or objects.
    """
    least = _costed(chain, "optimal", made(optimal, budget_bytes=smallest_budget(chain)), LARGEST)
    while (lower := _first_fitting(chain, _smallest_budget_bytes(least) - 1)) is not None:
        least = lower
    return least


def _first_fitting(chain: Chain, budget_bytes: int) -> PlanRow | None:
    """The row of the first search that fits the budget; they are in the order of the time they take, the last most."""
    for name, search in SEARCHES.items():
        found = _search(chain, search, budget_bytes)
        if found.fits and found.schedule:
            return _costed(chain, name, found.schedule, budget_bytes)
    return None


def _micro_batch(chain: Chain, budget_bytes: int) -> int | None:
    """Rows of the fewest parts by which `Network.train_step` fits; None where no parts do.

    Parts are even: the batch over 1, 2, 3, .., rounded up. The first two are tried. From three on there is one that
    has all parameter deltas beside each of its layers, whose bytes grow with its rows, and a place in the log for each,
    so that many small ones take more again. A bound on the rows is lowered to the most that fit beside the places of
    parts as large as it, which smaller ones need as well, until these are the same.
    """
    for parts in (1, 2):
        if _bytes_by_parts(chain, ceil_div(chain.batch, parts)) <= budget_bytes:
            return ceil_div(chain.batch, parts)

    def bytes_of_rows(rows: int) -> int:
        return _bytes_by_parts(chain, rows) - _place_bytes(chain, rows)

    rows, bound = ceil_div(chain.batch, 3), chain.batch + 1
    while rows and rows < bound:
        bound = rows
        rows = bisect_right(range(1, bound + 1), budget_bytes - _place_bytes(chain, bound), key=bytes_of_rows)
    return ceil_div(chain.batch, ceil_div(chain.batch, rows)) if rows else None


def _left_out(chain: Chain, rows: int) -> int:
    """Parts of `rows` that need not be run to tell what all take: those between the first and the last are alike."""
    return max(0, ceil_div(chain.batch, rows) - 4)


def _place_bytes(chain: Chain, rows: int) -> int:
    return PLACE_ALLOWANCE * _left_out(chain, rows)


def _bytes_by_parts(chain: Chain, rows: int) -> int:
    """The smallest budget that a `train_step` of at most `rows` at a time fits.

    Of parts that are alike two are run for all, and the outputs of the others are added, and their places in the
    tracker's log.
    """
    left_out = _left_out(chain, rows)
    options: dict[str, Any] = {"dtype": f"float{8 * chain.itemsize}", "step": "train_step", "micro_batch": rows}
    trace = dry_run(chain.layers, batch=chain.batch - left_out * rows, **options)
    outputs_bytes = left_out * rows * chain.layers[-1] * chain.itemsize
    return trace.peak_bytes + allowance_bytes(trace) + outputs_bytes + _place_bytes(chain, rows)


def _filling(row: PlanRow) -> str:
    trace = _traced(row)
    kind, share = fills_most(trace.peak_bytes_by_kind)
    remedy = REMEDIES[kind]
    if kind == "parameter_deltas" and trace.chain.deltas_pile_up:
        remedy += ", and train_step frees each layer's as it goes"
    return f"{share:.0%} of that are {kind.replace('_', ' ')}; {remedy}"


def _too_small(least: PlanRow, budget_bytes: int) -> str:
    return (
        f"no schedule meets a budget of {budget_bytes} bytes: the smallest that can be met is "
        f"{least.smallest_budget_bytes} bytes, {least.predicted_peak_bytes} of them predicted; {_filling(least)}"
    )


def _rival(batch: int, micro_batch: int | None) -> str:
    if micro_batch is None:
        return ""
    options = f"(micro_batch={micro_batch})" if micro_batch < batch else ""
    return f"; train_step{options} fits, and recomputes nothing"


def _advice(chain: Chain, least: PlanRow) -> str:
    everything = replay(chain, store_all()(chain)).peak_bytes
    saving = 1 - _traced(least).peak_bytes / everything
    if saving >= SAVES_LITTLE:
        return ""
    return f"no schedule saves more than {saving:.1%} of store-all's {everything} bytes here: {_filling(least)}"
