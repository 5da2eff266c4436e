"""Rankings hold what the tables of memory say, and their means what can be worked out by hand."""

import numpy as np
import pandas as pd
import pytest

from harness.analysis.ranking import means, ranking
from harness.experiment.tables import RANKING
from tests.support.tables import grid, memory_table

EQUAL, NARROWING = "64x20,10", "64x10,32x10,10"
BUDGETS = (9_000_000, 12_000_000)


@pytest.fixture(scope="module")
def memory() -> pd.DataFrame:
    """Two chains whose work and peaks are told by hand."""
    schedules = ["revolve(slots=3)", *(f"optimal(budget_bytes={budget})" for budget in BUDGETS)]
    table = memory_table(grid([EQUAL, NARROWING], frequencies=(2,), schedules=schedules))
    for layers, periodic in ((EQUAL, 1.0), (NARROWING, 1.44)):
        rows = table["layers"] == layers
        whole = table.loc[rows, "forward_flops"].iloc[0]  # which no schedule goes below
        table.loc[rows, "forward_flops"] = [whole, int(periodic * whole), int(1.6 * whole), whole, whole]
        table.loc[rows, "predicted_peak_bytes"] = [99_000_000, 8_000_000, 11_000_000, 9_000_000, 12_000_000]
    return table


def test_each_kind_has_a_place_and_its_work_over_the_optimums(memory):
    table = ranking(memory)
    assert set(RANKING.names) <= set(table)
    assert len(table) == 2 * len(BUDGETS) * 3
    for layers, periodic in ((EQUAL, 1.0), (NARROWING, 1.44)):
        rows = table[table["layers"] == layers]
        told = rows[["budget_bytes", "kind", "fits"]].astype({"kind": str}).to_numpy().tolist()
        assert told == [
            [BUDGETS[0], "optimal", "yes"],  # of equals
            [BUDGETS[0], "periodic", "yes"],
            [BUDGETS[0], "revolve", "no"],
            [BUDGETS[1], "optimal", "yes"],
            [BUDGETS[1], "periodic", "yes"],
            [BUDGETS[1], "revolve", "yes"],
        ]
        assert rows["place"].fillna(0).tolist() == [1, 2, 0, 1, 2, 3]
        works = [1, periodic, np.nan, 1, periodic, 1.6]
        assert rows["over_optimum"].to_numpy() == pytest.approx(works, rel=1e-4, nan_ok=True)
    assert set(table["chain"]) == {"equal", "narrowing"}


def test_the_geometric_means_are_over_the_budgets_where_all_fit(memory):
    over, cases = means(ranking(memory))
    assert cases == 2
    assert over.to_dict() == pytest.approx({"optimal": 1, "periodic": 1.2, "revolve": 1.6}, rel=1e-4)
    low = ranking(memory[memory["schedule"] != f"optimal(budget_bytes={BUDGETS[1]})"])
    assert (low.loc[low["kind"] == "revolve", "fits"] == "no").all()
    over, cases = means(low)
    assert cases == 2  # revolve fits in no budget, so it has no mean
    assert set(over.index) == {"optimal", "periodic"}


def test_a_ranking_needs_budgets(memory):
    with pytest.raises(ValueError, match="no budget to compare within"):
        ranking(memory[memory["schedule"].isna()])
