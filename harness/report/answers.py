"""What each experiment asks, and what its tables answer: a number, and a sentence around it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from harness.analysis import frameworks
from harness.analysis.memory import residuals, savings, work_ratios
from harness.analysis.rows import each_row
from harness.analysis.schedules import winners
from harness.analysis.time import with_time_ratios
from harness.analysis.training import accuracy_summary
from harness.analysis.variants import name_variants
from harness.sizes import format_bytes

Tables = Mapping[str, pd.DataFrame]


@dataclass(frozen=True)
class Answer:
    """The number that an experiment is about, what it is, and the answer in a sentence."""

    number: str
    meaning: str
    sentence: str


def answer(tables: Tables) -> Answer:
    """What the tables of one experiment say, by what they are of. All rows must be of finished cells."""
    for wanted, told in _ANSWERS.items():
        if set(wanted) <= tables.keys():
            return told(tables)
    names = ", ".join(tables)
    rows = sum(map(len, tables.values()))
    return Answer(f"{rows:,}", "rows", f"The tables are {names or 'none'}.")


def _timeline(tables: Tables) -> Answer:
    timeline = tables["timeline"]
    apart = int((timeline["memray_live_bytes"] - timeline["live_bytes"]).abs().max())
    return Answer(
        format_bytes(apart),
        "at most between the tracker and memray, at any event",
        f"At each of {len(timeline):,} events of {timeline['cell_id'].nunique()} steps, what the tracker counts is at "
        f"most {format_bytes(apart)} away from what memray saw.",
    )


def _training(tables: Tables) -> Answer:
    summary = accuracy_summary(tables["training"])
    difference = summary["largest_difference"].max()
    best = summary["test_accuracy"].max()
    return Answer(
        f"{difference:.3g}",
        "largest difference to store-all in any loss or accuracy",
        f"Over {summary['epochs'].max()} epochs and {summary['seeds'].max()} seeds, no loss and no accuracy of a "
        f"checkpointed training differs from store-all's by more than {difference:.3g}. The best mean accuracy is "
        f"{best:.1%}.",
    )


def _frameworks(tables: Tables) -> Answer:
    memory = frameworks.savings(tables["peers_memory"])
    cases = memory.groupby(frameworks.CASE, sort=False)
    best = memory.loc[[rows["memray_peak_bytes"].astype("float64").idxmin() for _, rows in cases]]
    ours = int((best["framework"] == "networks").sum())
    each = "; ".join(
        f"{row['name']} with {format_bytes(int(row['memray_peak_bytes']))} in [{row['layers']}]"
        for row in best.to_dict("records")
    )
    return Answer(f"{ours} of {len(best)}", "networks whose least peak is ours", f"The least peak has {each}.")


def _schedules(tables: Tables) -> Answer:
    best = winners(tables["memory"], tables.get("time"))
    optimal = int((best["kind"] == "optimal").sum())
    return Answer(
        f"{optimal} of {len(best)}",
        "networks and budgets at which optimal does the least work",
        f"Within each of {len(best)} budgets of {best['layers'].nunique()} networks, the least work is from "
        f"{best['forward_work_ratio'].min():.2f} to {best['forward_work_ratio'].max():.2f} times store-all's forward "
        f"work. {_saved(tables)}",
    )


def _memory(tables: Tables) -> Answer:
    best = _best(tables)
    return Answer(f"{best['saved_share']:.0%}", "of store-all's peak saved, at best", _saved(tables))


def _best(tables: Tables) -> dict[str, Any]:
    memory = work_ratios(savings(name_variants(tables["memory"])))
    if "time" in tables:
        memory = with_time_ratios(memory, tables["time"])
    return each_row(memory.sort_values("saved_share").dropna(subset="saved_share"))[-1]


def _saved(tables: Tables) -> str:
    best = _best(tables)
    bound = residuals(tables["memory"])["within_bound"]
    cost = f"{best['work_ratio']:.2f} times the work"
    if "time_ratio" in best:
        cost += f" and {best['time_ratio']:.2f} times the time"
    own, everything = (format_bytes(int(best[name])) for name in ("memray_peak_bytes", "store_all_peak_bytes"))
    return (
        f"Most is saved by {best['variant']} in [{best['layers']}] at batch {best['batch']:,}: a peak of {own} instead "
        f"of {everything}, for {cost}. {bound.sum()} of {len(bound)} measured peaks lie within the bound of their "
        "prediction."
    )


_ANSWERS: Mapping[tuple[str, ...], Callable[[Tables], Answer]] = {
    ("timeline",): _timeline,
    ("training",): _training,
    ("peers_memory",): _frameworks,
    ("memory",): _memory,
}
"""The first whose tables there are."""
