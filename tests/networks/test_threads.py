"""One network is one thread's at a time: a second one is refused, and no step comes out wrong."""

import copy
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from networks import Network, NetworkWithCheckpointing
from networks.guard import AT_WORK, OTHERS_FORWARD
from networks.optimizers import SGD
from tests.support.strategies import random_data

LAYERS, BATCH = [4, 6, 6, 5, 3], 5
X, Y = random_data(LAYERS, BATCH)

NO_FORWARD_PASS = "no forward pass to work on: call forward(x) first; one forward serves one backward"

AnyNetwork = Network | NetworkWithCheckpointing
Build = Callable[..., AnyNetwork]

both_networks = pytest.mark.parametrize(
    "build", [Network, partial(NetworkWithCheckpointing, checkpoint_frequency=2)], ids=["store-all", "checkpointing"]
)


def in_another_thread(function: Callable, *args: object) -> object:
    """What it returns, or raises, in a thread of its own."""
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(function, *args).result(timeout=60)


@contextmanager
def held_in(work: Callable[[], object], network: AnyNetwork, *, at: int) -> Iterator[None]:
    """Let another thread do `work` with the network, and hold it at that event of its step."""
    reached, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        if len(network.tracker.timeline) == at and not reached.is_set():
            reached.set()
            assert go_on.wait(timeout=60)

    network.observer = hold
    with ThreadPoolExecutor(1) as threads:
        done = threads.submit(work)
        try:
            assert reached.wait(timeout=60)
            network.observer = None
            yield
        finally:
            go_on.set()
        done.result(timeout=60)


def step(network: AnyNetwork, x: np.ndarray = X) -> list[list]:
    network.forward(x)
    return [array.tolist() for pair in network.backward(Y) for array in pair]


def calls(network: AnyNetwork) -> dict[str, Callable[[], object]]:
    """Everything public that works on a step or on the parameters."""
    named = {
        "forward": lambda: network.forward(X),
        "backward": lambda: network.backward(Y),
        "train_step": lambda: network.train_step(X, Y, SGD(0.1)),
        "parts": lambda: network.train_step(X, Y, SGD(0.1), micro_batch=2),
        "apply_deltas": lambda: network.apply_deltas([], 0.1),
        "load": lambda: network.load("nowhere"),
    }
    if isinstance(network, NetworkWithCheckpointing):
        named |= {
            "cache": lambda: network.cache_afters_during_forward_pass(X),
            "deltas": lambda: network.get_params_deltas_from_backward_pass(Y),
            "after": lambda: network.get_cached_after_or_calculate(1),
            "up to": lambda: network.forward_up_to_layer(1),
        }
    return named


@both_networks
def test_every_call_is_refused_while_another_thread_is_in_a_step(build: Build):
    network, results = build(LAYERS), []
    expected = step(network)
    for at in range(1, len(network.tracker.timeline), 4):
        with held_in(lambda: results.append(step(network)), network, at=at):
            for call in calls(network).values():
                with pytest.raises(RuntimeError) as caught:
                    call()
                assert str(caught.value) == AT_WORK
    assert results == [expected] * len(results)
    assert len(results) > 5
    assert step(network) == expected


@both_networks
def test_a_forward_pass_belongs_to_the_thread_that_ran_it(build: Build):
    """Interleaved without overlap, and without a guard the second backward would use the first one's labels."""
    network, others = build(LAYERS), X[::-1].copy()
    network.forward(X)
    in_another_thread(network.forward, others)
    for name, call in calls(network).items():
        if name in ("backward", "deltas", "after", "up to"):
            with pytest.raises(RuntimeError) as caught:
                call()
            assert str(caught.value) == OTHERS_FORWARD
    assert in_another_thread(step, network, others) == step(build(LAYERS), others)
    assert step(network) == step(build(LAYERS))


@both_networks
def test_threads_that_take_turns_are_welcome(build: Build):
    network, expected = build(LAYERS), step(build(LAYERS))
    assert [in_another_thread(step, network) for _ in range(3)] == [expected] * 3
    assert step(network) == expected


@both_networks
@pytest.mark.parametrize("name", ["forward", "train_step", "parts"])
def test_a_refused_or_failed_call_leaves_the_network_free(build: Build, name: str):
    network = build(LAYERS)
    for x in (X[:, :2], np.full_like(X, np.nan)):
        with pytest.raises(ValueError, match="x must"):
            network.forward(x)
    with pytest.raises(ValueError, match="y must"):
        network.train_step(X, Y[:2], SGD(0.1))
    with pytest.raises(ValueError, match="deltas must"):
        network.apply_deltas([], 0.1)
    with pytest.raises(RuntimeError, match="no forward pass"):
        network.backward(Y)
    in_another_thread(calls(network)[name])

    def interrupt() -> None:
        raise KeyboardInterrupt

    network.observer = interrupt
    with pytest.raises(KeyboardInterrupt):
        calls(network)[name]()
    network.observer = None
    in_another_thread(calls(network)[name])


@both_networks
def test_any_number_of_threads_predict_at_once(build: Build):
    network = build(LAYERS)
    expected = network.predict(X).tolist()
    with ThreadPoolExecutor(4) as threads:
        assert [found.tolist() for found in threads.map(network.predict, [X] * 200)] == [expected] * 200
    with held_in(lambda: network.forward(X), network, at=3):  # which changes no parameter
        assert network.predict(X).tolist() == expected


@both_networks
def test_no_prediction_copy_or_file_mixes_the_parameters_of_two_moments(build: Build, tmp_path: Path):
    """Refused during an update, and when one came meanwhile."""
    network = build(LAYERS)
    with held_in(lambda: network.train_step(X, Y, SGD(0.1)), network, at=20):
        for read in (lambda: network.predict(X), lambda: copy.deepcopy(network), lambda: network.save(tmp_path / "a")):
            with pytest.raises(RuntimeError) as caught:
                read()
            assert str(caught.value) == AT_WORK
    assert list(tmp_path.iterdir()) == []

    layer = network._layers[1]
    forward = layer.forward

    def train_meanwhile(*args: object, **options: object) -> np.ndarray:
        layer.forward = forward
        in_another_thread(partial(network.train_step, X, Y, SGD(0.1)))
        return forward(*args, **options)

    layer.forward = train_meanwhile
    with pytest.raises(RuntimeError) as caught:
        network.predict(X)
    assert str(caught.value) == AT_WORK
    assert network.predict(X).shape == (BATCH, 3)


@both_networks
def test_an_observer_may_ask_its_own_network(build: Build):
    network, told = build(LAYERS), []
    network.observer = lambda: told.append(network.predict(X).shape)
    network.train_step(X, Y, SGD(0.1))
    assert set(told) == {(BATCH, 3)}


@both_networks
def test_threads_that_do_not_take_turns_get_right_gradients_or_an_error(build: Build):
    """Each thread's own batch: a gradient of anything else than its own is found."""
    network = build(LAYERS)
    batches = [np.roll(X, shift, axis=0) * (1 + shift) for shift in range(3)]
    expected = [step(build(LAYERS), x) for x in batches]
    start = threading.Barrier(len(batches))

    def work(number: int) -> tuple[list[list[list]], set[str]]:
        found, errors = [], set()
        start.wait(timeout=60)
        for _ in range(100):
            try:
                found.append(step(network, batches[number]))
            except RuntimeError as error:
                errors.add(str(error))
        return found, errors

    with ThreadPoolExecutor(len(batches)) as threads:
        results = list(threads.map(work, range(len(batches))))
    for (found, errors), right in zip(results, expected, strict=True):
        assert found == [right] * len(found)
        assert errors <= {AT_WORK, OTHERS_FORWARD, NO_FORWARD_PASS}
    assert step(network, batches[0]) == expected[0]
