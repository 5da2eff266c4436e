"""Networks and plans can be copied and pickled: the copy does the same, bit for bit, and shares no step."""

import copy
import pickle
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context

import numpy as np
import pytest

from networks import CacheTracker, Network, NetworkWithCheckpointing, Plan, plan
from networks.chain import Chain
from networks.optimizers import SGD, Adam
from networks.schedules import FACTORIES, Keep, evicting, greedy, optimal, periodic, revolve, sqrt, store_all
from tests.support.strategies import random_data

LAYERS, BATCH = [4, 6, 6, 6, 5, 3], 5
X, Y = random_data(LAYERS, BATCH)

AnyNetwork = Network | NetworkWithCheckpointing

COPIES = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    **{
        f"protocol {protocol}": lambda value, protocol=protocol: pickle.loads(pickle.dumps(value, protocol))
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
    },
}
every_copy = pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
apart = pytest.mark.parametrize("copied", [COPIES["deepcopy"], COPIES["protocol 5"]], ids=["deepcopy", "pickle"])


def every_third(chain: Chain) -> Keep:
    """A schedule that is a function of a module."""
    return lambda cached, start, stop: {0, *(position for position in range(start, stop) if position % 3 == 0), *cached}


SCHEDULES = [
    store_all(),
    sqrt(),
    periodic(2),
    periodic(3, recompute="each"),
    revolve(slots=2),
    greedy(budget_bytes=4000),
    evicting(budget_bytes=4000, heuristic="lru"),
    optimal(budget_bytes=3000),
    every_third,
]

NETWORKS = {
    "store-all": partial(Network, LAYERS, activation="tanh", dtype="float64", seed=3),
    **{
        schedule.__name__: partial(NetworkWithCheckpointing, LAYERS, schedule=schedule, dtype="float64", seed=3)
        for schedule in SCHEDULES
    },
}
every_network = pytest.mark.parametrize("build", NETWORKS.values(), ids=NETWORKS)
two_networks = pytest.mark.parametrize(
    "build", [NETWORKS["store-all"], NETWORKS["revolve(slots=2)"]], ids=["store-all", "checkpointing"]
)


def step(network: AnyNetwork) -> tuple[list[list], list]:
    """Gradients and events."""
    network.forward(X)
    return [array.tolist() for pair in network.backward(Y) for array in pair], network.tracker.timeline


def test_every_factory_is_tried():
    assert {schedule.__name__.partition("(")[0] for schedule in SCHEDULES} == {*FACTORIES, "every_third"} - {
        "checkpoint_schedules"
    }


@every_network
@every_copy
def test_a_copy_gives_the_same_gradients_by_the_same_events(build: Callable[[], AnyNetwork], copied: Callable):
    network = build()
    network.train_step(X, Y, SGD(0.5))
    twin = copied(network)
    assert type(twin) is type(network)
    assert twin.tracker.timeline == network.tracker.timeline
    assert step(twin) == step(network) == step(copied(twin))


@two_networks
@apart
def test_a_copy_trains_by_itself(build: Callable[[], AnyNetwork], copied: Callable):
    network, optimizer = build(), Adam(0.01)
    network.train_step(X, Y, optimizer)
    twin, twins_optimizer = copied(network), copied(optimizer)
    before = step(network)
    twin.train_step(X, Y, twins_optimizer)
    assert step(network) == before
    network.train_step(X, Y, optimizer)
    assert step(twin) == step(network) != before


def test_a_shallow_copy_shares_the_parameters():
    network = NETWORKS["store-all"]()
    twin = copy.copy(network)
    twin.train_step(X, Y, SGD(0.5))
    assert step(twin) == step(network) != step(NETWORKS["store-all"]())


@two_networks
@every_copy
def test_a_copy_in_the_middle_of_a_step_has_no_forward_pass(build: Callable[[], AnyNetwork], copied: Callable):
    """And the step goes on, as if there were no copy."""
    network, expected = build(), step(build())
    network.forward(X)
    twin = copied(network)
    with pytest.raises(RuntimeError, match="no forward pass to work on"):
        twin.backward(Y)
    assert [array.tolist() for pair in network.backward(Y) for array in pair] == expected[0]
    assert step(twin) == expected


@two_networks
@every_copy
def test_a_copy_has_no_observer(build: Callable[[], AnyNetwork], copied: Callable):
    network, told = build(), []
    network.observer = lambda: told.append(1)
    step(network)
    events = len(told)
    twin = copied(network)
    assert twin.observer is None
    step(twin)
    assert len(told) == events
    step(network)
    assert len(told) == 2 * events
    assert copied(network.tracker).timeline == network.tracker.timeline


def test_a_copy_has_its_own_turn_with_threads():
    """While the network is in a step, others work with its copies."""
    network = NETWORKS["revolve(slots=2)"]()
    copies = [copy.deepcopy(network), pickle.loads(pickle.dumps(network))]
    found = []

    def try_copies() -> None:
        if not found:
            with ThreadPoolExecutor(1) as threads:
                found.extend(threads.map(step, copies))

    network.observer = try_copies
    expected = step(network)
    assert found == [expected] * 2


# Schedules


def own_schedule(name: str) -> Callable[[Chain], Keep]:
    def schedule(chain: Chain) -> Keep:
        return every_third(chain)

    schedule.__name__ = name
    return schedule


@pytest.mark.parametrize("name", ["mine", "revolve(slots=2)", "sqrt()"])
def test_a_schedule_that_no_pickle_can_hold_is_named(name: str):
    """Also one that has the name of another."""
    network = NetworkWithCheckpointing(LAYERS, schedule=own_schedule(name))
    with pytest.raises(pickle.PicklingError) as caught:
        pickle.dumps(network)
    assert str(caught.value) == (
        f"schedule {name} cannot be pickled: it is not one of {', '.join(FACTORIES)}, and its module has no "
        "function of that name. Define it at the top of its module, or save the parameters alone by save(path)"
    )
    for copied in (copy.copy, copy.deepcopy):
        assert step(copied(network)) == step(network)


# Plans


@every_copy
def test_a_copied_plan_has_the_same_schedules(copied: Callable[[Plan], Plan]):
    layers = [64] + [128] * 12 + [10]
    original = plan(layers, batch=256, budget_bytes=1_600_000)
    twin = copied(original)
    assert vars(twin) | {"schedule": 0, "rows": 0} == vars(original) | {"schedule": 0, "rows": 0}
    assert twin.schedule.__name__ == original.schedule.__name__
    assert twin.best.name == original.best.name
    assert [row.trace for row in twin.rows] == [row.trace for row in original.rows]
    for row, same in zip(original.rows, twin.rows, strict=True):
        assert getattr(row.schedule, "__name__", None) == getattr(same.schedule, "__name__", None)
    network = NetworkWithCheckpointing(layers, schedule=twin.schedule)
    network.forward(np.ones((256, 64)))
    network.backward(np.zeros(256, dtype=int))
    assert network.tracker.peak_bytes == original.predicted_peak_bytes


# Processes


def steps_elsewhere(network: AnyNetwork, tracker: CacheTracker) -> tuple[list[list], list, bool]:
    gradients, timeline = step(network)
    return gradients, timeline, timeline == tracker.timeline


def test_networks_travel_to_another_process_and_back():
    networks = [build() for build in NETWORKS.values()]
    expected = [step(network) for network in networks]
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as processes:
        found = list(processes.map(steps_elsewhere, networks, [network.tracker for network in networks]))
    assert found == [(*one, True) for one in expected]
