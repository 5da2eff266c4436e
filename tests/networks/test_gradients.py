"""Gradients are right, by three oracles, and do not depend on which afters were kept: not by a single bit."""

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from networks import Network, NetworkWithCheckpointing
from networks.chain import block_rows
from networks.optimizers import SGD, Adam, Optimizer
from networks.training import train
from tests.support import textbook
from tests.support.strategies import Configuration, configurations, random_data, whimsical

ACTIVATIONS = ["relu", "sigmoid", "tanh"]
LAYERS = [4, 6, 6, 6, 5, 3]

Build = Callable[..., Network | NetworkWithCheckpointing]
BUILDERS: list[Build] = [
    Network,
    partial(NetworkWithCheckpointing, checkpoint_frequency=3),
    partial(NetworkWithCheckpointing, checkpoint_frequency=3, recompute="each"),
]
every_network = pytest.mark.parametrize("build", BUILDERS, ids=["store-all", "segment", "each"])
both_recomputes = pytest.mark.parametrize("build", BUILDERS[1:], ids=["segment", "each"])


def with_random_biases(network: Network | NetworkWithCheckpointing) -> Network | NetworkWithCheckpointing:
    """Biases start at zero, where a mistake in them could hide."""
    generator = np.random.default_rng(1)
    for _, biases in network.parameters:
        biases[:] = generator.standard_normal(len(biases)) / 2
    return network


def as_float64(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> textbook.Pairs:
    return [(weights.astype(np.float64), biases.astype(np.float64)) for weights, biases in pairs]


def bits(*arrays: np.ndarray) -> list[bytes]:
    """What equality down to the last bit means: the sign of a zero counts, too."""
    return [array.tobytes() for array in arrays]


def bits_of_step(network: Network | NetworkWithCheckpointing, x: np.ndarray, y: np.ndarray) -> list[bytes]:
    outputs = network.forward(x)
    return bits(outputs, *(array for pair in network.backward(y) for array in pair))


# Independent oracles


@every_network
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradients_match_finite_differences(build: Build, activation: str):
    """Central differences of the mean cross-entropy of `predict`: error O(h^2) + O(eps / h), about 1e-9 at h = 1e-6."""
    network = with_random_biases(build(LAYERS, activation=activation, dtype="float64"))
    x, y = random_data(LAYERS, batch=5, dtype="float64")

    def loss() -> float:
        return -np.log(network.predict(x)[np.arange(5), y]).mean()

    network.forward(x)
    deltas = network.backward(y)
    for parameters, gradients in zip(network.parameters, deltas, strict=True):
        for parameter, gradient in zip(parameters, gradients, strict=True):
            expected = finite_differences(loss, parameter, step=1e-6)
            np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-8)


def finite_differences(loss: Callable[[], float], parameter: np.ndarray, *, step: float) -> np.ndarray:
    differences = np.empty_like(parameter)
    for index in np.ndindex(parameter.shape):
        value = parameter[index]
        parameter[index] = value + step
        above = loss()
        parameter[index] = value - step
        below = loss()
        parameter[index] = value
        differences[index] = (above - below) / (2 * step)
    return differences


@every_network
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("float64", 1e-11)])
@pytest.mark.parametrize("batch", [1, 7, 700])
def test_gradients_match_the_textbook(build: Build, activation: str, dtype: str, tolerance: float, batch: int):
    """Against a float64 textbook, to the rounding that a few layers accumulate, relative to the largest gradient."""
    network = with_random_biases(build(LAYERS, activation=activation, dtype=dtype))
    x, y = random_data(LAYERS, batch, dtype)
    expected = textbook.step(as_float64(network.parameters), x.astype(np.float64), y, activation)

    np.testing.assert_allclose(network.forward(x), expected.afters[-1], rtol=0, atol=tolerance)
    for gradients, oracle in zip(network.backward(y), expected.deltas, strict=True):
        for gradient, right in zip(gradients, oracle, strict=True):
            assert gradient.dtype == dtype
            np.testing.assert_allclose(gradient, right, rtol=0, atol=tolerance * max(1, np.abs(right).max()))


@pytest.mark.parametrize("classes", [1, 2, 32, 33, 1000])
def test_gradients_of_any_number_of_classes_match_the_textbook(classes: int):
    """Few are turned for their softmax, many are not; and labels come in more than one block of rows."""
    layers = [3, 5, classes]
    network = with_random_biases(Network(layers, dtype="float64"))
    x, y = random_data(layers, 700, "float64")
    expected = textbook.step(network.parameters, x, y, "relu")

    np.testing.assert_allclose(network.forward(x), expected.afters[-1], rtol=1e-11)
    for gradients, oracle in zip(network.backward(y), expected.deltas, strict=True):
        for gradient, right in zip(gradients, oracle, strict=True):
            np.testing.assert_allclose(gradient, right, rtol=0, atol=1e-13)


@every_network
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradients_match_the_autograd_of_torch(build: Build, activation: str):
    torch = pytest.importorskip("torch")
    network = with_random_biases(build(LAYERS, activation=activation, dtype="float64"))
    x, y = random_data(LAYERS, batch=9, dtype="float64")

    parameters = [tuple(torch.tensor(array, requires_grad=True) for array in pair) for pair in network.parameters]
    after = torch.tensor(x)
    for weights, biases in parameters[:-1]:
        after = getattr(torch, activation)(after @ weights + biases)
    weights, biases = parameters[-1]
    torch.nn.functional.cross_entropy(after @ weights + biases, torch.tensor(y)).backward()

    network.forward(x)
    for gradients, tensors in zip(network.backward(y), parameters, strict=True):
        for gradient, tensor in zip(gradients, tensors, strict=True):
            np.testing.assert_allclose(gradient, tensor.grad.numpy(), rtol=1e-10, atol=1e-12)


def test_a_relu_passes_no_delta_where_its_sum_is_zero():
    """Its mask is read from the bits of its output, so zeros of both signs matter."""
    network = Network([2, 4, 3], dtype="float64")
    (weights, biases), _ = network.parameters
    weights[:] = [[0.0, -0.0, 1.0, -1.0], [0.0, -0.0, 0.0, 0.0]]
    biases[:] = [0.0, -0.0, 0.0, 0.0]
    network.forward(np.array([[1.0, 0.0], [-0.0, 1.0]]))
    (weights_delta, biases_delta), _ = network.backward([0, 1])
    assert biases_delta[[0, 1, 3]].tolist() == [0, 0, 0]
    assert weights_delta[0, 2] != 0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_a_relu_hides_no_divergence(dtype: str):
    network = Network([1, 2, 5, 3], dtype=dtype)
    network.parameters[0][0][:] = np.inf
    network.parameters[1][0][:] = [[1.0] * 5, [-1.0] * 5]  # inf - inf
    assert np.isnan(network.forward(np.ones((4, 1)))).all()
    assert all(np.isnan(delta).all() for delta in network.backward([0, 1, 2, 0])[-1])


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning", "ignore:invalid value:RuntimeWarning")
def test_a_divergence_of_an_upper_layer_reaches_the_layers_below():
    network = Network([1, 3, 2, 5, 3])
    for (weights, _), value in zip(network.parameters, (1, 3e38, [[1.0] * 5, [-1.0] * 5]), strict=False):
        weights[:] = value
    assert np.isnan(network.forward(np.full((4, 1), 10))).all()
    for pair in network.backward([0, 1, 2, 0]):
        assert all(np.isnan(delta).all() for delta in pair)


def test_sums_too_large_for_an_exponential_are_no_trouble():
    """A softmax shifts them, and where a sigmoid's overflows, its limit is right."""
    network = Network([2, 2])
    ((weights, _),) = network.parameters
    weights[:] = np.diag([1000, 1000])
    assert network.forward(np.array([[1, 0], [0, 1], [1, 1]])).tolist() == [[1, 0], [0, 1], [0.5, 0.5]]

    network = NetworkWithCheckpointing([1, 3, 2], checkpoint_frequency=1, activation="sigmoid")
    (weights, _), _ = network.parameters
    weights[:] = [[1000, -1000, 0]]
    network.forward(np.array([[1], [-1]]))
    assert network.get_cached_after_or_calculate(1).tolist() == [[1, 0, 0.5], [0, 1, 0.5]]


@every_network
def test_one_hot_labels_give_the_gradients_of_integer_labels(build: Build):
    x, y = random_data(LAYERS, batch=7)
    one_hot = np.eye(3, dtype=int)[y]
    expected = bits_of_step(build(LAYERS), x, y)
    for same in (y.tolist(), y.astype(np.uint8), y.astype(np.uint64), one_hot, one_hot.astype(bool), one_hot.tolist()):
        assert bits_of_step(build(LAYERS), x, same) == expected


# Checkpointing changes nothing


@given(configurations(), st.lists(st.tuples(st.booleans(), st.integers(0, 17)), max_size=4))
def test_checkpointed_gradients_equal_store_alls_to_the_bit(
    configuration: Configuration, questions: list[tuple[bool, int]]
):
    """Whatever is kept or recomputed, and whatever was asked between the passes."""
    x, y = configuration.data()
    network = configuration.checkpointed()
    outputs = network.forward(x)
    for compute, layer in questions:
        ask = network.forward_up_to_layer if compute else network.get_cached_after_or_calculate
        ask(layer % len(network.layers))
    deltas = [array for pair in network.backward(y) for array in pair]
    assert bits(outputs, *deltas) == bits_of_step(configuration.store_all(), x, y)


@given(configurations(), st.integers(0, 2**32))
def test_gradients_of_any_schedule_equal_store_alls_to_the_bit(configuration: Configuration, seed: int):
    """Checkpoints may be dropped early, kept unevenly, kept again; the position a stretch starts from included."""
    x, y = configuration.data()
    network = configuration.checkpointed()
    network.schedule = whimsical(seed)
    assert bits_of_step(network, x, y) == bits_of_step(configuration.store_all(), x, y)


@both_recomputes
@pytest.mark.parametrize("threads", [1, 2])
def test_wide_layers_of_several_blocks_give_the_same_bits(build: Build, threads: int):
    layers, batch = [70, 520, 520, 520, 500, 10], 600
    assert batch / block_rows(batch, 520, itemsize=8) > 2
    x, y = random_data(layers, batch, "float64")
    with threadpool_limits(threads, user_api="blas"):
        assert bits_of_step(build(layers, dtype="float64"), x, y) == bits_of_step(
            Network(layers, dtype="float64"), x, y
        )


@given(configurations())
def test_a_network_without_checkpoints_predicts_what_it_computes_forward(configuration: Configuration):
    x, _ = configuration.data()
    network = configuration.store_all()
    assert bits(network.predict(x)) == bits(network.forward(x))


@given(configurations(), st.lists(st.integers(0, 17), min_size=1, max_size=4))
def test_any_after_can_be_asked_for_between_the_passes(configuration: Configuration, layers: list[int]):
    """Each answer is the textbook's after, the same bits whether cached or recomputed, and valid until `backward`."""
    x, _ = configuration.data()
    network, keeper = configuration.checkpointed(), replace(configuration, checkpoint_frequency=1).checkpointed()
    expected = textbook.step(
        as_float64(network.parameters), x.astype(np.float64), np.zeros(len(x), int), configuration.activation
    ).afters
    network.forward(x)
    keeper.forward(x)
    answers = []
    for layer in layers:
        after = network.get_cached_after_or_calculate(layer % len(network.layers))
        answers.append((after, after.copy()))
        np.testing.assert_allclose(after, expected[layer % len(expected)], rtol=0, atol=1e-4)
        assert bits(after) == bits(keeper.get_cached_after_or_calculate(layer % len(network.layers)))
    for after, as_answered in answers:
        assert bits(after) == bits(as_answered)


# Initial weights and training


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_same_seed_gives_both_networks_the_same_weights(activation: str, dtype: str):
    options = {"activation": activation, "dtype": dtype}
    networks = [build(LAYERS, seed=5, **options) for build in BUILDERS]
    first, *others = [bits(*(array for pair in network.parameters for array in pair)) for network in networks]
    assert all(other == first for other in others)
    assert bits(Network(LAYERS, seed=6, **options).parameters[0][0]) != first[:1]


@pytest.mark.parametrize(("activation", "scale"), [("relu", "he"), ("sigmoid", "glorot"), ("tanh", "glorot")])
def test_weights_start_with_the_deviation_that_suits_the_activation(activation: str, scale: str):
    """20,000 or more values a layer: their deviation is within 2 % of the true one, at more than 4 sigma."""
    layers = [400, 200, 100, 300]
    for (inputs, outputs), (weights, biases) in zip(
        pairwise(layers), Network(layers, activation=activation).parameters, strict=True
    ):
        deviation = math.sqrt(2 / inputs) if scale == "he" else math.sqrt(2 / (inputs + outputs))
        assert weights.shape == (inputs, outputs)
        assert weights.std() == pytest.approx(deviation, rel=0.02)
        assert weights.mean() == pytest.approx(0, abs=4 * deviation / math.sqrt(weights.size))
        assert biases.tolist() == [0] * outputs


@both_recomputes
@pytest.mark.parametrize("optimizer", [lambda: SGD(0.1, momentum=0.9), lambda: Adam(0.01)], ids=["sgd", "adam"])
def test_twenty_epochs_of_training_give_identical_weights(build: Build, optimizer: Callable[[], Optimizer]):
    def weights_after_training(network: Network | NetworkWithCheckpointing) -> list[bytes]:
        x, y = random_data(LAYERS, batch=100)
        generator = np.random.default_rng(3)
        train(network, x, y, epochs=20, batch_size=32, optimizer=optimizer(), generator=generator, progress=None)
        return bits(*(array for pair in network.parameters for array in pair))

    trained = weights_after_training(build(LAYERS))
    assert trained == weights_after_training(Network(LAYERS))
    assert trained != bits(*(array for pair in build(LAYERS).parameters for array in pair))
