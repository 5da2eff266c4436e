"""Gradient accumulation: the gradients of the whole batch but for rounding, in the memory of a part."""

import random
import tracemalloc
from collections.abc import Collection, Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from networks import Network, NetworkWithCheckpointing, dry_run
from networks.chain import Chain
from networks.optimizers import SGD, Adam, Optimizer
from networks.schedules import Keep, evicting, greedy, optimal
from networks.schedules.optimal import smallest_budget
from networks.schedules.replay import replay
from tests.support import textbook
from tests.support.strategies import Configuration, configurations, random_data, whimsical

LAYERS = [5, 8, 8, 8, 6, 3]

BUILDERS = [
    Network,
    lambda layers, **options: NetworkWithCheckpointing(layers, checkpoint_frequency=2, **options),
    lambda layers, **options: NetworkWithCheckpointing(layers, checkpoint_frequency=3, recompute="each", **options),
]
every_network = pytest.mark.parametrize("build", BUILDERS, ids=["store-all", "segment", "each"])


class Recorder(Optimizer):
    """Changes nothing, and copies each layer's deltas."""

    def __init__(self):
        super().__init__(learning_rate=0)
        self.deltas: dict[int, list[np.ndarray]] = {}

    def update_layer(self, layer, parameters, deltas, *, scratch):
        assert layer not in self.deltas
        self.deltas[layer] = [delta.copy() for delta in deltas]


def rows_of_a_part(batch: int, parts: int) -> int:
    """So many that the last of `parts` is smaller, or none."""
    return -(-batch // parts)


# Gradients


@every_network
@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-13)])
@pytest.mark.parametrize("micro_batch", [10, 64, 333])
def test_gradients_match_the_textbook(build, activation: str, dtype: str, tolerance: float, micro_batch: int):
    """Against a float64 textbook of the whole batch, relative to the largest gradient of an array."""
    network = build(LAYERS, activation=activation, dtype=dtype)
    x, y = random_data(LAYERS, 700, dtype)
    exact = [tuple(array.astype(np.float64) for array in pair) for pair in network.parameters]
    expected = textbook.step(exact, x.astype(np.float64), y, activation)
    recorder = Recorder()
    outputs = network.train_step(x, y, recorder, micro_batch=micro_batch)
    assert outputs.shape == (700, 3)
    np.testing.assert_allclose(outputs, expected.afters[-1], rtol=0, atol=tolerance)
    for layer, oracle in enumerate(expected.deltas, start=1):
        for delta, right in zip(recorder.deltas[layer], oracle, strict=True):
            assert delta.dtype == dtype
            np.testing.assert_allclose(delta, right, rtol=0, atol=tolerance * np.abs(right).max())


@given(configurations(), st.integers(1, 5), st.integers(0, 2**32))
def test_no_schedule_changes_a_bit(configuration: Configuration, parts: int, seed: int):
    x, y = configuration.data()
    micro_batch = rows_of_a_part(configuration.batch, parts)
    by_whim = configuration.checkpointed()
    by_whim.schedule = whimsical(seed)
    stepped = []
    for network in (configuration.store_all(), configuration.checkpointed(), by_whim):
        optimizer = Adam(0.01)
        outputs = [network.train_step(x, y, optimizer, micro_batch=micro_batch) for _ in range(2)]
        stepped.append([array.tobytes() for array in (*outputs, *(one for pair in network.parameters for one in pair))])
    assert stepped[0] == stepped[1] == stepped[2]


@every_network
@pytest.mark.parametrize("micro_batch", [40, 41, 10_000])
def test_a_part_that_holds_every_row_is_the_whole_batch(build, micro_batch: int):
    x, y = random_data(LAYERS, 40)
    parted, whole = build(LAYERS), build(LAYERS)
    assert np.array_equal(parted.train_step(x, y, SGD(0.1), micro_batch=micro_batch), whole.train_step(x, y, SGD(0.1)))
    assert parted.tracker.timeline == whole.tracker.timeline
    for pair, same in zip(parted.parameters, whole.parameters, strict=True):
        assert all(np.array_equal(array, other) for array, other in zip(pair, same, strict=True))


# The account


def test_every_event_of_a_batch_of_two_parts():
    """Three rows and then two. The deltas of the first part stay; the second's are added to them, and they applied."""
    network = Network([8, 6, 3])
    x, y = random_data(network.layers, 5)
    network.train_step(x, y, SGD(0.1), micro_batch=3)
    outputs, p1, p2 = 5 * 3 * 4, 9 * 6 * 4, 7 * 3 * 4
    expected = [("forward", "outputs", 2, outputs)]
    for rows, last in ((3, False), (2, True)):
        a1, a2 = rows * 6 * 4, rows * 3 * 4
        workspace = (6 * rows + 6 * rows + rows + rows * 6) * 4
        added_2 = [("backward", "accumulate", 2, -p2), ("backward", "apply", 2, -p2)] if last else []
        added_1 = [("backward", "accumulate", 1, -p1), ("backward", "apply", 1, -p1)] if last else []
        expected += [
            ("forward",  "part",             0, 0),
            ("forward",  "workspace",        0, workspace),
            ("forward",  "forward",          1, a1),
            ("forward",  "keep",             1, 0),
            ("forward",  "forward",          2, a2),
            ("forward",  "overwrite",        2, 0),  # copied to the outputs, it is the delta of the loss
            ("forward",  "workspace",        0, -workspace),
            ("backward", "workspace",        0, workspace),
            ("backward", "hit",              1, 0),
            ("backward", "parameter_deltas", 2, p2),
            ("backward", "overwrite",        1, 0),
            ("backward", "release_delta",    2, -a2),
            *added_2,
            ("backward", "hit",              0, 0),
            ("backward", "parameter_deltas", 1, p1),
            ("backward", "release_delta",    1, -a1),
            *added_1,
            *([("backward", "outputs", 2, -outputs)] if last else []),
            ("backward", "workspace",        0, -workspace),
        ]  # fmt: skip
    assert network.tracker.timeline == expected
    assert network.tracker.live_bytes == 0
    assert network.tracker.forward_steps == 4


@given(configurations(), st.integers(1, 5), st.integers(0, 2**32))
def test_a_dry_run_predicts_it(configuration: Configuration, parts: int, seed: int):
    x, y = configuration.data()
    micro_batch = rows_of_a_part(configuration.batch, parts)
    network = configuration.checkpointed()
    network.schedule = whimsical(seed)
    network.train_step(x, y, SGD(0.1), micro_batch=micro_batch)
    trace = dry_run(
        configuration.layers, batch=configuration.batch, dtype=configuration.dtype, schedule=whimsical(seed),
        step="train_step", micro_batch=micro_batch,
    )  # fmt: skip
    tracker = network.tracker
    assert trace.timeline == tracker.timeline
    assert trace.live_bytes_over_time == tracker.live_bytes_over_time
    assert trace.peak_bytes == max(trace.live_bytes_over_time) == tracker.peak_bytes
    assert trace.peak_bytes_by_kind == tracker.peak_bytes_by_kind
    assert (trace.forward_steps, trace.forward_flops) == (tracker.forward_steps, tracker.forward_flops)
    assert tracker.live_bytes == 0


@pytest.mark.parametrize("build", [Network, lambda layers: NetworkWithCheckpointing(layers, checkpoint_frequency=2)])
def test_live_bytes_are_those_that_are_allocated_at_every_event(build):
    small = 16 * 1024
    network, optimizer = build([64, 128, 128, 128, 64]), SGD(0.1, momentum=0.9)
    x, y = random_data(network.layers, 500)
    network.train_step(x, y, optimizer, micro_batch=200)
    measured = np.zeros(1000, int)
    events = iter(range(1000))

    def measure() -> None:
        measured[next(events)] = tracemalloc.get_traced_memory()[0]

    network.observer = measure
    tracemalloc.start()
    outputs = network.train_step(x, y, optimizer, micro_batch=200)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    expected = np.array(network.tracker.live_bytes_over_time)
    expected[-2:] += outputs.nbytes  # the caller's, which the tracker has counted out
    np.testing.assert_allclose(measured[: len(expected)], expected, rtol=0, atol=small)
    assert peak == pytest.approx(network.tracker.peak_bytes, abs=small)


def test_the_peak_is_a_parts():
    """Eight parts: an eighth of the afters and of the delta, beside outputs, all parameter deltas and a layer's own."""
    layers, batch, micro_batch = [64, *[128] * 16, 10], 1024, 128
    after, hidden, last = micro_batch * 128 * 4, 129 * 128 * 4, 129 * 10 * 4
    step = dry_run(layers, batch=batch, step="train_step", micro_batch=micro_batch)
    outputs, deltas = batch * 10 * 4, 65 * 128 * 4 + 15 * hidden + last
    workspace = (1024 + 1024 + micro_batch + micro_batch * 128) * 4
    assert step.peak_bytes == workspace + outputs + deltas + hidden + 15 * after + after
    assert step.peak_bytes < dry_run(layers, batch=batch, step="train_step").peak_bytes / 3


@given(configurations(), st.integers(1, 9), st.integers(0, 2**32), st.integers(0, 3))
def test_the_timeline_is_what_was_seen_of_every_part(
    configuration: Configuration, parts: int, seed: int, fickleness: int
):
    """Parts share a log where they are alike, which those of a fickle schedule are not, or not always."""
    choice = random.Random(seed)
    network = configuration.checkpointed()
    network.schedule = lambda chain: whimsical(seed + choice.randint(0, fickleness))(chain)
    seen = []
    network.observer = lambda: seen.append((network.tracker.phase, network.tracker.live_bytes))
    x, y = configuration.data()
    network.train_step(x, y, SGD(0.1), micro_batch=rows_of_a_part(configuration.batch, parts))
    tracker = network.tracker
    phases = [event.phase for event in tracker.timeline]
    assert list(zip(phases, tracker.live_bytes_over_time, strict=True)) == seen


# Schedules


@given(configurations(), st.integers(0, 2**32))
def test_a_replay_of_a_part_equals_the_dry_run_of_three(configuration: Configuration, seed: int):
    """What a budget is checked against: in the middle part, all parameter deltas are there from its start."""

    def capricious(chain: Chain) -> Keep:
        def keep(cached: Mapping[int, int], start: int, stop: int) -> Collection[int]:
            choice = random.Random(f"{seed}: {sorted(cached.items())}")
            return [0, *(one for one in [*cached, *range(start + 1, stop + 1)] if one and choice.random() < 0.6)]

        return keep

    layers, rows = configuration.layers, configuration.batch
    step = dry_run(
        layers, batch=3 * rows, dtype=configuration.dtype, schedule=capricious, step="train_step", micro_batch=rows
    )
    chain = Chain(layers, rows, step.chain.itemsize, deltas_pile_up=False, part_of=3 * rows)
    cost = replay(chain, capricious(chain))
    assert (cost.peak_bytes, 3 * cost.forward_flops) == (step.peak_bytes, step.forward_flops)


@given(configurations(), st.integers(1, 5), st.floats(0, 1))
def test_the_budget_of_a_schedule_bounds_the_peak(configuration: Configuration, parts: int, generosity: float):
    micro_batch = rows_of_a_part(configuration.batch, parts)
    options = {
        "batch": configuration.batch, "dtype": configuration.dtype, "step": "train_step", "micro_batch": micro_batch,
    }  # fmt: skip
    everything = dry_run(configuration.layers, **options)
    part_of = configuration.batch if micro_batch < configuration.batch else None
    part = Chain(configuration.layers, micro_batch, everything.chain.itemsize, False, part_of)
    least = smallest_budget(part)
    budget = least + round(generosity * max(0, everything.peak_bytes - least))
    for factory in (optimal, greedy, evicting):
        try:
            step = dry_run(configuration.layers, schedule=factory(budget_bytes=budget), **options)
        except ValueError:
            assert factory is not optimal  # the others may be unable to serve so small a budget
        else:
            assert step.peak_bytes <= budget


# Interrupted, and refused


def test_interrupted_in_a_part_before_the_last_nothing_is_updated():
    network = Network(LAYERS)
    before = [array.copy() for pair in network.parameters for array in pair]
    x, y = random_data(LAYERS, 30)

    def interrupt() -> None:
        if [event.action for event in network.tracker.timeline].count("part") == 2:
            raise KeyboardInterrupt

    network.observer = interrupt
    with pytest.raises(KeyboardInterrupt):
        network.train_step(x, y, SGD(0.1), micro_batch=10)
    assert all(
        np.array_equal(array, old)
        for array, old in zip((one for pair in network.parameters for one in pair), before, strict=True)
    )
    with pytest.raises(RuntimeError, match="no forward pass"):
        network.backward(y)


@pytest.mark.parametrize("micro_batch", [0, -1, 2.5, "8", True])
def test_a_micro_batch_is_a_number_of_rows(micro_batch: object):
    x, y = random_data(LAYERS, 30)
    message = f"^micro_batch must be an integer of at least 1, got {micro_batch!r}$"
    with pytest.raises(ValueError, match=message):
        Network(LAYERS).train_step(x, y, SGD(0.1), micro_batch=micro_batch)
    with pytest.raises(ValueError, match=message):
        dry_run(LAYERS, batch=30, step="train_step", micro_batch=micro_batch)


def test_a_micro_batch_goes_with_a_train_step():
    with pytest.raises(ValueError, match=r"^micro_batch=8 goes with step='train_step', got step='backward'$"):
        dry_run(LAYERS, batch=30, micro_batch=8)
