"""Bytes in, schedule out: which schedule trains a network within a budget, and what it costs.

The budget bounds the peak that memray measures over one training step. That is the predicted peak, which counts every
buffer, plus what the interpreter itself allocates, which `allowance_bytes` covers: a schedule fits when prediction +
allowance <= budget.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from networks.chain import LARGEST, Chain
from networks.checks import check_count, check_dtype, check_layers
from networks.planning.bill import SAVES_LITTLE
from networks.planning.by_parts import StepByParts, fewest_parts
from networks.planning.network_rows import (
    REMEDIES,
    WORDS,
    PlanRow,
    costed,
    fills_most,
    rows_within,
    search_within,
    traced,
    work_and_peak,
)
from networks.planning.searches import SEARCHES, Search, made
from networks.schedules import optimal, store_all
from networks.schedules.optimal import smallest_budget
from networks.schedules.portable import HasSchedule, schedule_name
from networks.schedules.replay import replay
from networks.schedules.signature import Schedule
from networks.trace import STEPS

NONE: Mapping[str, Search] = {}

PREFERRED = ("store_all", "optimal")
"""To which rows a tie in work and peak goes, the first of them first: store-all needs no schedule."""


@dataclass(frozen=True)
class Plan(HasSchedule):
    """The schedule of least work within a budget, its figures, and the rows it was chosen from.

    `smallest_budget_bytes` is the smallest budget that can be met at all: with one byte less no row of `SEARCHES` fits.
    `advice` is empty, or says why checkpointing saves next to nothing here. `rival` is the step that recomputes
    nothing: `Network.train_step` by the fewest parts of the batch that fit. It is None if not even single rows do.
    """

    schedule: Schedule
    predicted_peak_bytes: int
    allowance_bytes: int
    forward_steps: int
    forward_flops: int
    smallest_budget_bytes: int
    rows: tuple[PlanRow, ...]
    advice: str
    rival: StepByParts | None

    def __repr__(self) -> str:
        peak = f"peak {self.predicted_peak_bytes:,} bytes, allowance {self.allowance_bytes:,} bytes"
        return f"<Plan {schedule_name(self.schedule)}: {peak}, {self.forward_steps} forward steps>"

    @property
    def best(self) -> PlanRow:
        """The row of `schedule`."""
        return next(row for row in self.rows if row.schedule is self.schedule)

    @property
    def micro_batch(self) -> int | None:
        """The rows of a part of `rival`: all rows if the whole batch fits, None if not even single rows do."""
        return None if self.rival is None else self.rival.micro_batch


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

    Of the same work the lowest peak is best, and a tie goes to `PREFERRED`.

    The step is `forward` and `backward`, or with `step="train_step"` that method, which frees each layer's parameter
    gradients as it goes. The searches `also` have a row each beside those of `SEARCHES`. Raises ValueError for bad
    arguments, and where no schedule meets the budget: it then names the smallest budget that can be met, what fills it,
    and what would lower it.
    """
    chain = _chain(layers, batch, dtype, step)
    check_count("budget_bytes", budget_bytes)
    least, rival = _least(chain), fewest_parts(chain, budget_bytes)
    smallest_budget_bytes = _smallest_budget_bytes(least)
    if budget_bytes < smallest_budget_bytes:
        raise ValueError(_too_small(least, budget_bytes) + _instead(chain.batch, rival))
    # Searches are not exhaustive, so hold that no budget needs more work than the smallest one.
    found = rows_within(chain, budget_bytes, also)
    rows = tuple(_of_two(row, least) if row.name == least.name else row for row in found)
    best = min((row for row in rows if row.fits), key=_order)
    assert best.schedule is not None
    trace = traced(best)
    return Plan(
        schedule=best.schedule,
        predicted_peak_bytes=trace.peak_bytes,
        allowance_bytes=best.allowance_bytes,
        forward_steps=trace.forward_steps,
        forward_flops=trace.forward_flops,
        smallest_budget_bytes=smallest_budget_bytes,
        rows=rows,
        advice=_advice(chain, least),
        rival=rival,
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
        return search_within(chain, search, budget_bytes).fits

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


def _of_two(row: PlanRow, least: PlanRow) -> PlanRow:
    return min(row, least, key=work_and_peak) if row.fits else least


def _order(row: PlanRow) -> tuple[int, int, int]:
    return *work_and_peak(row), PREFERRED.index(row.name) if row.name in PREFERRED else len(PREFERRED)


def _smallest_budget_bytes(row: PlanRow) -> int:
    assert row.smallest_budget_bytes is not None
    return row.smallest_budget_bytes


@lru_cache(maxsize=4)  # plans of one chain for several budgets share it
def _least(chain: Chain) -> PlanRow:
    """The row of the smallest budget: from that of the least peak, lowered until nothing fits in a byte less.

    A schedule of a slightly higher peak may need a smaller allowance, because it has fewer events or objects.
    """
    least = costed(chain, "optimal", made(optimal, budget_bytes=smallest_budget(chain)), LARGEST)
    while (lower := _first_fitting(chain, _smallest_budget_bytes(least) - 1)) is not None:
        least = lower
    return least


def _first_fitting(chain: Chain, budget_bytes: int) -> PlanRow | None:
    """The row of the first search that fits the budget. The fastest search comes first."""
    for name, search in SEARCHES.items():
        found = search_within(chain, search, budget_bytes)
        if found.fits and found.schedule:
            return costed(chain, name, found.schedule, budget_bytes)
    return None


def _filling(row: PlanRow) -> str:
    trace = traced(row)
    kind, share = fills_most(trace.peak_bytes_by_kind)
    remedy = REMEDIES[kind]
    if kind == "parameter_deltas" and trace.chain.deltas_pile_up:
        remedy += ", or train_step, which frees each layer's at once"
    return f"{share:.0%} of its peak are {WORDS[kind]}; {remedy}"


def _too_small(least: PlanRow, budget_bytes: int) -> str:
    return (
        f"no schedule meets a budget of {budget_bytes} bytes: the smallest that can be met is "
        f"{least.smallest_budget_bytes} bytes; {_filling(least)}"
    )


def _instead(batch: int, rival: StepByParts | None) -> str:
    if rival is None:
        return ""
    options = f"(micro_batch={rival.micro_batch})" if rival.micro_batch < batch else ""
    return f"; train_step{options} fits, and recomputes nothing"


def _advice(chain: Chain, least: PlanRow) -> str:
    everything = replay(chain, store_all()(chain)).peak_bytes
    saving = 1 - traced(least).peak_bytes / everything
    if saving >= SAVES_LITTLE:
        return ""
    return f"no schedule saves more than {saving:.1%} of store-all's {everything} bytes here: {_filling(least)}"
