"""The finding of each experiment's tables: a number, and a sentence around it."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from harness.analysis import frameworks, models
from harness.analysis.baseline import is_comparable
from harness.analysis.each_row import each_row
from harness.analysis.memory import residuals, savings, work_ratios
from harness.analysis.schedules import winners
from harness.analysis.time import with_time_ratios
from harness.analysis.training import accuracy_summary
from harness.analysis.variants import STORE_ALL_NETWORK, name_variants
from harness.experiment.frameworks import OWN
from harness.report.drawn import Tables
from harness.sizes import format_bytes
from networks.planning.bill import SAVES_LITTLE


@dataclass(frozen=True)
class Finding:
    """What an experiment finds: its number, the number's meaning, and a sentence."""

    number: str
    meaning: str
    sentence: str


def finding(tables: Tables, figures: Iterable[str]) -> Finding:
    """What the finished cells of one experiment show. Its figures and tables tell the question."""
    for wanted, told in _FINDINGS.items():
        if wanted in {*figures, *tables} and (wanted in tables or "memory" in tables):
            if told in _COMPARING and not is_comparable(tables["memory"]):
                continue
            return told(tables)
    return Finding(
        f"{sum(map(len, tables.values())):,}", "rows", f"There are tables of {', '.join(tables) or 'nothing'}."
    )


def _timeline(tables: Tables) -> Finding:
    timeline = tables["timeline"]
    apart = int((timeline["memray_live_bytes"] - timeline["live_bytes"]).abs().max())
    return Finding(
        format_bytes(apart),
        "largest difference between the tracker and memray at any event",
        f"There are {len(timeline):,} events in {timeline['cell_id'].nunique()} steps. At each event the tracker's "
        f"live bytes differ from memray's by at most {format_bytes(apart)}.",
    )


def _training(tables: Tables) -> Finding:
    summary = accuracy_summary(tables["training"])
    difference = summary["largest_difference"].max()
    best = summary["test_accuracy"].max()
    return Finding(
        f"{difference:.3g}",
        "largest difference from store-all in any loss or accuracy",
        f"Over {summary['epochs'].max()} epochs and {summary['seeds'].max()} seeds, every loss and accuracy of a "
        f"checkpointed training is within {difference:.3g} of store-all's. The best mean accuracy is "
        f"{best:.1%}.",
    )


def _frameworks(tables: Tables) -> Finding:
    memory = frameworks.peers_savings(tables["peers_memory"])
    cases = memory.groupby(frameworks.WORKLOAD, sort=False)
    best = memory.loc[[rows["memray_peak_bytes"].astype("float64").idxmin() for _, rows in cases]]
    ours = int((best["framework"] == OWN).sum())
    each = "; ".join(
        f"{row['name']} with {format_bytes(int(row['memray_peak_bytes']))} in [{row['layers']}]"
        for row in best.to_dict("records")
    )
    return Finding(f"{ours} of {len(best)}", "networks whose smallest peak is ours", f"The smallest peaks: {each}.")


def _schedules(tables: Tables) -> Finding:
    best = winners(tables["memory"], tables.get("time"))
    optimal = best[best["kind"] == "optimal"]
    more = (optimal["runner_up_work_ratio"] / optimal["forward_work_ratio"] - 1).max()
    return Finding(
        f"{len(optimal)} of {len(best)}",
        "budgets within which optimal does the least work",
        f"The budgets are of {best['layers'].nunique()} networks. The best schedule of another kind does up to "
        f"{more:.0%} more forward work. {_saved(tables)}",
    )


def _growth(tables: Tables) -> Finding:
    memory = name_variants(tables["memory"])
    low, high = int(memory["depth"].min()), int(memory["depth"].max())
    peaks = [
        memory[memory["depth"] == depth].groupby("kind", observed=True)["memray_peak_bytes"].min().astype("float64")
        for depth in (low, high)
    ]
    growing = (peaks[1] / peaks[0]).sort_values(ascending=False)
    each = ", ".join(f"{kind} {factor:.1f}" for kind, factor in growing.items())
    return Finding(
        f"{growing.iloc[-1]:.1f} times",
        f"growth of the peak with {growing.index[-1]}, while the depth grows {high / low:.0f} times",
        f"From {low} to {high} layers the peaks grow by these factors: {each}. {_saved(tables)}",
    )


def _where(tables: Tables) -> Finding:
    table = savings(name_variants(tables["memory"]))
    plain = table[(table["step"] == "backward") & (table["network"] != STORE_ALL_NETWORK)]
    vain = int((plain["saved_share"] < SAVES_LITTLE).sum())
    return Finding(
        f"{vain} of {len(plain)}",
        f"settings where a schedule saves less than {SAVES_LITTLE:.0%}",
        f"In these settings weight gradients fill the peak, or the batch is small. {_saved(tables)}",
    )


def _memory(tables: Tables) -> Finding:
    best = _best(tables)
    return Finding(f"{best['saved_share']:.0%}", "of store-all's peak saved at most", _saved(tables))


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
    network = f"{best['chain']} [{best['layers']}]".strip()
    own, everything = (format_bytes(int(best[name])) for name in ("memray_peak_bytes", "store_all_peak_bytes"))
    return (
        f"The largest saving is by {best['variant']} in {network} at batch {best['batch']:,}: the peak is {own} "
        f"instead of {everything}, and the cost is {cost}. {bound.sum()} of {len(bound)} measured peaks lie within the "
        "bound of their prediction."
    )


def _models(tables: Tables) -> Finding:
    planned = models.planned(tables["models_memory"])
    within = int((planned["spare_share"] >= 0).sum())
    return Finding(
        f"{within} of {len(planned)}",
        "planned steps whose measured peak is within the budget",
        f"{planned['name'].nunique()} PyTorch models are trained by plans within budgets. The tightest plan leaves "
        f"{planned['spare_share'].min():.2%} of its budget.",
    )


_FINDINGS: Mapping[str, Callable[[Tables], Finding]] = {
    "timeline": _timeline,
    "training": _training,
    "peers_memory": _frameworks,
    "models_memory": _models,
    "growth": _growth,
    "where_it_saves": _where,
    "winners": _schedules,
    "memory": _memory,
}
"""What is shown, by a figure or a table. The first one that an experiment has is used."""
_COMPARING = (_growth, _where, _schedules, _memory)
"""Those that compare with store-all."""
