"""A training that diverges says so, and what is not a number is no right answer."""

from functools import partial

import numpy as np
import pytest

from networks import Network, NetworkWithCheckpointing
from networks.losses import count_right
from networks.optimizers import SGD, Adam
from networks.training import evaluate, train, train_epochs

LAYERS, SAMPLES = [5, 7, 4], 10
GENERATOR = np.random.default_rng(8)
X, Y = GENERATOR.standard_normal((SAMPLES, LAYERS[0])), np.arange(SAMPLES) % LAYERS[-1]

WAY_OUT = (
    "is not a number; lower the learning rate or scale the inputs, or go on regardless with on_divergence='continue'"
)

# numpy's own word on what overflows, which comes as well
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

both_networks = pytest.mark.parametrize(
    "build", [Network, partial(NetworkWithCheckpointing, checkpoint_frequency=2)], ids=["store-all", "checkpointing"]
)


class PoisonedSGD(SGD):
    """Makes all parameters NaN in the n-th update of the output layer, the first of a step to be updated."""

    def __init__(self, step: int):
        super().__init__(0.1)
        self.left = step

    def update_layer(self, layer: int, parameters: tuple, deltas: tuple, *, scratch: np.ndarray) -> None:
        super().update_layer(layer, parameters, deltas, scratch=scratch)
        self.left -= layer == 2
        if self.left == 0:
            for array in parameters:
                array[:] = np.nan


def options(step: int) -> dict[str, object]:
    """Three mini-batches an epoch; those after this step have NaN outputs."""
    generator = np.random.default_rng(0)
    return {"optimizer": PoisonedSGD(step), "generator": generator, "batch_size": 4, "progress": None}


@both_networks
@pytest.mark.parametrize("step", [1, 2, 4, 5])
def test_training_ends_at_the_first_loss_that_is_not_a_number(build, step: int):
    network = build(LAYERS)
    with pytest.raises(FloatingPointError) as caught:
        train(network, X, Y, epochs=3, **options(step))
    epoch, batch = divmod(step, 3)
    where = f"mini-batch {batch + 1} of epoch {epoch + 1}"
    assert str(caught.value) == f"training has diverged: the loss of {where} {WAY_OUT}"


def test_training_ends_where_the_last_step_has_spoilt_the_test():
    with pytest.raises(FloatingPointError) as caught:
        train(Network(LAYERS), X, Y, x_test=X, y_test=Y, epochs=3, **options(6))
    assert str(caught.value) == f"training has diverged: the loss of the test data after epoch 2 {WAY_OUT}"


def test_the_epochs_before_have_been_told():
    told = []
    with pytest.raises(FloatingPointError):
        train(Network(LAYERS), X, Y, epochs=3, **options(4) | {"progress": told.append})
    assert [epoch.number for epoch in told] == [1]
    assert np.isfinite(told[0].train_loss)


@both_networks
def test_it_goes_on_when_told_to(build):
    history = train(build(LAYERS), X, Y, x_test=X, y_test=Y, epochs=3, on_divergence="continue", **options(3))
    assert [epoch.number for epoch in history] == [1, 2, 3]
    assert [bool(np.isnan(epoch.train_loss)) for epoch in history] == [False, True, True]
    assert all(np.isnan(epoch.test_loss) for epoch in history)
    assert [epoch.test_accuracy for epoch in history] == [0, 0, 0]
    assert [epoch.train_accuracy for epoch in history[1:]] == [0, 0]


@both_networks
@pytest.mark.parametrize("optimizer", [SGD(1e30), SGD(1e8, momentum=0.9), Adam(1e38)], ids=["sgd", "momentum", "adam"])
def test_a_rate_that_is_far_too_high_is_found(build, optimizer):
    with pytest.raises(
        FloatingPointError, match=r"^training has diverged: the loss of mini-batch \d of epoch \d+ is not"
    ):
        train(
            build(LAYERS), X, Y, epochs=50, batch_size=4,
            optimizer=optimizer, generator=np.random.default_rng(0), progress=None,
        )  # fmt: skip


def test_a_large_loss_is_no_divergence():
    """Of the smallest likelihood there is: -log(tiny)."""
    network = Network(LAYERS)
    network.parameters[-1][1][:] = [1e30, 0, 0, 0]
    (epoch,) = train(network, X, Y, epochs=1, optimizer=SGD(0), generator=np.random.default_rng(0), progress=None)
    assert epoch.train_loss > 60
    assert epoch.train_accuracy == np.mean(Y == 0)


@pytest.mark.parametrize("value", ["raise", None, True, "Stop", ["stop"]])
def test_what_to_do_is_one_of_two_words(value: object):
    epochs = train_epochs(Network(LAYERS), X, Y, optimizer=SGD(0.1), generator=GENERATOR, on_divergence=value)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        next(epochs)
    assert str(caught.value) == f"on_divergence must be 'stop' or 'continue', got {value!r}"


# Right answers


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_row_with_nan_is_wrong_whatever_its_label(dtype: str):
    nan = np.nan
    outputs = np.array([[nan, nan], [nan, 1], [1, nan], [0.9, 0.1], [0.1, 0.9], [0.5, 0.5]], dtype=dtype)
    for label, right in ((0, [3, 5]), (1, [4])):  # of equal ones, the first
        for row in range(len(outputs)):
            assert count_right(outputs[row : row + 1], np.array([label])) == (row in right)
        assert count_right(outputs, np.full(len(outputs), label)) == len(right)


def test_a_diverged_network_is_right_about_nothing():
    network = Network(LAYERS)
    network.parameters[0][0][:] = np.nan
    loss, accuracy = evaluate(network, X, np.zeros(SAMPLES, dtype=int))
    assert np.isnan(loss)
    assert accuracy == 0
