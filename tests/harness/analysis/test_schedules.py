"""Claims about schedules against each other, each against the exhaustive oracle, closed forms or hand-made tables."""

import math

import pandas as pd
import pytest

from harness.analysis import schedules as comparison
from networks import dry_run
from networks.layer_lists import parse_layers
from networks.schedules import evicting as evicting_of
from networks.schedules import revolve_forward_steps, sqrt
from tests.support.oracle import pareto_front
from tests.support.tables import grid, memory_table, time_table

UNEQUAL = "5,40,8,24,8,32,3"
DEEP = "64x20,10"


@pytest.fixture(scope="module")
def growing() -> pd.DataFrame:
    """Growth of a network that is measured in three depths, beside others that are not."""
    uniform = grid(
        [f"32x{depth},10" for depth in (4, 9, 16)], frequencies=(3,), schedules=["sqrt()", "revolve(slots=4)"]
    )
    others = grid(["32x12,10", UNEQUAL], batches=(64,), frequencies=(2,))
    return comparison.growth(memory_table(uniform + others)).set_index(["kind", "depth"])


# The optimal curve


def test_the_optimal_curve_is_the_least_work_there_is():
    memory = memory_table(grid([UNEQUAL], batches=(50,), schedules=["revolve(slots=2)", "revolve(slots=3)", "sqrt()"]))
    everything = memory.query("network == 'Network'").iloc[0]
    front = pareto_front(grid([UNEQUAL], batches=(50,))[0].chain)
    peaks = sorted(set(memory["predicted_peak_bytes"]))
    least = [min(flops for peak, flops in front if peak <= budget) for budget in peaks]
    curve = comparison.optimal_curve(memory)
    assert curve["forward_flops"].tolist() == least
    assert (curve["peak_ratio"] * everything["predicted_peak_bytes"] <= peaks).all()
    assert curve["forward_work_ratio"].tolist() == pytest.approx(
        [flops / everything["forward_flops"] for flops in least]
    )


def test_where_no_cell_has_the_bytes_of_a_backward_there_is_no_curve():
    memory = memory_table(grid([UNEQUAL], batches=(50,))).assign(predicted_peak_bytes=1)
    assert comparison.optimal_curve(memory).empty


def test_each_network_has_a_curve_of_its_own():
    cells = grid([DEEP, UNEQUAL], batches=(50, 4096), frequencies=(2, 4))
    curve = comparison.optimal_curve(memory_table(cells))
    assert curve.groupby(["layers", "batch"]).ngroups == 4
    assert (curve.groupby(["layers", "batch"])["forward_work_ratio"].min() == 1).all()


def test_no_cell_is_below_the_optimal_curve():
    memory = memory_table(grid([DEEP], schedules=[f"revolve(slots={slots})" for slots in (3, 5, 8)]))
    curve = comparison.optimal_curve(memory)
    store_all = memory["predicted_peak_bytes"].max()
    for _, cell in memory.iterrows():
        within = curve[(curve["peak_ratio"] * store_all).round() <= cell["predicted_peak_bytes"]]
        assert within["forward_flops"].min() <= cell["forward_flops"]


# Who wins

BUDGETS = (4_000_000, 8_000_000)
CELLS = {  # variant: (forward_flops, predicted_peak_bytes)
    "store-all": (100, 8_000_000),
    "n = 2": (150, 6_000_000),
    "n = 3": (170, 3_600_000),
    "n = 4": (170, 3_200_000),
    "revolve(slots=2)": (250, 2_800_000),
    "sqrt()": (150, 8_000_001),
    f"optimal(budget_bytes={BUDGETS[0]})": (160, 4_000_000),
    f"optimal(budget_bytes={BUDGETS[1]})": (100, 7_600_000),
}


@pytest.fixture
def memory() -> pd.DataFrame:
    cells = grid([DEEP], frequencies=(2, 3, 4), schedules=[text for text in CELLS if "(" in text])
    flops, peaks = zip(*CELLS.values(), strict=True)
    return memory_table(cells).assign(forward_flops=flops, predicted_peak_bytes=peaks)


def test_the_best_of_each_kind_within_each_budget(memory: pd.DataFrame):
    best = comparison.within_budgets(memory)
    found = {
        budget: dict(zip(rows["kind"], rows["variant"], strict=True)) for budget, rows in best.groupby("budget_bytes")
    }
    assert found == {
        4_000_000: {"optimal": "optimal, 4 MB", "periodic": "n = 4", "revolve": "revolve, 2 slots"},
        8_000_000: {
            "optimal": "optimal, 8 MB",
            "store-all": "store-all",
            "periodic": "n = 2",
            "revolve": "revolve, 2 slots",
        },
    }


def test_no_kind_is_judged_by_the_budgets_it_was_measured_with():
    texts = ["evicting(budget_bytes=8_000_000, heuristic='lru')", *(f"optimal(budget_bytes={b})" for b in BUDGETS)]
    best = comparison.within_budgets(memory_table(grid([DEEP], frequencies=(), schedules=texts)))
    evicting = best[best["kind"] == "evicting lru"].set_index("budget_bytes")
    for budget in BUDGETS:
        step = dry_run(parse_layers(DEEP), batch=4096, schedule=evicting_of(budget_bytes=budget, heuristic="lru"))
        assert evicting["forward_flops"][budget] == step.forward_flops
        assert evicting["predicted_peak_bytes"][budget] == step.peak_bytes <= budget
    assert evicting["memray_peak_bytes"].isna().tolist() == [True, False]


def test_of_equals_the_one_that_was_measured_wins():
    """With the bytes of store-all evicting does its work, and so does optimal, which was measured with them."""
    budget = int(memory_table(grid([DEEP], frequencies=()))["predicted_peak_bytes"].item())
    texts = ["evicting(budget_bytes=8_000_000, heuristic='lru')", f"optimal(budget_bytes={budget})"]
    cells = grid([DEEP], frequencies=(), schedules=texts)
    best = comparison.within_budgets(memory_table(cells[1:]))  # without store-all
    assert best["kind"].tolist() == ["optimal", "evicting lru"]
    assert best["forward_work_ratio"].tolist() == [1, 1]
    assert best["memray_peak_bytes"].isna().tolist() == [False, True]


def test_a_budget_that_follows_from_another_schedule_is_one_of_those_compared():
    """The bytes that sqrt takes: of the kinds with a budget only the derived one was measured with it."""
    texts = ["optimal(budget_of='sqrt()')", "greedy(budget_of='store_all()*0.9')", "sqrt()"]
    best = comparison.within_budgets(memory_table(grid([DEEP], frequencies=(), schedules=texts)))
    assert set(best["budget_bytes"]) == {dry_run(parse_layers(DEEP), batch=4096, schedule=sqrt()).peak_bytes}
    measured = best.set_index("kind")["memray_peak_bytes"].notna()
    assert measured.to_dict() == {"optimal": True, "sqrt": True, "greedy": False}


def test_a_kind_that_cannot_meet_a_budget_is_not_there():
    texts = ["greedy(budget_bytes=8_000_000)", "optimal(budget_bytes=3_000_000)"]
    best = comparison.within_budgets(memory_table(grid([DEEP], frequencies=(), schedules=texts)))
    assert best["kind"].tolist() == ["optimal"]


def test_winners_and_those_next_to_them(memory: pd.DataFrame):
    won = comparison.winners(memory)
    assert won["budget_bytes"].tolist() == list(BUDGETS)
    assert won["variant"].tolist() == ["optimal, 4 MB", "optimal, 8 MB"]
    assert won["runner_up"].tolist() == [
        "n = 4",
        "store-all",
    ]  # which does the same work as the winner, with more bytes
    assert (won["runner_up_work_ratio"] / won["forward_work_ratio"]).tolist() == pytest.approx([170 / 160, 1])


def test_a_budget_is_compared_with_what_store_all_takes(memory: pd.DataFrame):
    store_all = memory_table(grid([DEEP], frequencies=()))["predicted_peak_bytes"].item()
    ratios = comparison.within_budgets(memory).drop_duplicates("budget_bytes")["budget_ratio"]
    assert ratios.tolist() == pytest.approx([budget / store_all for budget in BUDGETS])


def test_a_winner_has_its_time_where_it_was_timed(memory: pd.DataFrame):
    times = time_table(grid([DEEP], frequencies=(), schedules=[f"optimal(budget_bytes={BUDGETS[1]})", "sqrt()"]))
    times["step_seconds"] = times["schedule"].map(lambda text: 1.5 if str(text).startswith("optimal") else 1.0)
    won = comparison.winners(memory, times)
    assert won["time_ratio"].isna().tolist() == [True, False]
    assert won["time_ratio"].iloc[1] == 1.5


def test_without_budgets_there_is_nothing_to_win():
    with pytest.raises(ValueError, match=r"no budget to compare within: add a schedule such as optimal\(budget_bytes="):
        comparison.within_budgets(memory_table(grid([DEEP], schedules=["greedy(budget_bytes=9_000_000)"])))


# Growth


def test_what_is_held_grows_as_the_papers_say(growing: pd.DataFrame):
    held = growing["peak_cached_layers"]
    for depth in (16, 64, 256, 1000):
        assert held["store-all", depth] == depth - 1
        assert held["sqrt", depth] <= 2 * math.sqrt(depth) + 1
        assert held["revolve", depth] <= math.ceil(math.log2(depth)) - 1  # the input, which has a slot, is not cached


def test_the_work_of_revolve_is_the_closed_form(growing: pd.DataFrame):
    for depth, steps in growing.loc["revolve", "forward_steps"].items():
        assert steps == revolve_forward_steps(depth, math.ceil(math.log2(depth)))


def test_sqrt_runs_no_layer_more_than_twice(growing: pd.DataFrame):
    assert growing.loc["store-all", "forward_work_ratio"].tolist() == [1] * 10
    assert growing.loc["sqrt", "forward_work_ratio"].between(1, 2).all()


def test_growth_goes_to_a_thousand_layers_and_optimal_to_what_is_measured(growing: pd.DataFrame):
    for kind in ("store-all", "sqrt", "revolve"):
        assert growing.loc[kind].index.tolist() == [4, 8, 9, 16, 32, 64, 128, 256, 512, 1000]
    assert growing.loc["optimal"].index.tolist() == [4, 9, 16]


def test_optimal_needs_no_more_bytes_than_revolve_nor_more_work(growing: pd.DataFrame):
    optimal, revolve = growing.loc["optimal"], growing.loc["revolve"]
    for depth in optimal.index:
        assert optimal["predicted_peak_bytes"][depth] <= revolve["predicted_peak_bytes"][depth]
        assert optimal["forward_flops"][depth] <= revolve["forward_flops"][depth]
        assert optimal["floor_bytes"][depth] <= optimal["predicted_peak_bytes"][depth]


def test_measured_peaks_stand_where_a_cell_did_the_same_step(growing: pd.DataFrame):
    measured = growing["memray_peak_bytes"].dropna()
    assert set(measured.loc["store-all"].index) == {4, 9, 16}
    assert set(measured.loc["sqrt"].index) == {4, 9, 16}
    assert set(measured.loc["revolve"].index) >= {9, 16}  # 4 slots of 4 layers are store-all, of 9 and 16 log2 of them
    assert (measured > growing.loc[measured.index, "predicted_peak_bytes"]).all()


def test_growth_needs_a_network_of_equal_layers():
    with pytest.raises(ValueError, match=r"no network of equal hidden layers, such as 64,128x32,10"):
        comparison.growth(memory_table(grid([UNEQUAL, "64,10"], frequencies=(2,))))


def test_the_layers_of_growth_are_those_of_the_table(growing: pd.DataFrame):
    assert parse_layers(growing.loc[("sqrt", 9), "layers"]) == (*[32] * 9, 10)
    assert set(growing["batch"]) == {4096}
