"""Schedules: legal answers, what their budgets bound, what they cost, and gradients that none of them changes."""

import random
import re
from collections.abc import Callable, Collection, Mapping
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from networks import Network, NetworkWithCheckpointing, dry_run
from networks.chain import Chain
from networks.schedules import FACTORIES, Keep, Schedule, evicting, greedy, optimal, periodic, revolve, sqrt, store_all
from networks.schedules.evicting import HEURISTICS, evict
from networks.schedules.replay import replay
from networks.trace import STEPS
from tests.support.strategies import Configuration, configurations, layer_lists, random_data, whimsical

LAYERS = (5, 8, 8, 30, 4, 8, 8, 8, 16, 2, 9, 9, 3)
"""Twelve layers of unequal widths, with runs of equal ones where afters slide in place."""

BATCH = 300
BUDGET = 115_000
"""Bytes, between the least peak of `LAYERS` at this batch and store-all's."""

SCHEDULES = [
    store_all(),
    periodic(3),
    periodic(4, recompute="each"),
    sqrt(),
    greedy(budget_bytes=BUDGET),
    revolve(slots=1),
    revolve(slots=3),
    *(evicting(budget_bytes=BUDGET, heuristic=heuristic) for heuristic in HEURISTICS),
    optimal(budget_bytes=BUDGET),
    whimsical(1),
]


def named(schedule: Schedule) -> str:
    return schedule.__name__


def chains() -> st.SearchStrategy[Chain]:
    """Chains whose peaks the afters fill, and others where parameter deltas and workspace do."""
    return st.builds(
        Chain,
        layers=layer_lists(),
        batch=st.sampled_from([1, 40, 900]),
        itemsize=st.sampled_from([4, 8]),
        deltas_pile_up=st.booleans(),
    )


def peaks(chain: Chain) -> tuple[int, int]:
    """The peaks of a step that holds nothing but the input and of one that holds everything."""
    one_slot, everything = (replay(chain, schedule(chain)).peak_bytes for schedule in (revolve(slots=1), store_all()))
    return one_slot, everything


# All schedules


@pytest.mark.parametrize("schedule", SCHEDULES, ids=named)
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_gradients_equal_store_alls_to_the_bit(schedule: Schedule, activation: str):
    x, y = random_data(LAYERS, BATCH)
    expected = Network(LAYERS, activation=activation, seed=3)
    network = NetworkWithCheckpointing(LAYERS, schedule=schedule, activation=activation, seed=3)
    for _ in range(2):
        assert np.array_equal(network.forward(x), expected.forward(x))
        for deltas, expected_deltas in zip(network.backward(y), expected.backward(y), strict=True):
            for delta, expected_delta in zip(deltas, expected_deltas, strict=True):
                assert np.array_equal(delta, expected_delta)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=named)
def test_a_schedule_has_no_memory(schedule: Schedule):
    """What it did for other chains does not show, and the same question has the same answer."""

    def asked_twice(chain: Chain) -> Keep:
        keep, again = schedule(chain), schedule(chain)

        def both(cached: Mapping[int, int], start: int, stop: int) -> Collection[int]:
            answer = set(keep(cached, start, stop))
            assert set(again(dict(cached), start, stop)) == answer
            return answer

        return both

    first = dry_run(LAYERS, batch=BATCH, schedule=asked_twice)
    assert dry_run(LAYERS[:7], batch=BATCH // 2, schedule=asked_twice).forward_steps >= 6
    assert dry_run(LAYERS, batch=BATCH, schedule=asked_twice) == first


@given(configurations(), st.integers(0, 2**32), st.sampled_from(STEPS))
def test_a_replay_equals_the_dry_run(configuration: Configuration, seed: int, step: str):
    """For any schedule, also for one whose answers hang on when each after was used last."""

    def capricious(chain: Chain) -> Keep:
        def keep(cached: Mapping[int, int], start: int, stop: int) -> Collection[int]:
            choice = random.Random(f"{seed}: {sorted(cached.items())}")
            return [0, *(one for one in [*cached, *range(start + 1, stop + 1)] if one and choice.random() < 0.6)]

        return keep

    trace = dry_run(
        configuration.layers, batch=configuration.batch, dtype=configuration.dtype, schedule=capricious, step=step
    )
    expected = trace.peak_bytes, trace.forward_flops, trace.forward_steps
    assert replay(trace.chain, capricious(trace.chain))[:3] == expected


def test_the_registry_knows_every_factory_by_the_name_it_prints():
    """A schedule's name is the call that makes it."""
    of_registry = [schedule for schedule in SCHEDULES if re.match(r"\w+\(", named(schedule))]
    assert {named(schedule).partition("(")[0] for schedule in of_registry} == set(FACTORIES) - {"checkpoint_schedules"}
    for schedule in of_registry:
        assert named(eval(named(schedule), dict(FACTORIES))) == named(schedule)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "got checkpoint_frequency=None and schedule=None"),
        ({"checkpoint_frequency": 2, "schedule": sqrt()}, "got checkpoint_frequency=2 and schedule=sqrt()"),
        ({"schedule": sqrt(), "recompute": "each"}, "recompute='each' goes with checkpoint_frequency"),
        ({"schedule": 4}, "schedule must be a function of a chain, such as revolve(slots=4), got 4"),
    ],
)
def test_a_network_takes_a_frequency_or_a_schedule(options: dict[str, object], message: str):
    with pytest.raises(ValueError, match=re.escape(message)):
        NetworkWithCheckpointing([4, 8, 3], **options)
    if options:  # a dry run without any is store-all's
        with pytest.raises(ValueError, match=re.escape(message)):
            dry_run([4, 8, 3], batch=2, **options)


def test_a_budget_that_cannot_be_met_leaves_the_network_usable():
    x, y = random_data(LAYERS, 4)
    network = NetworkWithCheckpointing(LAYERS, schedule=greedy(budget_bytes=10))
    with pytest.raises(ValueError, match="budget_bytes=10 is too small"):
        network.forward(x)
    network.schedule = sqrt()
    network.forward(x)
    assert len(network.backward(y)) == 12


# Store-all and the square root


@given(chains())
def test_store_all_is_the_traditional_network(chain: Chain):
    dtype = {4: "float32", 8: "float64"}[chain.itemsize]
    step = {True: "backward", False: "train_step"}[chain.deltas_pile_up]
    traditional = dry_run(chain.layers, batch=chain.batch, dtype=dtype, step=step)
    assert dry_run(chain.layers, batch=chain.batch, dtype=dtype, schedule=store_all(), step=step) == traditional


@pytest.mark.parametrize(("depth", "frequency"), [(1, 1), (2, 1), (3, 2), (9, 3), (25, 5), (31, 6), (64, 8)])
def test_sqrt_is_periodic_in_the_rounded_root(depth: int, frequency: int):
    layers = [8] * (depth + 1)
    expected = dry_run(layers, batch=4, schedule=periodic(frequency))
    assert dry_run(layers, batch=4, schedule=sqrt()) == expected


# Greedy


def algorithm_3(layers: Collection[int], b: int) -> list[int]:
    """Chen et al. 2016, algorithm 3, on widths instead of bytes: the positions it keeps for a `b`."""
    kept, temp = [], 0
    for position, width in enumerate(layers[1:-1], start=1):
        temp += width
        if temp > b:
            kept.append(position)
            temp = 0
    return kept


def keeping(positions: Collection[int]) -> Schedule:
    """Checkpoints at these positions; a segment that is recomputed is kept."""

    def schedule(chain: Chain) -> Keep:
        def keep(cached: Mapping[int, int], start: int, stop: int) -> Collection[int]:
            return {0, *positions} if stop == chain.depth else {*cached, *range(start + 1, stop + 1)}

        return keep

    return schedule


def test_greedy_keeps_what_the_paper_keeps():
    """Widths 4 4 9 1 8 1 1. With b = 17 the sum passes it at 18 (position 4), with b = 9 at 17 and 10 (3 and 6), with
    b = 4 at 8, 9 and 9 (2, 3 and 5). Each of these plans needs more bytes and less work than the one before.
    """
    layers = (2, 4, 4, 9, 1, 8, 1, 1, 2)
    plans = []
    for b, positions in ((17, [4]), (9, [3, 6]), (4, [2, 3, 5])):
        assert algorithm_3(layers, b) == positions
        plans.append(dry_run(layers, batch=1000, schedule=keeping(positions)))
        assert dry_run(layers, batch=1000, schedule=greedy(budget_bytes=plans[-1].peak_bytes)) == plans[-1]
    for plan, next_plan in pairwise(plans):
        assert dry_run(layers, batch=1000, schedule=greedy(budget_bytes=next_plan.peak_bytes - 1)) == plan
    with pytest.raises(ValueError, match=f"smallest budget they can meet is {plans[0].peak_bytes} bytes$"):
        dry_run(layers, batch=1000, schedule=greedy(budget_bytes=plans[0].peak_bytes - 1))


@given(chains(), st.floats(0, 1))
def test_greedy_does_the_least_work_of_every_b_within_the_budget(chain: Chain, generosity: float):
    costs = [replay(chain, keeping(algorithm_3(chain.layers, b))(chain)) for b in range(sum(chain.layers) + 1)]
    smallest, largest = min(cost.peak_bytes for cost in costs), max(cost.peak_bytes for cost in costs)
    budget = smallest + round(generosity * (largest - smallest))

    cost = replay(chain, greedy(budget_bytes=budget)(chain))
    assert cost.peak_bytes <= budget
    assert cost.forward_flops == min(cost.forward_flops for cost in costs if cost.peak_bytes <= budget)
    with pytest.raises(ValueError, match=f"budget_bytes={smallest - 1} is too small .* can meet is {smallest} bytes$"):
        greedy(budget_bytes=smallest - 1)(chain)


# Eviction


def neighbourhood(chain: Chain, held: Collection[int], position: int, frontier: int) -> int:
    """Work of an after with the evicted runs right below and right above it, up to the last one computed."""
    flops = chain.forward_flops[position]
    for step in (-1, 1):
        neighbour = position + step
        while neighbour not in held and neighbour <= frontier:
            flops += chain.forward_flops[neighbour]
            neighbour += step
    return flops


VALUES = {
    "dtr": lambda work, nbytes, staleness: work / (nbytes * staleness) if staleness else float("inf"),
    "lru": lambda work, nbytes, staleness: 1 / staleness if staleness else float("inf"),
    "largest": lambda work, nbytes, staleness: 1 / nbytes,
}


class OnlineStep:
    """DTR as its paper runs it: evicts in the moment of each allocation and never looks ahead."""

    def __init__(self, chain: Chain, budget: int, heuristic: str):
        self.chain, self.budget, self.value = chain, budget, VALUES[heuristic]
        self.last_used = {0: 0}
        self.flops = 0
        self.over_budget = False

    def run(self) -> "OnlineStep":
        self.compute(self.chain.depth, beside=self.chain.recompute_bytes[self.chain.depth])
        for layer in range(self.chain.depth, 0, -1):
            if layer - 1 not in self.last_used:
                self.compute(layer - 1, beside=self.chain.recompute_bytes[layer])
            self.make_room(self.chain.serve_bytes[layer], pinned=layer - 1, frontier=layer - 1)
            del self.last_used[layer - 1]
        return self

    def compute(self, stop: int, beside: int) -> None:
        start = max(position for position in self.last_used if position <= stop)
        self.last_used[start] = self.flops
        for number in range(start + 1, stop + 1):
            pinned = None if self.chain.slides[number] else number - 1
            self.make_room(beside + self.chain.after_bytes[number], pinned=pinned, frontier=number - 1)
            self.flops += self.chain.forward_flops[number]
            if number < self.chain.depth:
                self.last_used[number] = self.flops

    def make_room(self, others: int, pinned: int | None, frontier: int) -> None:
        while others + sum(self.chain.after_bytes[position] for position in self.last_used) > self.budget:
            worth = {
                position: self.value(
                    neighbourhood(self.chain, self.last_used, position, frontier),
                    self.chain.after_bytes[position],
                    self.flops - used,
                )
                for position, used in self.last_used.items()
                if position not in (0, pinned)
            }
            if not worth:
                self.over_budget = True
                return
            del self.last_used[min(sorted(worth), key=worth.get)]


@pytest.mark.parametrize("heuristic", HEURISTICS)
@given(chain=chains(), tightness=st.floats(0, 1))
def test_eviction_is_dtrs_and_never_passes_the_budget(heuristic: str, chain: Chain, tightness: float):
    """Asked once a stretch, the schedule recomputes exactly what evicting in the moment of need recomputes."""
    one_slot, everything = peaks(chain)
    budget = round(everything - tightness * (everything - one_slot) * 1.05)
    online = OnlineStep(chain, budget, heuristic).run()
    if online.over_budget:
        with pytest.raises(ValueError, match=f"budget_bytes={budget} is too small .* it can meet") as caught:
            evicting(budget_bytes=budget, heuristic=heuristic)(chain)
        budget = int(str(caught.value).removesuffix(" bytes").rpartition(" ")[2])
        online = OnlineStep(chain, budget, heuristic).run()
    cost = replay(chain, evicting(budget_bytes=budget, heuristic=heuristic)(chain))
    assert cost.peak_bytes <= budget
    assert cost.forward_flops == online.flops
    assert not online.over_budget


@pytest.mark.parametrize("heuristic", HEURISTICS)
@given(
    runs=st.lists(st.tuples(st.sampled_from([3, 4, 16]), st.integers(1, 14)), min_size=1, max_size=3),
    piling_up=st.booleans(),
    tightness=st.floats(0, 1),
)
def test_eviction_along_layers_of_one_width_is_dtrs_layer_by_layer(
    heuristic: str, runs: list[tuple[int, int]], piling_up: bool, tightness: float
):
    layers = (5, *(width for width, times in runs for _ in range(times)), 2)
    chain = Chain(layers, 900, 4, deltas_pile_up=piling_up)
    one_slot, everything = peaks(chain)
    budget = round(everything - tightness * (everything - one_slot))
    online = OnlineStep(chain, budget, heuristic).run()
    cost = replay(chain, evict(chain, budget, HEURISTICS[heuristic]))
    assert (cost.peak_bytes > budget) == online.over_budget
    if not online.over_budget:
        assert cost.forward_flops == online.flops


@pytest.mark.parametrize(("heuristic", "evicted"), [("dtr", 2), ("lru", 1), ("largest", 4)])
def test_each_heuristic_gives_up_another_after(heuristic: str, evicted: int):
    """By hand: all but one of afters 1..5 fit when backward begins with layer 6, which reads after[5].

    For each row layers 1..6 take 80, 12, 18, 48, 16 and 4 flops, so afters 1..4 were used 98, 86, 68 and 20 flops ago.
    They have 2, 3, 3 and 8 values: DTR weighs 80 / (2 * 98), 12 / (3 * 86), 18 / (3 * 68) and 48 / (8 * 20).
    """
    chain = Chain((20, 2, 3, 3, 8, 1, 2), batch=1000, itemsize=4)
    _, everything = peaks(chain)
    keep = evicting(budget_bytes=everything - 1, heuristic=heuristic)(chain)
    assert set(range(1, 6)) - set(keep({0: 0}, 0, 6)) == {evicted}


@pytest.mark.parametrize("heuristic", ["DTR", "", None, 1, ["lru"]])
def test_a_heuristic_has_one_of_three_names(heuristic: object):
    with pytest.raises(ValueError, match=re.escape(f"heuristic must be one of dtr, lru, largest, got {heuristic!r}")):
        evicting(budget_bytes=1000, heuristic=heuristic)


@pytest.mark.parametrize("factory", [greedy, evicting])
@pytest.mark.parametrize("budget", [0, -1, 2.5, "24MiB", True])
def test_a_budget_is_a_number_of_bytes(factory: Callable[..., Schedule], budget: object):
    with pytest.raises(ValueError, match=re.escape(f"budget_bytes must be an integer of at least 1, got {budget!r}")):
        factory(budget_bytes=budget)
