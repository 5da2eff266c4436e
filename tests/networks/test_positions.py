"""Positions told by what changes: the same sets, and no copy of what stays."""

from collections.abc import Callable
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from networks import NetworkWithCheckpointing, dry_run
from networks.chain import Chain
from networks.positions import CountedCache, Positions
from networks.schedules import Schedule, evicting, greedy, optimal, periodic, revolve, sqrt
from networks.schedules.replay import replay
from tests.support.strategies import random_data

SMALL = st.sets(st.integers(0, 12))
LAYERS = [6, 9, 9, 9, 4, 9, 9, 9, 9, 9, 5, 3]
BUDGET = 20_000


@given(SMALL, st.lists(st.tuples(st.booleans(), SMALL), max_size=4))
def test_positions_are_the_set_that_a_dicts_keys_would_make(cached: set[int], changes: list[tuple[bool, set[int]]]):
    told, expected = Positions(dict.fromkeys(cached).keys()), dict.fromkeys(cached).keys()
    for adds, positions in changes:
        told = told | positions if adds else told - positions
        expected = expected | positions if adds else expected - positions
    assert set(told) == expected
    assert told == expected
    assert len(told) == len(expected)
    assert [position in told for position in range(14)] == [position in expected for position in range(14)]
    assert told & {1, 2, 3} == expected & {1, 2, 3}
    assert {1, 2} | told == {1, 2} | expected
    assert told.added.isdisjoint(cached)
    assert told.dropped <= cached


@given(st.lists(st.integers(1, 9), unique=True), st.data())
def test_the_nearest_is_the_highest_that_is_left(positions: list[int], data: st.DataObject):
    cache = CountedCache("input", 10)
    for position in sorted(positions):
        cache.put(position, "after", 0)
    left = sorted(positions)
    while left:
        cache.take(left.pop(data.draw(st.integers(0, len(left) - 1))))
        assert cache.nearest(10) == max(left, default=0)


@pytest.mark.parametrize(
    "schedule",
    [
        periodic(2),
        periodic(3, recompute="each"),
        sqrt(),
        greedy(budget_bytes=BUDGET),
        revolve(slots=3),
        *(evicting(budget_bytes=BUDGET, heuristic=heuristic) for heuristic in ("dtr", "lru", "largest")),
        optimal(budget_bytes=BUDGET),
    ],
    ids=lambda schedule: schedule.__name__,
)
def test_a_dry_run_is_the_networks_step_event_by_event(schedule: Schedule):
    x, y = random_data(LAYERS, 60)
    network = NetworkWithCheckpointing(LAYERS, schedule=schedule)
    network.forward(x)
    network.backward(y)
    trace = dry_run(LAYERS, batch=60, schedule=schedule)
    assert {field.name: getattr(network.tracker, field.name) for field in fields(trace)} == vars(trace)


@pytest.mark.parametrize("schedule", [periodic(2), periodic(5, recompute="each"), sqrt(), greedy(budget_bytes=262_016)])
@pytest.mark.parametrize("count", [replay, dry_run])
def test_counting_never_walks_over_what_stays_cached(monkeypatch, count: Callable, schedule: Schedule):
    """Which would take the square of the depth."""
    monkeypatch.setattr(Positions, "__iter__", None)
    chain = Chain((8,) * 400, 40, 4)
    if count is replay:
        steps = replay(chain, schedule(chain)).forward_steps
    else:
        steps = dry_run(chain.layers, batch=chain.batch, schedule=schedule).forward_steps
    assert steps > chain.depth


def test_an_answer_told_by_changes_is_checked_as_any_other():
    def strange(added: set[int], dropped: set[int]) -> Schedule:
        return lambda chain: lambda cached, start, stop: (cached.keys() - dropped) | added

    for schedule, fault in (
        (strange({77}, set()), r"holds \[77\], neither"),
        (strange(set(), {0}), "drops 0, the input"),
    ):
        with pytest.raises(ValueError, match=fault):
            dry_run(LAYERS, batch=5, schedule=schedule)
