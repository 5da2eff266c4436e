"""`optimal` against the exhaustive oracle, its own bound, and every other schedule."""

import importlib
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from networks.chain import Chain
from networks.schedules import evicting, greedy, optimal, periodic, revolve, sqrt, store_all
from networks.schedules.optimal import smallest_budget, work_bound
from networks.schedules.replay import replay
from tests.slow.optimality import compare, random_chain
from tests.support.oracle import pareto_front

UNIFORM = Chain((64, *[32] * 24, 10), batch=128, itemsize=4)
APPLIED = Chain((64, *[32] * 9, 128, *[32] * 14, 10), batch=128, itemsize=4, deltas_pile_up=False)


def unequal_chain(seed: int, depth: int) -> Chain:
    widths = np.random.default_rng(seed).integers(1, 128, size=depth + 1)
    return Chain(tuple(int(width) for width in widths), batch=500, itemsize=4)


def answer(chain: Chain, budget_bytes: int):
    return replay(chain, optimal(budget_bytes=budget_bytes)(chain))


pile_up = pytest.mark.parametrize("deltas_pile_up", [True, False], ids=["backward", "train_step"])


@pile_up
@pytest.mark.parametrize("seed", range(0, 200, 2))
def test_no_way_to_run_a_short_chain_is_cheaper_at_any_budget_where_the_optimum_changes(seed, deltas_pile_up):
    assert all(not passed and ratio == 1 for passed, ratio, *_ in compare(seed, deltas_pile_up=deltas_pile_up))


@pytest.mark.parametrize("seed", [5132, 8998])
def test_only_computing_ahead_of_demand_is_cheaper(seed):
    """Before the parameter deltas pile up there may be room for an after that is asked for much later."""
    ratios = [(ratio, on_demand) for _, ratio, on_demand, _ in compare(seed)]
    assert any(ratio > 1 for ratio, _ in ratios)
    assert all(ratio == on_demand for ratio, on_demand in ratios)


@pile_up
@pytest.mark.parametrize("seed", range(40))
def test_the_smallest_budget_is_the_least_peak_of_any_way_to_run_the_chain(seed, deltas_pile_up):
    chain = random_chain(seed, deltas_pile_up=deltas_pile_up)
    assert smallest_budget(chain) == pareto_front(chain)[-1][0]


@pytest.mark.parametrize(
    ("chain", "places"),
    [
        *((chain, 300) for chain in (UNIFORM, APPLIED)),
        *((unequal_chain(seed, depth), 300) for seed, depth in ((1, 14), (2, 40), (3, 60))),
        *((chain, 5) for chain in (UNIFORM, unequal_chain(2, 40))),
    ],
)
def test_no_other_schedule_of_the_registry_beats_it_within_the_same_budget(chain, places, monkeypatch):
    """With few places for checkpoints, too, as chains of more than 300 layers have."""
    monkeypatch.setattr(importlib.import_module(optimal.__module__), "POSITIONS", places)
    least, most = smallest_budget(chain), replay(chain, store_all()(chain)).peak_bytes
    others = [sqrt(), *(periodic(n) for n in range(1, chain.depth)), *(revolve(slots=s) for s in range(1, chain.depth))]
    figures = [replay(chain, schedule(chain)) for schedule in others]
    for budget in np.linspace(least, most, 12).astype(int).tolist():
        best = answer(chain, budget)
        assert best.peak_bytes <= budget
        rivals = [figure.forward_flops for figure in figures if figure.peak_bytes <= budget]
        for factory in (greedy, evicting):
            try:
                rivals.append(replay(chain, factory(budget_bytes=budget)(chain)).forward_flops)
            except ValueError:
                continue  # it cannot serve so small a budget
        assert best.forward_flops <= min(rivals, default=np.inf)


@pytest.mark.parametrize("chain", [UNIFORM, APPLIED, unequal_chain(4, 50)])
def test_work_never_rises_with_the_budget_and_never_passes_below_its_bound(chain):
    least, most = smallest_budget(chain), replay(chain, store_all()(chain)).peak_bytes
    budgets = np.linspace(least, most, 25).astype(int).tolist()
    work = [answer(chain, budget).forward_flops for budget in budgets]
    assert work == sorted(work, reverse=True)
    assert work[-1] == sum(chain.forward_flops)
    assert all(work_bound(chain, budget) <= flops for budget, flops in zip(budgets, work, strict=True))


def test_with_equal_widths_units_are_exact_and_the_bound_is_met():
    budget = (smallest_budget(UNIFORM) + replay(UNIFORM, store_all()(UNIFORM)).peak_bytes) // 2
    assert work_bound(UNIFORM, budget) == answer(UNIFORM, budget).forward_flops


def test_among_schedules_of_least_work_the_peak_is_least():
    chain = random_chain(7)
    for budget, flops in pareto_front(chain):
        roomy = answer(chain, budget + budget // 50)
        if roomy.forward_flops == flops:
            assert roomy.peak_bytes <= budget * 1.005  # to within a unit


@pytest.mark.parametrize("chain", [UNIFORM, unequal_chain(5, 9)])
def test_a_budget_below_the_smallest_is_refused_with_the_smallest(chain):
    least = smallest_budget(chain)
    with pytest.raises(ValueError, match=rf"budget_bytes={least - 1} .* a schedule can meet is {least} bytes$"):
        optimal(budget_bytes=least - 1)(chain)
    assert answer(chain, least).peak_bytes == least


def test_the_smallest_budget_bounds_the_peak_where_rounded_units_find_no_plan():
    chain = Chain((184, 51, 138, 129, 15, 146, 125, 165, 95, 183, 169, 124, 21, 165), 33, 4, deltas_pile_up=False)
    assert answer(chain, smallest_budget(chain)).peak_bytes == smallest_budget(chain)


def test_a_chain_deeper_than_the_places_of_checkpoints_is_answered_within_its_budget():
    chain = unequal_chain(6, 400)
    budget = 2 * smallest_budget(chain)
    assert answer(chain, budget).peak_bytes <= budget
    with pytest.raises(ValueError, match="work is bounded for up to 300 layers, got 400"):
        work_bound(chain, budget)


def test_a_budget_without_room_for_anything_has_no_bound():
    with pytest.raises(ValueError, match="no schedule fits budget_bytes=1"):
        work_bound(Chain((4, 6, 3), 5, 4), 1)


@given(st.integers(0, 10_000), st.floats(0, 1))
@settings(max_examples=40)
def test_the_same_question_has_the_same_answer_in_any_order(seed, share):
    chain = random_chain(seed)
    least, most = smallest_budget(chain), replay(chain, store_all()(chain)).peak_bytes
    budget = least + int(share * (most - least))
    questions = []

    def record(cached, start, stop):
        kept = frozenset(first(cached, start, stop))
        questions.append((dict(cached), start, stop, kept))
        return kept

    first = optimal(budget_bytes=budget)(chain)
    replay(chain, record)
    again = optimal(budget_bytes=budget)(chain)
    for cached, start, stop, kept in reversed(questions):
        assert frozenset(again(cached, start, stop)) == kept


def test_what_was_solved_is_remembered_whatever_is_solved_besides():
    """Variants that are measured side by side bind in turn at every step, and time would be the solver's."""
    chain = random_chain(0)
    least = smallest_budget(chain)
    schedules = [optimal(budget_bytes=least + extra) for extra in range(9)]
    keeps = [schedule(chain) for schedule in schedules]
    assert all(schedule(chain) is keep for schedule, keep in zip(schedules, keeps, strict=True))


def test_a_schedule_that_lives_on_holds_its_answers_and_none_of_the_tables():
    chain = unequal_chain(2, 40)
    schedule = optimal(budget_bytes=smallest_budget(chain) * 2)
    tracemalloc.start()
    try:
        keep = schedule(chain)
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 200_000 < 10_000_000 < peak
    assert schedule(chain) is keep
    with pytest.raises(ValueError, match=r"optimal never asks for layers 8..9 with \[0, 7\] cached"):
        keep({0: 0, 7: 0}, 7, 9)
