"""Optimisers against hand formulas; training against a loop over textbook steps."""

import math
from fractions import Fraction
from itertools import chain, islice

import numpy as np
import pytest

from networks import Network
from networks.losses import cross_entropy
from networks.optimizers import SGD, Adam, Optimizer
from networks.perceptron import Deltas
from networks.training import Epoch, evaluate, train, train_epochs
from tests.support import textbook

LAYERS, SAMPLES = [5, 7, 4], 10


def training_data(samples: int = SAMPLES) -> tuple[np.ndarray, np.ndarray]:
    """Inputs whose first column is the number of the row, and labels that follow from that number."""
    x = np.random.default_rng(8).standard_normal((samples, LAYERS[0]))
    x[:, 0] = np.arange(samples)
    return x, np.arange(samples) % LAYERS[-1]


class WatchedNetwork(Network):
    """Writes down the batches it is trained on: the numbers of their rows, and their labels."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.batches: list[list[int]] = []
        self.labels: list[list[int]] = []

    def train_step(self, x: np.ndarray, y: np.ndarray, optimizer: Optimizer, **options) -> np.ndarray:
        self.batches.append(x[:, 0].astype(int).tolist())
        self.labels.append(y.tolist())
        return super().train_step(x, y, optimizer, **options)


# Optimisers


def values_after_updates(optimizer: Optimizer, deltas: list[float]) -> list[float]:
    """A single weight that starts at 1, after each update."""
    weights, biases = np.ones((1, 1)), np.zeros(1)
    values = []
    for delta in deltas:
        optimizer.update([(weights, biases)], [(np.array([[delta]]), np.zeros(1))])
        values.append(weights.item())
    return values


def test_sgd_goes_down_the_gradient():
    assert values_after_updates(SGD(0.1), [0.5, -0.25, 1.0]) == pytest.approx([0.95, 0.975, 0.875])


def test_momentum_adds_up_a_velocity():
    """Velocities 0.5, 0.9 * 0.5 - 0.25 = 0.2 and 0.9 * 0.2 + 1 = 1.18."""
    assert values_after_updates(SGD(0.1, momentum=0.9), [0.5, -0.25, 1.0]) == pytest.approx([0.95, 0.93, 0.812])


def test_adam_follows_algorithm_1_of_its_paper():
    alpha, beta1, beta2, epsilon = 0.1, 0.8, 0.95, 1e-3
    theta, m, v = 1.0, 0.0, 0.0
    expected = []
    deltas = [0.5, -0.25, 1.0, 0.0]
    for t, g in enumerate(deltas, start=1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        m_hat = m / (1 - beta1**t)
        v_hat = v / (1 - beta2**t)
        theta = theta - alpha * m_hat / (math.sqrt(v_hat) + epsilon)
        expected.append(theta)
    adam = Adam(alpha, beta1=beta1, beta2=beta2, epsilon=epsilon)
    assert values_after_updates(adam, deltas) == pytest.approx(expected)
    assert expected[0] == pytest.approx(0.9, abs=1e-3)  # the first step is alpha long, whatever the gradient


@pytest.mark.parametrize("make", [lambda: SGD(0.1, momentum=0.9), lambda: Adam(0.1)], ids=["sgd", "adam"])
def test_weights_and_biases_of_each_layer_have_a_state_of_their_own(make):
    together, generator = make(), np.random.default_rng(2)
    parameters = [(np.ones((2, 3)), np.ones(3)), (np.ones((3, 2)), np.ones(2))]
    alone = [[(make(), part.copy()) for part in pair] for pair in parameters]
    for _ in range(3):
        deltas = [tuple(generator.standard_normal(part.shape) for part in pair) for pair in parameters]
        given = [tuple(part.copy() for part in pair) for pair in deltas]
        together.update(parameters, deltas)
        for pair, lone_pair, pair_deltas, pair_given in zip(parameters, alone, deltas, given, strict=True):
            for part, (optimizer, lone), delta, as_given in zip(pair, lone_pair, pair_deltas, pair_given, strict=True):
                optimizer.update([(lone, np.zeros(0))], [(delta, np.zeros(0))])
                np.testing.assert_array_equal(part, lone)
                np.testing.assert_array_equal(delta, as_given)


def test_apply_deltas_is_plain_gradient_descent_in_place():
    network = Network(LAYERS, dtype="float64")
    x, y = training_data()
    network.forward(x)
    deltas = network.backward(y)
    parameters = network.parameters
    expected = [
        part - 0.1 * delta
        for pair, pair_deltas in zip(parameters, deltas, strict=True)
        for part, delta in zip(pair, pair_deltas, strict=True)
    ]
    network.apply_deltas(deltas, learning_rate=0.1)
    for part, now, value in zip(chain(*parameters), chain(*network.parameters), expected, strict=True):
        assert part is now
        np.testing.assert_array_equal(part, value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SGD(-0.1), "learning_rate must be at least 0 and below inf, got -0.1"),
        (lambda: SGD(math.nan), "learning_rate must be at least 0 and below inf, got nan"),
        (lambda: Adam(math.inf), "learning_rate must be at least 0 and below inf, got inf"),
        (lambda: SGD(0.1, momentum=1), "momentum must be at least 0 and below 1, got 1"),
        (lambda: Adam(beta1=1.5), "beta1 must be at least 0 and below 1, got 1.5"),
        (lambda: Adam(beta2=-1), "beta2 must be at least 0 and below 1, got -1"),
        (lambda: Network(LAYERS).apply_deltas([], 0.1), "deltas must have one pair for each of 2 layers, got 0"),
        (
            lambda: Network([5, 4]).apply_deltas([(np.zeros((4, 5)), np.zeros(4))], 0.1),
            "layer 1: delta must have shape (5, 4), got (4, 5)",
        ),
        (
            lambda: used(Adam(), LAYERS).update(Network([5, 4, 4]).parameters, zeros([5, 4, 4])),
            "optimizer holds another network's state, 35 values where layer 1 has 20; make one for each network",
        ),
    ],
)
def test_a_wrong_rate_or_delta_is_an_error_that_names_it(make, message: str):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        make()
    assert str(caught.value) == message


def zeros(layers: list[int]) -> Deltas:
    return [tuple(np.zeros_like(part) for part in pair) for pair in Network(layers).parameters]


def used(optimizer: Optimizer, layers: list[int]) -> Optimizer:
    """`optimizer` after an update of a network of `layers`."""
    optimizer.update(Network(layers).parameters, zeros(layers))
    return optimizer


@pytest.mark.parametrize("make", [lambda: SGD(0.1, momentum=0.9), Adam])
def test_an_update_that_is_refused_has_changed_nothing(make):
    network, optimizer = Network(LAYERS), make()
    deltas = zeros(LAYERS)
    before = flat(network.parameters)
    for array in deltas[0]:
        array += 1
    weights_delta, biases_delta = deltas[1]
    with pytest.raises(ValueError, match=r"^layer 2: delta must have shape"):
        optimizer.update(network.parameters, [deltas[0], (weights_delta.T, biases_delta)])
    np.testing.assert_array_equal(before, flat(network.parameters))
    optimizer.update(network.parameters, deltas)
    other = Network(LAYERS)
    make().update(other.parameters, deltas)
    np.testing.assert_array_equal(flat(network.parameters), flat(other.parameters))


def flat(parameters: Deltas) -> np.ndarray:
    return np.concatenate([part.ravel() for pair in parameters for part in pair])


def test_a_step_by_an_optimizer_of_another_network_changes_nothing():
    network, optimizer = Network([5, 4, 4]), used(Adam(), LAYERS)
    before = flat(network.parameters)
    with pytest.raises(ValueError, match=r"^optimizer holds another network's state"):
        network.train_step(np.ones((2, 5)), [0, 1], optimizer)
    np.testing.assert_array_equal(before, flat(network.parameters))


@pytest.mark.parametrize("rate", [np.float64(0.1), Fraction(1, 10)])
def test_a_rate_of_any_kind_is_a_number_like_any_other(rate):
    ours, others = Network(LAYERS), Network(LAYERS)
    deltas = [tuple(np.full_like(part, 0.3) for part in pair) for pair in ours.parameters]
    SGD(0.1).update(ours.parameters, deltas)
    SGD(rate).update(others.parameters, deltas)
    np.testing.assert_array_equal(flat(ours.parameters), flat(others.parameters))


# Losses


def test_cross_entropy_is_the_mean_of_the_negative_logarithms():
    outputs = np.array([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]])
    assert cross_entropy(outputs, np.array([1, 2])) == pytest.approx((math.log(4) - math.log(0.8)) / 2)


def test_cross_entropy_stays_finite_where_a_probability_underflowed():
    outputs = np.array([[1, 0]], dtype=np.float32)
    assert cross_entropy(outputs, np.array([1])) == pytest.approx(126 * math.log(2))  # the smallest normal float32


# Training


def test_every_epoch_visits_each_sample_once_and_the_last_batch_is_the_rest():
    network = WatchedNetwork(LAYERS)
    x, y = training_data()
    train(network, x, y, epochs=2, batch_size=4, optimizer=SGD(0.1), generator=np.random.default_rng(0), progress=None)
    assert [len(batch) for batch in network.batches] == [4, 4, 2, 4, 4, 2]
    first, second = list(chain(*network.batches[:3])), list(chain(*network.batches[3:]))
    assert sorted(first) == sorted(second) == list(range(SAMPLES))
    assert first != second
    assert first != sorted(first)
    assert network.labels == [[row % LAYERS[-1] for row in batch] for batch in network.batches]


def test_the_order_is_the_generators():
    """A permutation an epoch, and nothing else, is drawn from the generator that was passed in."""
    generator, twin = np.random.default_rng(7), np.random.default_rng(7)
    network = WatchedNetwork(LAYERS)
    x, y = training_data()
    train(network, x, y, epochs=3, batch_size=SAMPLES, optimizer=SGD(0.1), generator=generator, progress=None)
    assert network.batches == [twin.permutation(SAMPLES).tolist() for _ in range(3)]
    assert generator.bit_generator.state == twin.bit_generator.state


def test_training_is_the_textbooks_and_so_is_its_history():
    """Losses and accuracies are means over samples, each batch as it was before its update."""
    network = Network(LAYERS, activation="tanh", dtype="float64")
    x, y = training_data()
    x_test, y_test = training_data(samples=7)
    parameters = [(weights.copy(), biases.copy()) for weights, biases in network.parameters]
    history = train(
        network, x, y, x_test=x_test, y_test=y_test, epochs=3, batch_size=4,
        optimizer=SGD(0.1), generator=np.random.default_rng(7), progress=None,
    )  # fmt: skip
    twin = np.random.default_rng(7)
    for number, epoch in enumerate(history, start=1):
        order, losses, right = twin.permutation(SAMPLES), [], 0
        for rows in (order[:4], order[4:8], order[8:]):
            step = textbook.step(parameters, x[rows], y[rows], "tanh")
            losses += [step.loss] * len(rows)
            right += sum(step.afters[-1].argmax(axis=1) == y[rows])
            for pair, deltas in zip(parameters, step.deltas, strict=True):
                for parameter, delta in zip(pair, deltas, strict=True):
                    parameter -= 0.1 * delta
        test = textbook.step(parameters, x_test, y_test, "tanh")
        assert epoch.number == number
        assert epoch.train_loss == pytest.approx(np.mean(losses), rel=1e-12)
        assert epoch.train_accuracy == right / SAMPLES
        assert epoch.test_loss == pytest.approx(test.loss, rel=1e-12)
        assert epoch.test_accuracy == np.mean(test.afters[-1].argmax(axis=1) == y_test)
        assert epoch.seconds > 0
    for pair, expected in zip(network.parameters, parameters, strict=True):
        for array, value in zip(pair, expected, strict=True):
            np.testing.assert_allclose(array, value, rtol=1e-12, atol=1e-12)


def test_one_hot_labels_train_as_integer_ones():
    def history(y: np.ndarray) -> list[tuple[float, float]]:
        generator = np.random.default_rng(1)
        epochs = train(Network(LAYERS), x, y, epochs=2, optimizer=Adam(), generator=generator, progress=None)
        return [(epoch.train_loss, epoch.train_accuracy) for epoch in epochs]

    x, y = training_data()
    assert history(np.eye(LAYERS[-1])[y]) == history(y)


@pytest.mark.parametrize("make", [lambda: SGD(0.1, momentum=0.9), lambda: Adam(0.01)], ids=["sgd", "adam"])
def test_training_equals_a_loop_of_backward_and_update_to_the_bit(make):
    x, y = training_data()
    network, expected, optimizer = Network(LAYERS), Network(LAYERS), make()
    train(network, x, y, epochs=2, batch_size=4, optimizer=make(), generator=np.random.default_rng(7), progress=None)
    twin = np.random.default_rng(7)
    for order in (twin.permutation(SAMPLES) for _ in range(2)):
        for rows in (order[:4], order[4:8], order[8:]):
            expected.forward(x[rows])
            optimizer.update(expected.parameters, expected.backward(y[rows]))
    for part, same in zip(chain(*network.parameters), chain(*expected.parameters), strict=True):
        np.testing.assert_array_equal(part, same)


def test_mini_batches_are_trained_in_parts():
    x, y = training_data()
    histories = []
    for options in ({}, {"micro_batch": 3}):
        network = Network(LAYERS, dtype="float64")
        options |= {"optimizer": SGD(0.1), "generator": np.random.default_rng(7), "progress": None}
        histories.append([epoch.train_loss for epoch in train(network, x, y, epochs=3, batch_size=5, **options)])
        parts = [event.action for event in network.tracker.timeline].count("part")
        assert parts == (2 if "micro_batch" in options else 0)
    assert histories[0] == pytest.approx(histories[1], rel=1e-12)


def test_a_network_learns_what_can_be_learned():
    generator = np.random.default_rng(0)
    x = generator.standard_normal((400, 2))
    y = (x[:, 0] * x[:, 1] > 0).astype(int)  # which two opposite quadrants: no linear rule tells
    network = Network([2, 32, 2])
    train(network, x, y, epochs=40, batch_size=32, optimizer=Adam(0.02), generator=generator, progress=None)
    _, accuracy = evaluate(network, x, y)
    assert accuracy > 0.97


def test_epochs_are_trained_one_at_a_time_as_they_are_asked_for():
    network = WatchedNetwork(LAYERS)
    x, y = training_data()
    epochs = train_epochs(network, x, y, optimizer=SGD(0.1), generator=np.random.default_rng(0))
    assert network.batches == []
    assert [epoch.number for epoch in islice(epochs, 2)] == [1, 2]
    assert len(network.batches) == 2


def test_progress_is_told_each_epoch():
    told = []
    x, y = training_data()
    history = train(
        Network(LAYERS), x, y, epochs=3, optimizer=SGD(0.1), generator=np.random.default_rng(0), progress=told.append
    )
    assert told == history
    assert [type(epoch) for epoch in told] == [Epoch] * 3


def test_progress_shows_a_line_an_epoch_unless_told_otherwise(capsys: pytest.CaptureFixture[str]):
    x, y = training_data()
    options = {"epochs": 2, "optimizer": SGD(0.1), "generator": np.random.default_rng(0)}
    with_test, without = (
        train(Network(LAYERS), x, y, x_test=x, y_test=y, **options),
        train(Network(LAYERS), x, y, **options),
    )
    shown = capsys.readouterr()
    assert shown.out == ""
    lines = shown.err.splitlines()
    assert len(lines) == 4
    last = with_test[-1]
    assert lines[1] == (
        f"epoch 2: train loss {last.train_loss:.4f} accuracy {last.train_accuracy:.2%}, "
        f"test {last.test_loss:.4f} {last.test_accuracy:.2%}, {last.seconds:.2f} s"
    )
    assert "test" not in lines[3]
    assert without[-1].test_loss is without[-1].test_accuracy is None

    train(Network(LAYERS), x, y, **options, progress=None)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs must be an integer of at least 1, got 0"),
        ({"batch_size": 0}, "batch_size must be an integer of at least 1, got 0"),
        ({"micro_batch": 0}, "micro_batch must be an integer of at least 1, got 0"),
        ({"batch_size": 2.5}, "batch_size must be an integer of at least 1, got 2.5"),
        ({"x": np.ones((10, 3))}, "x must have shape (batch, 5), got (10, 3)"),
        ({"y": np.zeros(9, int)}, "y must have 10 labels, one for each row of x, got 9"),
        ({"x_test": np.ones((2, 5))}, "x_test and y_test go together, got x_test alone"),
        ({"x_test": np.full((2, 5), np.nan), "y_test": [0, 1]}, "x must be finite as float32, got nan"),
        ({"generator": 0}, "generator must be one of numpy's, such as np.random.default_rng(0), got 0"),
    ],
)
def test_bad_data_are_refused_before_the_first_step(options: dict[str, object], message: str):
    network = WatchedNetwork(LAYERS)
    x, y = training_data()
    given = {"x": x, "y": y, "epochs": 1, "optimizer": SGD(0.1), "generator": np.random.default_rng(0)}
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        train(network, **given | options)
    assert str(caught.value) == message
    assert network.batches == []
