"""Compares schedules: the least possible work, the best within a budget, and growth with depth.

Pure, like `analysis`. Replays and dry runs of the chain give the costs that no cell has measured.
"""

import math
from collections import defaultdict
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import pandas as pd

from harness.analysis.baseline import COMPARED
from harness.analysis.memory import chains, floor_bytes, work_ratios
from harness.analysis.time import time_ratios
from harness.analysis.variants import VARIANT, budget_bytes_of, name_variants, with_budget
from harness.experiment.frameworks import STORE_ALL
from networks.chain import Chain
from networks.layer_lists import format_layers
from networks.schedules import Schedule, optimal, revolve, sqrt, store_all
from networks.schedules.optimal import smallest_budget
from networks.schedules.replay import Cost, replay
from networks.schedules.spec import is_strange, parse_schedule
from networks.trace import dry_run

OPTIMAL = "optimal"
"""The kind with the least work."""
WITHIN_BUDGET = [*COMPARED, "budget_bytes"]
"""The columns of a configuration and a budget within which schedules are compared."""
GROWTH_DEPTHS = (4, 8, 16, 32, 64, 128, 256, 512, 1000)


def optimal_curve(memory: pd.DataFrame) -> pd.DataFrame:
    """The cost of `optimal` with the bytes of each cell: a row for each configuration and predicted peak, low to high.

    New columns: `peak_ratio`, its predicted peak over store-all's, and the `work_ratios`.
    """
    configurations = memory.groupby(COMPARED, sort=False)
    rows = [
        dict(zip(COMPARED, configuration, strict=True)) | cost
        for configuration, cells in configurations
        for cost in _least_work(chains(cells)[0], tuple(sorted(set(cells["predicted_peak_bytes"]))))
    ]
    return work_ratios(pd.DataFrame(rows, columns=[*COMPARED, "peak_ratio", "forward_flops"]))


@lru_cache(maxsize=8)  # several figures need the same, and solving takes seconds
def _least_work(chain: Chain, budgets: tuple[int, ...]) -> list[dict[str, float]]:
    everything = replay(chain, store_all()(chain)).peak_bytes
    met = (budget for budget in budgets if budget >= smallest_budget(chain))
    costs = [replay(chain, optimal(budget_bytes=budget)(chain)) for budget in met]
    return [{"peak_ratio": cost.peak_bytes / everything, "forward_flops": cost.forward_flops} for cost in costs]


def within_budgets(memory: pd.DataFrame) -> pd.DataFrame:
    """The best of each kind of schedule within each budget: a row for each configuration, budget and kind that fits.

    The budgets are those of the table's `optimal` schedules, without those that only code of others could tell.
    Candidates are the table's cells, and by replay each of their schedules that takes a budget, at each budget.
    So no schedule depends on the budgets that it was measured with. Schedules of others are judged only by their
    measured cells, because reading a table runs no code of others.

    A candidate fits if its predicted peak is within the budget. The best has the least forward work. Among equals the
    best is a measured cell, and then the one with the smallest peak. Budgets go from low to high, and in each budget
    the best kind comes first. A tie goes to optimal. Only steps by `backward` count.

    `budget_bytes` is the budget. New columns are `budget_ratio`, the budget over store-all's predicted peak, and the
    `work_ratios`. Columns of measurements are missing in rows that were not measured.

    Raises:
        ValueError: the table has no optimal schedule.
    """
    memory = name_variants(memory[memory["step"] == "backward"])
    own = map(budget_bytes_of, memory["schedule"], chains(memory))
    memory = memory.assign(budget_bytes=pd.Series(list(own), index=memory.index, dtype="Int64"))
    budgets = memory.loc[memory["kind"] == OPTIMAL, WITHIN_BUDGET].dropna().drop_duplicates()
    if budgets.empty:
        raise ValueError(
            "no budget to compare within: add a schedule such as optimal(budget_bytes=8000000) to the grid"
        )
    peaks = [replay(chain, store_all()(chain)).peak_bytes for chain in chains(budgets)]
    budgets = budgets.assign(budget_ratio=budgets["budget_bytes"].astype("float64") / peaks)
    cells = work_ratios(name_variants(pd.concat([memory, _at_budgets(memory, budgets)]))).drop(columns="budget_bytes")
    fitting = cells.merge(budgets, on=COMPARED).query("predicted_peak_bytes <= budget_bytes")
    fitting = fitting.assign(replayed=fitting["memray_peak_bytes"].isna())
    fitting = fitting.assign(rival=fitting["kind"] != OPTIMAL)
    ranked = fitting.sort_values([*WITHIN_BUDGET, "forward_flops", "rival", "replayed", "predicted_peak_bytes", "kind"])
    best = ranked.drop_duplicates([*WITHIN_BUDGET, "kind"]).drop(columns=["rival", "replayed"]).reset_index(drop=True)
    return best.assign(kind=best["kind"].cat.remove_unused_categories())


def _at_budgets(memory: pd.DataFrame, budgets: pd.DataFrame) -> pd.DataFrame:
    """Rows of schedules of the registry that take a budget, one for each of the `budgets` that a schedule can meet."""
    taking = memory.dropna(subset="budget_bytes").drop_duplicates([*COMPARED, "kind"])
    taking = taking[[not is_strange(schedule) for schedule in taking["schedule"]]]
    rows = taking.drop(columns="budget_bytes").merge(budgets, on=COMPARED)[[*COMPARED, *VARIANT, "budget_bytes"]]
    texts = zip(rows["schedule"], rows["budget_bytes"], strict=True)
    rows["schedule"] = [with_budget(text, budget) for text, budget in texts]
    costs = list(map(_replayed, chains(rows), rows["schedule"]))
    met = [cost for cost in costs if cost]
    return rows[[cost is not None for cost in costs]].assign(
        predicted_peak_bytes=[cost.peak_bytes for cost in met], forward_flops=[cost.forward_flops for cost in met]
    )


def _replayed(chain: Chain, schedule: str) -> Cost | None:
    try:
        return replay(chain, parse_schedule(schedule)(chain))
    except ValueError:
        return None  # the budget is too small for it


def winners(memory: pd.DataFrame, time: pd.DataFrame | None = None) -> pd.DataFrame:
    """The variant with the least forward work, a row for each configuration and budget.

    New columns beside those of `within_budgets`: `runner_up`, the best variant of another kind, and its
    `runner_up_work_ratio`. Both are missing if no other kind fits. If `time` has the winner, there are its
    `time_ratios`.
    """
    ranked = within_budgets(memory)
    places = ranked.groupby(WITHIN_BUDGET).cumcount()
    second = {"variant": "runner_up", "forward_work_ratio": "runner_up_work_ratio"}
    runners_up = ranked.loc[places == 1, [*WITHIN_BUDGET, *second]].rename(columns=second)
    table = ranked[places == 0].merge(runners_up, how="left", on=WITHIN_BUDGET)
    if time is None:
        return table
    ratios = time_ratios(time, seconds="step_seconds", pair_on=["repeat"])
    return table.merge(ratios, how="left", on=[*COMPARED, *VARIANT])


GROWING: dict[str, Callable[[Chain], Schedule]] = {
    STORE_ALL: lambda chain: store_all(),
    "sqrt": lambda chain: sqrt(),
    "revolve": lambda chain: revolve(slots=math.ceil(math.log2(chain.depth))),
    "optimal": lambda chain: optimal(budget_of=GROWING["revolve"](chain).__name__),
}
"""For each kind, the schedule of a chain. Revolve's slots are log2 of the depth. Optimal has the bytes that revolve
takes."""


def growth(memory: pd.DataFrame) -> pd.DataFrame:
    """The growth of the cost of the schedules `GROWING` with depth: a row for each depth and kind, by dry run.

    The network has equal hidden layers. It is the one that the table has in the most depths. Rows are of these depths
    and of `GROWTH_DEPTHS`. Optimal takes seconds for a deep chain, so it has only the table's depths.

    New columns: `kind`, the counts of a dry run by their names in memory.csv, `floor_bytes`, the `work_ratios`, and
    `memray_peak_bytes`. The last is missing if the table has no cell with the same step.

    Raises:
        ValueError: the table has no network of equal hidden layers.
    """
    networks: defaultdict[tuple[int, int, int, int, str], set[int]] = defaultdict(set)
    for chain, dtype in zip(chains(memory), memory["dtype"], strict=True):
        inputs, *hidden, outputs = chain.layers
        if len(set(hidden)) == 1:
            networks[inputs, hidden[0], outputs, chain.batch, dtype].add(chain.depth)
    if not networks:
        raise ValueError("no network of equal hidden layers, such as 64,128x32,10, whose depth could grow")
    (inputs, width, outputs, batch, dtype), measured = max(networks.items(), key=lambda network: len(network[1]))
    rows = [
        _grown((inputs, *[width] * (depth - 1), outputs), batch, dtype, kind)
        for depth in sorted({*measured, *GROWTH_DEPTHS})
        for kind in GROWING
        if kind != "optimal" or depth in measured
    ]
    table = work_ratios(pd.DataFrame(rows)).astype({"kind": pd.CategoricalDtype(list(GROWING), ordered=True)})
    table = table.assign(floor_bytes=floor_bytes(table))
    same = ["layers", "batch", "dtype", "predicted_peak_bytes", "peak_cached_layers", "forward_steps"]
    return table.merge(memory[[*same, "memray_peak_bytes"]].drop_duplicates(same), how="left", on=same)


def _grown(layers: tuple[int, ...], batch: int, dtype: str, kind: str) -> dict[str, object]:
    chain = Chain(layers, batch, np.dtype(dtype).itemsize)
    trace = dry_run(layers, batch=batch, dtype=dtype, schedule=GROWING[kind](chain))
    return {
        "layers": format_layers(layers),
        "depth": chain.depth,
        "width": layers[1],
        "batch": batch,
        "dtype": dtype,
        "kind": kind,
        "predicted_peak_bytes": trace.peak_bytes,
        "peak_cached_layers": trace.peak_cached_layers,
        "forward_steps": trace.forward_steps,
        "forward_flops": trace.forward_flops,
    }
