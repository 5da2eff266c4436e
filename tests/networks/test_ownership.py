"""Who owns which array, and that nothing else is held: by tracemalloc, which sees every buffer of numpy."""

import gc
import tracemalloc
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from networks import Network, NetworkWithCheckpointing
from networks.chain import Chain
from networks.optimizers import SGD, Adam, Optimizer
from tests.support.strategies import Configuration, configurations, random_data, whimsical

LAYERS, BATCH = [64, 128, 128, 128, 128, 128, 64], 512
SMALLEST_BUFFER = 65 * 128 * 4  # the parameter deltas of layer 1
SMALL = 16 * 1024
"""Bytes that the interpreter's own objects may take in a step: array headers, iterators, the tracker's labels. Less
than half the smallest buffer, so that none can hide in it."""

AnyNetwork = Network | NetworkWithCheckpointing


def by_whim(seed: int) -> NetworkWithCheckpointing:
    network = NetworkWithCheckpointing(LAYERS, checkpoint_frequency=1)
    network.schedule = whimsical(seed)
    return network


every_network = pytest.mark.parametrize(
    "build",
    [
        partial(Network, LAYERS),
        partial(NetworkWithCheckpointing, LAYERS, checkpoint_frequency=2),
        partial(NetworkWithCheckpointing, LAYERS, checkpoint_frequency=4, recompute="each"),
        partial(by_whim, 2),
        partial(by_whim, 4),
    ],
    ids=["store-all", "segment", "each", "a whim", "another whim"],
)
Build = Callable[[], AnyNetwork]


@pytest.fixture
def data() -> tuple[np.ndarray, np.ndarray]:
    return random_data(LAYERS, BATCH)


@contextmanager
def traced() -> Iterator[Callable[[], int]]:
    """Trace allocations, and give a function that tells the bytes still alive of those made since.

    Assertions wait until the trace has ended: pytest itself allocates for them.
    """
    gc.collect()
    tracemalloc.start()
    try:
        yield lambda: tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


def step(network: AnyNetwork, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    outputs = network.forward(x)
    return outputs, [delta for pair in network.backward(y) for delta in pair]


@contextmanager
def traced_at_every_event(network: AnyNetwork) -> Iterator["array[int]"]:
    """As `traced`, and yield what is live at each event of the network's steps, written into room made before."""
    measured = array("q", bytes(8 * 1000))
    events = iter(range(1000))
    with traced() as live_bytes:

        def measure() -> None:
            measured[next(events)] = live_bytes()

        network.observer = measure
        yield measured


def total_bytes(arrays: list[np.ndarray]) -> int:
    return sum(part.nbytes for part in arrays)


# Memory


@every_network
def test_between_steps_a_network_holds_its_parameters_and_nothing_else_of_size(build: Build, data):
    assert SMALLEST_BUFFER > 2 * SMALL
    with traced() as live_bytes:
        network = build()
        for _ in range(3):
            step(network, *data)
        gc.collect()
        measured = live_bytes()
    parameters = [part for pair in network.parameters for part in pair]
    assert measured == pytest.approx(total_bytes(parameters), abs=SMALL)


@every_network
def test_a_step_leaves_what_it_returns_and_nothing_else_of_size(build: Build, data):
    network = build()
    with traced() as live_bytes:
        outputs, deltas = step(network, *data)
        measured = live_bytes()
    assert measured == pytest.approx(outputs.nbytes + total_bytes(deltas), abs=SMALL)


@every_network
def test_live_bytes_are_those_that_are_allocated_at_every_event(build: Build, data):
    """And so is the peak. Only the outputs are freed by the caller, after the tracker has counted them out."""
    network = build()
    step(network, *data)  # what the first call of anything allocates is no step's
    with traced_at_every_event(network) as measured:
        outputs, deltas = step(network, *data)
        peak = tracemalloc.get_traced_memory()[1]
    tracker = network.tracker
    expected = np.array(tracker.live_bytes_over_time)
    counted_out = [event.action for event in tracker.timeline].index("release", len(expected) - 2)
    expected[counted_out:] += outputs.nbytes
    np.testing.assert_allclose(measured[: len(expected)], expected, rtol=0, atol=SMALL)
    assert peak == pytest.approx(tracker.peak_bytes, abs=SMALL)
    assert total_bytes(deltas) == tracker.live_bytes


@every_network
@pytest.mark.parametrize("make", [lambda: SGD(0.1), lambda: SGD(0.1, momentum=0.9), lambda: Adam()])
def test_a_step_that_updates_as_it_descends_allocates_what_it_says(build: Build, make: Callable[[], Optimizer], data):
    """At every event and at its peak, the update included, which works in the workspace; the state was there before."""
    network, optimizer = build(), make()
    network.train_step(*data, optimizer)
    with traced_at_every_event(network) as measured:
        outputs = network.train_step(*data, optimizer)
        after, peak = tracemalloc.get_traced_memory()
    tracker = network.tracker
    expected = np.array(tracker.live_bytes_over_time)
    expected[-2:] += outputs.nbytes  # the caller's, which the tracker has counted out
    np.testing.assert_allclose(measured[: len(expected)], expected, rtol=0, atol=SMALL)
    assert peak == pytest.approx(tracker.peak_bytes, abs=SMALL)
    assert after == pytest.approx(outputs.nbytes, abs=SMALL)
    assert tracker.live_bytes == 0


@every_network
def test_a_forward_pass_without_a_backward_pass_is_let_go_by_the_next(build: Build, data):
    network = build()
    with traced() as live_bytes:
        network.forward(data[0])
        first = live_bytes()
        network.forward(data[0])
        second = live_bytes()
    assert second == pytest.approx(first, abs=SMALL)


@every_network
@pytest.mark.parametrize("moment", [("forward", "forward", 6), ("backward", "parameter_deltas", 2)])
def test_an_interrupted_step_leaves_nothing_behind(build: Build, moment: tuple[str, str, int], data):
    """Ctrl-C when the outputs are being computed, and deep in the backward pass."""
    network = build()
    network.predict(data[0])

    def interrupt() -> None:
        if network.tracker.timeline[-1][:3] == moment:
            raise KeyboardInterrupt

    network.observer = interrupt
    interrupted = False
    with traced() as live_bytes:
        try:
            step(network, *data)
        except KeyboardInterrupt:
            interrupted = True
        measured = live_bytes()
    assert interrupted
    assert measured == pytest.approx(0, abs=SMALL)


@every_network
def test_predict_keeps_nothing_and_holds_one_after_of_a_run_of_equal_ones(build: Build, data):
    """The hidden after slides in its buffer up to the outputs; beside it there is the workspace."""
    network = build()
    x, _ = data
    chain = Chain(network.layers, BATCH, itemsize=4)
    with traced():
        outputs = network.predict(x)
        measured, peak = tracemalloc.get_traced_memory()
    assert measured == pytest.approx(outputs.nbytes, abs=SMALL)
    assert peak == pytest.approx(BATCH * 128 * 4 + outputs.nbytes + chain.workspace_bytes, abs=SMALL)


@pytest.mark.parametrize("recompute", ["segment", "each"])
def test_a_question_between_the_passes_keeps_nothing(recompute: str, data):
    network = NetworkWithCheckpointing(LAYERS, checkpoint_frequency=4, recompute=recompute)
    x, _ = data
    with traced() as live_bytes:
        outputs = network.forward(x)
        before = live_bytes()
        for layer in range(len(LAYERS)):
            network.get_cached_after_or_calculate(layer)
            network.forward_up_to_layer(layer)
        after_all_questions = live_bytes()
        after = network.get_cached_after_or_calculate(3)
        with_an_answer = live_bytes()
    assert after_all_questions == pytest.approx(before, abs=SMALL)
    assert with_an_answer == pytest.approx(before + after.nbytes, abs=SMALL)
    assert not np.shares_memory(outputs, network.get_cached_after_or_calculate(len(LAYERS) - 1))


# Arrays


@every_network
def test_outputs_belong_to_the_caller(build: Build, data):
    """Written over before backward they change no gradient, and backward does not write to them."""
    x, y = data
    network = build()
    expected_outputs, expected = step(build(), x, y)
    outputs = network.forward(x)
    np.testing.assert_array_equal(outputs, expected_outputs)
    outputs[:] = 7
    deltas = [delta for pair in network.backward(y) for delta in pair]
    assert (outputs == 7).all()
    for delta, right in zip(deltas, expected, strict=True):
        np.testing.assert_array_equal(delta, right)


@every_network
def test_results_of_a_step_are_not_touched_by_the_next(build: Build, data):
    x, y = data
    network = build()
    outputs, deltas = step(network, x, y)
    copies = [part.copy() for part in (outputs, *deltas)]
    step(network, x[::-1], y)
    network.apply_deltas(network_deltas(deltas), learning_rate=0.1)
    network.predict(x)
    for part, copy in zip((outputs, *deltas), copies, strict=True):
        np.testing.assert_array_equal(part, copy)


def network_deltas(deltas: list[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
    return list(zip(deltas[::2], deltas[1::2], strict=True))


@given(configurations(), st.integers(0, 2**32))
def test_inputs_and_labels_are_never_modified(configuration: Configuration, seed: int):
    """Read-only arrays serve as well; whatever a schedule keeps, no after slides over the input."""
    x, y = configuration.data()
    given_x, given_y = x.copy(), y.copy()
    x.flags.writeable = y.flags.writeable = False
    by_schedule = configuration.checkpointed()
    by_schedule.schedule = whimsical(seed)
    for network in (configuration.store_all(), configuration.checkpointed(), by_schedule):
        network.predict(x)
        step(network, x, y)
    np.testing.assert_array_equal(x, given_x)
    np.testing.assert_array_equal(y, given_y)


@every_network
def test_inputs_of_another_type_or_order_are_converted(build: Build, data):
    """float64, a transposed array and a list of rows give what the same numbers as float32 rows give."""
    x, y = data
    expected_outputs, expected = step(build(), x, y)
    for same in (x.astype(np.float64), np.asfortranarray(x), x.astype(">f4"), x.tolist()):
        outputs, deltas = step(build(), same, y)
        assert outputs.dtype == np.float32
        np.testing.assert_array_equal(outputs, expected_outputs)
        for delta, right in zip(deltas, expected, strict=True):
            np.testing.assert_array_equal(delta, right)


@every_network
def test_predict_between_the_passes_disturbs_no_step(build: Build, data):
    x, y = data
    network = build()
    _, expected = step(build(), x, y)
    network.forward(x)
    tracker, timeline = network.tracker, network.tracker.timeline
    network.predict(x[:7])
    assert network.tracker is tracker
    assert tracker.timeline == timeline
    for pair, right in zip(network.backward(y), network_deltas(expected), strict=True):
        np.testing.assert_array_equal(pair[0], right[0])
        np.testing.assert_array_equal(pair[1], right[1])


@every_network
def test_the_settings_of_numpy_are_as_before(build: Build, data):
    """Kernels narrow numpy's buffers and silence an overflow while they run; both end with them."""
    before = np.getbufsize(), np.geterr()
    network = build()
    during = []
    network.observer = lambda: during.append(np.getbufsize())
    step(network, *data)
    assert (np.getbufsize(), np.geterr()) == before
    assert min(during) < before[0]
