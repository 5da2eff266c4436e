"""Ranks schedules by their work within each budget of each chain, over the optimum's. Pure, like `analysis`."""

import numpy as np
import pandas as pd

from harness.analysis.chains import name_chains
from harness.analysis.schedules import OPTIMAL, WITHIN_BUDGET, within_budgets
from harness.analysis.variants import name_variants
from harness.experiment.frameworks import STORE_ALL


def ranking(memory: pd.DataFrame) -> pd.DataFrame:
    """Rank the best of each kind of schedule within each budget: a row for each chain, budget and kind, best first.

    Budgets and candidates are those of `within_budgets`. Store-all recomputes nothing, so it is no candidate. New
    columns: `chain`, the name of the layers. `fits`, yes or no. `over_optimum`, the forward work over that of optimal.
    `place`, 1 for the best. A tie goes to optimal. A kind that does not fit has no `over_optimum`, `place` or variant.

    Raises:
        ValueError: the table has no optimal schedule.
    """
    fitting = within_budgets(memory)
    fitting = fitting[fitting["kind"] != STORE_ALL]
    least = fitting[fitting["kind"] == OPTIMAL].set_index(WITHIN_BUDGET)["forward_flops"].rename("least")
    fitting = fitting.join(least, on=WITHIN_BUDGET)
    fitting = fitting.assign(
        over_optimum=fitting["forward_flops"] / fitting["least"], place=fitting.groupby(WITHIN_BUDGET).cumcount() + 1
    )
    kinds = name_variants(memory[memory["step"] == "backward"])["kind"].cat.remove_unused_categories().cat.categories
    kinds = kinds.drop(STORE_ALL, errors="ignore")
    cases = fitting[[*WITHIN_BUDGET, "budget_ratio"]].drop_duplicates()
    cases = cases.merge(pd.DataFrame({"kind": list(kinds)}), how="cross")
    fitting = fitting.assign(kind=fitting["kind"].astype(str))
    told = ["variant", "predicted_peak_bytes", "forward_work_ratio", "over_optimum", "place"]
    table = cases.merge(fitting[[*WITHIN_BUDGET, "kind", *told]], on=[*WITHIN_BUDGET, "kind"], how="left")
    table = table.assign(
        chain=table["layers"].map(name_chains(table)),
        kind=pd.Categorical(table["kind"], categories=list(kinds), ordered=True),
        fits=np.where(table["place"].isna(), "no", "yes"),
        place=table["place"].astype("Int64"),
    )
    return table.sort_values([*WITHIN_BUDGET, "place", "kind"], na_position="last").reset_index(drop=True)


def means(table: pd.DataFrame) -> tuple[pd.Series, int]:
    """The geometric mean of each kind's `over_optimum` over the cases in which all kinds fit, and their number.

    A kind that fits in no case is left out. The means are missing if there is no such case.
    """
    cases = table.pivot(index=WITHIN_BUDGET, columns="kind", values="over_optimum")
    common = cases.dropna(axis="columns", how="all").dropna()
    return np.exp(np.log(common).mean()).sort_values(kind="stable"), len(common)
