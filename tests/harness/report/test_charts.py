"""Each chart has the numbers of its tables, in the units that its axes tell."""

import pytest

from harness.report.charts import charts
from harness.report.findings import finding
from tests.support.tables import framework_tables, grid, memory_table, model_tables


@pytest.fixture(scope="module")
def drawn():
    sets = {
        "growth": {"memory": memory_table(grid([f"64x{depth},10" for depth in (8, 16)], frequencies=(2, 4)))},
        "where": {"memory": memory_table(grid(["64,32x8,10", "64,256x8,10"], batches=(16, 1024), frequencies=(3,)))},
        "peers": framework_tables(),
        "own": model_tables(),
    }
    return sets, {chart.name: chart for chart in charts(sets)}


def rows(chart) -> list[dict]:
    """The rows within a chart, those of all of its layers."""
    return [row for dataset in chart.spec["datasets"].values() for row in dataset]


def test_there_is_every_chart(drawn):
    names = {"where-it-saves", "fills-the-peak", "resident", "frameworks", "own-models", "predicted", "growth"}
    assert drawn[1].keys() == names
    for chart in drawn[1].values():
        assert rows(chart)
        assert "$schema" not in chart.spec
        assert len(chart.words) > 40


def test_where_it_saves_has_the_share_of_each_setting(drawn):
    sets, named = drawn
    memory = sets["where"]["memory"].set_index(["width", "batch", "network"])["memray_peak_bytes"]
    for row in rows(named["where-it-saves"]):
        own, whole = (memory[row["width"], row["batch"], name] for name in ("NetworkWithCheckpointing", "Network"))
        assert row["share"] == pytest.approx(1 - own / whole)


def test_own_models_has_every_timed_cell(drawn):
    sets, named = drawn
    memory, time = (sets["own"][name] for name in ("models_memory", "models_time"))
    shown = rows(named["own-models"])
    assert len(shown) == time["cell_id"].nunique()
    peaks = memory[memory["cell_id"].isin(time["cell_id"])]["peak_bytes"] / 2**20
    assert sorted(row["peak_mib"] for row in shown) == pytest.approx(sorted(peaks))


def test_own_models_are_answered(drawn):
    memory = drawn[0]["own"]["models_memory"]
    budgets = int(memory["budget_bytes"].notna().sum())  # each made to take 0.998 of its budget
    assert finding(drawn[0]["own"], []).number == f"{budgets} of {budgets}"


def test_the_stacks_of_a_peak_add_up_to_it(drawn):
    sets, named = drawn
    sums = {}
    for row in rows(named["fills-the-peak"]):
        if row["network"].startswith("where"):
            key = row["network"], row["variant"]
            sums[key] = sums.get(key, 0) + row["mib"]
    assert sorted(sums.values()) == pytest.approx(sorted(sets["where"]["memory"]["tracker_peak_bytes"] / 2**20))
