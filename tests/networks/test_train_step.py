"""A step that updates as it descends: the weights of `backward` and an update, in the memory of one layer's deltas."""

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from networks import Network, NetworkWithCheckpointing, dry_run
from networks.chain import Chain
from networks.optimizers import SGD, Adam, Optimizer
from networks.schedules import evicting, greedy, optimal, periodic, revolve, sqrt, store_all
from networks.schedules.optimal import smallest_budget
from networks.schedules.replay import replay
from tests.support.strategies import Configuration, configurations, random_data, whimsical

LAYERS, BATCH = (5, 8, 8, 30, 4, 8, 8, 8, 16, 2, 9, 9, 3), 300

OPTIMIZERS = [lambda: SGD(0.1), lambda: SGD(0.1, momentum=0.9), lambda: Adam(0.01)]
every_optimizer = pytest.mark.parametrize("make", OPTIMIZERS, ids=["sgd", "momentum", "adam"])

AnyNetwork = Network | NetworkWithCheckpointing


def parameters(network: AnyNetwork) -> list[bytes]:
    return [array.tobytes() for pair in network.parameters for array in pair]


def states(optimizer: Optimizer) -> dict[tuple[int, int], list[bytes]]:
    return {key: [array.tobytes() for array in arrays] for key, arrays in optimizer._states.items()}


# The same update


@given(configurations(), st.integers(0, 2**32), st.sampled_from(OPTIMIZERS))
def test_it_equals_backward_and_update_to_the_bit(configuration: Configuration, seed: int, make):
    """Outputs, parameters and the optimiser's state, over three steps, whatever is kept or recomputed."""
    x, y = configuration.data()
    expected, optimizer = configuration.store_all(), make()
    by_whim = configuration.checkpointed()
    by_whim.schedule = whimsical(seed)
    rivals = [(network, make()) for network in (configuration.store_all(), configuration.checkpointed(), by_whim)]
    for _ in range(3):
        outputs = expected.forward(x)
        optimizer.update(expected.parameters, expected.backward(y))
        for network, own in rivals:
            assert network.train_step(x, y, own).tobytes() == outputs.tobytes()
            assert parameters(network) == parameters(expected)
            assert states(own) == states(optimizer)


@every_optimizer
def test_it_equals_backward_and_update_where_weights_take_many_blocks_of_scratch(make: Callable[[], Optimizer]):
    """The scratch of a step has 128 values here; an update on its own has room for all 400,000."""
    layers = [64, 128, 100, 10]
    x, y = random_data(layers, 1)
    expected, network, optimizer, own = Network(layers), Network(layers), make(), make()
    for _ in range(2):
        expected.forward(x)
        optimizer.update(expected.parameters, expected.backward(y))
        network.train_step(x, y, own)
        assert parameters(network) == parameters(expected)


SCHEDULES = [
    store_all(),
    periodic(3),
    periodic(4, recompute="each"),
    sqrt(),
    revolve(slots=2),
    greedy(budget_bytes=115_000),
    evicting(budget_bytes=115_000),
    optimal(budget_bytes=115_000),
]


@every_optimizer
@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: schedule.__name__)
def test_no_schedule_changes_a_bit(schedule, make: Callable[[], Optimizer]):
    x, y = random_data(LAYERS, BATCH)
    expected, network = Network(LAYERS), NetworkWithCheckpointing(LAYERS, schedule=schedule)
    optimizer, own = make(), make()
    for _ in range(2):
        expected.forward(x)
        optimizer.update(expected.parameters, expected.backward(y))
        network.train_step(x, y, own)
    assert parameters(network) == parameters(expected)


# The account


def test_every_event_of_a_small_network():
    """Each layer's parameter deltas are freed before the next after is asked for."""
    network = NetworkWithCheckpointing([64, 128, 64, 10], checkpoint_frequency=2)
    batch, float32 = 32, 4
    x, y = random_data(network.layers, batch)
    network.train_step(x, y, SGD(0.1))
    a1, a2, a3 = (batch * width * float32 for width in (128, 64, 10))
    p1, p2, p3 = (65 * 128 * float32, 129 * 64 * float32, 65 * 10 * float32)
    workspace = (1024 + 1024 + batch + batch * 128) * float32
    assert network.tracker.timeline == [
        ("forward",  "workspace",        0, workspace),
        ("forward",  "forward",          1, a1),
        ("forward",  "forward",          2, a2),
        ("forward",  "release",          1, -a1),
        ("forward",  "keep",             2, 0),
        ("forward",  "forward",          3, a3),
        ("forward",  "delta",            3, a3),
        ("forward",  "workspace",        0, -workspace),
        ("backward", "workspace",        0, workspace),
        ("backward", "hit",              2, 0),
        ("backward", "parameter_deltas", 3, p3),
        ("backward", "overwrite",        2, 0),
        ("backward", "release_delta",    3, -a3),
        ("backward", "apply",            3, -p3),
        ("backward", "miss",             1, 0),
        ("backward", "forward",          1, a1),
        ("backward", "keep",             1, 0),
        ("backward", "parameter_deltas", 2, p2),
        ("backward", "overwrite",        1, 0),
        ("backward", "release_delta",    2, -a2),
        ("backward", "apply",            2, -p2),
        ("backward", "hit",              0, 0),
        ("backward", "parameter_deltas", 1, p1),
        ("backward", "release_delta",    1, -a1),
        ("backward", "apply",            1, -p1),
        ("backward", "release",          3, -a3),
        ("backward", "workspace",        0, -workspace),
    ]  # fmt: skip
    assert network.tracker.live_bytes == 0


def test_where_deltas_dominate_the_peak_falls_to_about_one_layers():
    layers, batch = [64, *[512] * 32, 10], 256
    after, deltas = batch * 512 * 4, (512 + 1) * 512 * 4
    piled_up = dry_run(layers, batch=batch, checkpoint_frequency=6)
    assert piled_up.peak_bytes > 31 * deltas
    applied = dry_run(layers, batch=batch, checkpoint_frequency=6, step="train_step")
    beside = applied.peak_bytes_by_kind["workspace"] + 10 * batch * 4
    # At layer 30: four checkpoints below, a segment of five, and a delta; no more than one layer's parameter deltas.
    assert applied.peak_bytes == 4 * after + 5 * after + after + deltas + beside


@given(configurations(), st.floats(0, 1))
@settings(max_examples=25)
def test_the_budget_of_a_schedule_bounds_the_peak(configuration: Configuration, generosity: float):
    """Schedules that search are told by the chain that deltas do not pile up, and use the room."""
    layers, batch = configuration.layers, configuration.batch
    everything = dry_run(layers, batch=batch, dtype=configuration.dtype, step="train_step")
    least = smallest_budget(everything.chain)
    budget = least + round(generosity * (everything.peak_bytes - least))
    for factory in (optimal, greedy, evicting):
        try:
            keep = factory(budget_bytes=budget)(everything.chain)
        except ValueError:
            assert factory is not optimal  # the others may be unable to serve so small a budget
            continue
        step = dry_run(
            layers, batch=batch, dtype=configuration.dtype, schedule=factory(budget_bytes=budget), step="train_step"
        )
        assert step.peak_bytes == replay(everything.chain, keep).peak_bytes <= budget


# Interrupted, and refused


def interrupted_at(action: str, layer: int) -> Iterator[tuple[AnyNetwork, list[bytes], list[bytes]]]:
    """Networks interrupted at an event of a step, each with its parameters before it and those it was to reach."""
    x, y = random_data(LAYERS, BATCH)
    for build in (Network, lambda layers: NetworkWithCheckpointing(layers, checkpoint_frequency=3)):
        network, expected = build(LAYERS), build(LAYERS)
        before = parameters(network)
        expected.train_step(x, y, SGD(0.1))

        def interrupt(network=network) -> None:
            if network.tracker.timeline[-1][1:3] == (action, layer):
                raise KeyboardInterrupt

        network.observer = interrupt
        with pytest.raises(KeyboardInterrupt):
            network.train_step(x, y, SGD(0.1))
        network.observer = None
        yield network, before, parameters(expected)


@pytest.mark.parametrize(("action", "updated_from"), [("apply", 7), ("parameter_deltas", 8)])
def test_an_interrupted_step_has_updated_the_layers_above_and_none_below(action: str, updated_from: int):
    """Ctrl-C at layer 7, right after its update or before it; the network goes on as if nothing had been."""
    for network, before, after in interrupted_at(action, 7):
        reached = parameters(network)
        split = 2 * (updated_from - 1)  # weights and biases of each layer
        assert reached == before[:split] + after[split:]
        with pytest.raises(RuntimeError, match="no forward pass"):
            network.backward([0] * BATCH)
        x, y = random_data(LAYERS, BATCH)
        network.train_step(x, y, SGD(0.1))
        assert all(now != then for now, then in pairwise([reached, parameters(network)]))


@pytest.mark.parametrize("build", [Network, lambda layers: NetworkWithCheckpointing(layers, checkpoint_frequency=3)])
def test_a_backward_pass_cannot_begin_within_one(build):
    network = build(LAYERS)
    x, y = random_data(LAYERS, BATCH)
    network.observer = lambda: network.tracker.phase == "backward" and network.backward(y)
    network.forward(x)
    with pytest.raises(RuntimeError, match=r"^a pass of this network is not over: call backward\(y\) after it$"):
        network.backward(y)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"x": np.ones((4, 3))}, "x must have shape (batch, 5), got (4, 3)"),
        ({"y": [0, 1]}, "y must have 4 labels, one for each row of x, got 2"),
        ({"y": [0, 1, 2, 3]}, "y must hold labels from 0 to 2, got 3"),
        ({"optimizer": 0.1}, "optimizer must be one of networks.optimizers, such as SGD(0.1), got 0.1"),
    ],
)
@pytest.mark.parametrize("build", [Network, lambda layers: NetworkWithCheckpointing(layers, checkpoint_frequency=3)])
def test_bad_arguments_are_refused_before_anything_is_changed(build, changed: dict[str, object], message: str):
    network = build(LAYERS)
    before = parameters(network)
    x, y = random_data(LAYERS, 4)
    network.forward(x)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        network.train_step(**{"x": x, "y": y, "optimizer": SGD(0.1)} | changed)
    assert str(caught.value) == message
    assert parameters(network) == before
    assert len(network.backward(y)) == len(LAYERS) - 1  # the forward pass made before is still there


def test_a_step_of_another_name_is_refused():
    with pytest.raises(ValueError, match=r"^step must be 'backward' or 'train_step', got 'forward'$"):
        dry_run([4, 3], batch=2, step="forward")


def test_the_chain_of_a_step_says_whether_deltas_pile_up():
    for step, pile_up in (("backward", True), ("train_step", False)):
        assert dry_run([4, 3], batch=2, step=step).chain == Chain((4, 3), 2, 4, deltas_pile_up=pile_up)
