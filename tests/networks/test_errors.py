"""Bad input is an error of one line that names the value; the network works afterwards as if it had not happened."""

import re
from functools import partial

import numpy as np
import pytest

from networks import Network, NetworkWithCheckpointing, dry_run, plan
from networks.optimizers import SGD
from networks.schedules import store_all
from tests.support.errors import (
    BATCH,
    LAYERS,
    NO_FORWARD_PASS,
    AnyNetwork,
    Build,
    X,
    Y,
    expect_error,
    expect_to_work_as_new,
    gradients,
)

both_networks = pytest.mark.parametrize(
    "build", [Network, partial(NetworkWithCheckpointing, checkpoint_frequency=2)], ids=["store-all", "checkpointing"]
)


def with_value(value: float, at: int | tuple[int, int], of: np.ndarray) -> np.ndarray:
    changed = of.copy()
    changed[at] = value
    return changed


# What a network is made of


@both_networks
@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([], "layers needs at least two widths, the inputs and the outputs, got []"),
        ([64], "layers needs at least two widths, the inputs and the outputs, got [64]"),
        ([64, 0, 10], "layers[1] must be an integer of at least 1, got 0"),
        ([-64, 10], "layers[0] must be an integer of at least 1, got -64"),
        ([64, 12.5], "layers[1] must be an integer of at least 1, got 12.5"),
        ([64, 10.0], "layers[1] must be an integer of at least 1, got 10.0"),
        ([64, "10"], "layers[1] must be an integer of at least 1, got '10'"),
        ([64, None], "layers[1] must be an integer of at least 1, got None"),
        ([64, True], "layers[1] must be an integer of at least 1, got True"),
        ([64, float("nan")], "layers[1] must be an integer of at least 1, got nan"),
        ([[64, 10]] * 2, "layers[0] must be an integer of at least 1, got [64, 10]"),
        (64, "layers must be a list of widths such as [64, 128, 10], got 64"),
        (None, "layers must be a list of widths such as [64, 128, 10], got None"),
        ("64,10", "layers must be a list of widths such as [64, 128, 10], got the text '64,10'"),
    ],
)
def test_layers_are_two_or_more_positive_integers(build: Build, layers: object, message: str):
    expect_error(message, build, layers)


@both_networks
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"activation": "gelu"}, "activation must be one of relu, sigmoid, tanh, got 'gelu'"),
        ({"activation": None}, "activation must be one of relu, sigmoid, tanh, got None"),
        ({"activation": ["relu"]}, "activation must be one of relu, sigmoid, tanh, got ['relu']"),
        ({"dtype": "float16"}, "dtype must be float32 or float64, got 'float16'"),
        ({"dtype": "int64"}, "dtype must be float32 or float64, got 'int64'"),
        ({"dtype": "double precision"}, "dtype must be float32 or float64, got 'double precision'"),
        ({"dtype": ">f4"}, "dtype must be float32 or float64, got '>f4'"),
        ({"dtype": None}, "dtype must be float32 or float64, got None"),
        ({"dtype": 32}, "dtype must be float32 or float64, got 32"),
    ],
)
def test_options_are_known_ones(build: Build, options: dict[str, object], message: str):
    expect_error(message, build, LAYERS, **options)


@pytest.mark.parametrize("frequency", [0, -1, 2.0, 1.5, "2", True, float("inf"), []])
def test_a_frequency_is_an_integer_of_at_least_1(frequency: object):
    message = f"checkpoint_frequency must be an integer of at least 1, got {frequency!r}"
    expect_error(message, NetworkWithCheckpointing, LAYERS, checkpoint_frequency=frequency)


@pytest.mark.parametrize("recompute", ["all", "", None, 2, ["each"]])
def test_recompute_is_segment_or_each(recompute: object):
    message = f"recompute must be 'segment' or 'each', got {recompute!r}"
    expect_error(message, NetworkWithCheckpointing, LAYERS, checkpoint_frequency=2, recompute=recompute)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "got checkpoint_frequency=None and schedule=None"),
        ({"checkpoint_frequency": 2, "schedule": store_all()}, "got checkpoint_frequency=2 and schedule=store_all()"),
    ],
)
def test_either_a_frequency_or_a_schedule_is_given(options: dict[str, object], message: str):
    expected = f"one of checkpoint_frequency and schedule must be given, {message}"
    expect_error(expected, NetworkWithCheckpointing, LAYERS, **options)


def test_a_schedule_is_a_function_and_says_itself_what_is_kept_again():
    make = partial(NetworkWithCheckpointing, LAYERS)
    message = "schedule must be a function of a chain, such as revolve(slots=4), got 'revolve'"
    expect_error(message, make, schedule="revolve")
    message = "recompute='each' goes with checkpoint_frequency, not with a schedule"
    expect_error(message, make, schedule=store_all(), recompute="each")


@both_networks
def test_equivalent_arguments_are_welcome(build: Build):
    """Any integers for layers, in any container; types for names of types."""
    assert build(np.array(LAYERS)).layers == build(iter(LAYERS)).layers == tuple(LAYERS)
    assert build(LAYERS, dtype=np.float64).dtype == build(LAYERS, dtype="float64").dtype == np.float64
    assert NetworkWithCheckpointing(LAYERS, checkpoint_frequency=np.int64(2)).forward(X).shape == (BATCH, 3)


# What it is given

BAD_INPUTS = [
    (with_value(np.nan, (3, 2), X), "x must be finite as float32, got nan"),
    (with_value(np.inf, (0, 0), X), "x must be finite as float32, got inf"),
    (with_value(-np.inf, (4, 3), X), "x must be finite as float32, got -inf"),
    (with_value(1e300, (1, 1), X.astype(np.float64)), "x must be finite as float32, got inf"),
    (X[0], "x must have shape (batch, 4), got (4,)"),
    (X[:, :3], "x must have shape (batch, 4), got (5, 3)"),
    (X.T, "x must have shape (batch, 4), got (4, 5)"),
    (X[None], "x must have shape (batch, 4), got (1, 5, 4)"),
    (X[:0], "x must have at least one row, got shape (0, 4)"),
    ([], "x must have shape (batch, 4), got (0,)"),
    ([["1", "2", "3", "4"]], "x must hold real numbers, got dtype <U1"),
    (X.astype(complex), "x must hold real numbers, got dtype complex128"),
    (X.astype(object), "x must hold real numbers, got dtype object: call x.astype('float32')"),
    (None, "x must hold real numbers, got dtype object"),
]


@both_networks
@pytest.mark.parametrize(("x", "message"), BAD_INPUTS)
def test_inputs_are_finite_rows_of_the_first_width(build: Build, x: object, message: str):
    network = build(LAYERS)
    expect_error(message, network.predict, x)
    expect_error(message, network.forward, x)
    expect_to_work_as_new(network)


@both_networks
def test_inputs_whose_squares_overflow_are_finite(build: Build):
    assert np.isfinite(build(LAYERS).predict(np.full_like(X, 1e30))).all()


@both_networks
def test_inputs_and_labels_are_rectangular(build: Build):
    """The rest of the message is numpy's own."""
    network = build(LAYERS)
    with pytest.raises(ValueError, match=r"^x must be a rectangular array: .*$"):
        network.forward([[1, 2, 3, 4], [1, 2]])
    network.forward(X)
    with pytest.raises(ValueError, match=r"^y must be a rectangular array: .*$"):
        network.backward([[1, 0, 0], [1, 0]])


ONE_HOT = np.eye(3)[Y]


def with_row(row: int, values: list[float]) -> np.ndarray:
    changed = ONE_HOT.copy()
    changed[row] = values
    return changed


BAD_LABELS = [
    (with_value(3, 2, Y), "y must hold labels from 0 to 2, got 3"),
    (with_value(-1, 4, Y), "y must hold labels from 0 to 2, got -1"),
    (Y + 0.5, f"y must hold integer labels, got dtype float64, first {Y[0] + 0.5}"),
    (Y.astype(float), f"y must hold integer labels, got dtype float64, first {Y[0]}.0: call y.astype(int)"),
    (
        ["2", "0", "1", "0", "1"],
        "y must hold integer labels, got dtype <U1, first '2': "
        "call np.unique(y, return_inverse=True)[1], which numbers the classes",
    ),
    ([True] * 5, "y must hold integer labels, got dtype bool, first True: call np.array(y).astype(int)"),
    ([None] * 5, "y must hold integer labels, got dtype object, first None"),
    (Y[:4], "y must have 5 labels, one for each row of x, got 4"),
    ([*Y, 0], "y must have 5 labels, one for each row of x, got 6"),
    ([], "y must have 5 labels, one for each row of x, got 0"),
    (1, "y must be labels (5,) or one-hot (5, 3), got shape ()"),
    (None, "y must be labels (5,) or one-hot (5, 3), got shape ()"),
    (ONE_HOT[None], "y must be labels (5,) or one-hot (5, 3), got shape (1, 5, 3)"),
    (ONE_HOT[:4], "one-hot y must have shape (5, 3), got (4, 3)"),
    (ONE_HOT[:, :2], "one-hot y must have shape (5, 3), got (5, 2)"),
    (Y[:, None], "one-hot y must have shape (5, 3), got (5, 1); labels are flat: call y.ravel()"),
    ([["1", "0", "0"]] * 5, "one-hot y must hold numbers, got dtype <U1"),
    (np.zeros((5, 3)), "one-hot y must have a 1 and zeros in every row, got [] and zeros in row 0"),
    (with_row(2, [0.0, 1.0, 1.0]), "one-hot y must have a 1 and zeros in every row, got [1.0, 1.0] and zeros in row 2"),
    (with_row(1, [0.0, 0.5, 0.5]), "one-hot y must have a 1 and zeros in every row, got [0.5, 0.5] and zeros in row 1"),
    (with_row(3, [1.0, 0.0, 2.0]), "one-hot y must have a 1 and zeros in every row, got [1.0, 2.0] and zeros in row 3"),
    (
        with_row(4, [1.0, np.nan, 0]),
        "one-hot y must have a 1 and zeros in every row, got [1.0, nan] and zeros in row 4",
    ),
]


@both_networks
@pytest.mark.parametrize(("y", "message"), BAD_LABELS)
def test_labels_are_integers_of_the_classes_or_one_hot_rows(build: Build, y: object, message: str):
    """The forward pass survives: with the right labels `backward` gives the gradients it would have given."""
    network = build(LAYERS)
    network.forward(X)
    expect_error(message, network.backward, y)
    assert [array.tolist() for pair in network.backward(Y) for array in pair] == gradients(Network(LAYERS))
    expect_to_work_as_new(network)


# When it is asked


@both_networks
def test_backward_needs_a_forward_pass_of_its_own(build: Build):
    network = build(LAYERS)
    expect_error(NO_FORWARD_PASS, network.backward, Y, kind=RuntimeError)
    network.forward(X)
    network.backward(Y)
    expect_error(NO_FORWARD_PASS, network.backward, Y, kind=RuntimeError)
    network.predict(X)
    expect_error(NO_FORWARD_PASS, network.backward, Y, kind=RuntimeError)
    expect_to_work_as_new(network)


@pytest.mark.parametrize("question", ["get_cached_after_or_calculate", "forward_up_to_layer"])
def test_a_question_needs_a_forward_pass_and_a_layer_that_is_there(question: str):
    network = NetworkWithCheckpointing(LAYERS, checkpoint_frequency=2)
    ask = getattr(network, question)
    expect_error(NO_FORWARD_PASS, ask, 1, kind=RuntimeError)
    network.forward(X)
    for layer in (-1, 5, 1.0, "1", None):
        expect_error(f"layer must be an integer from 0 to 4, got {layer!r}", ask, layer)
    assert ask(4).shape == (BATCH, 3)
    network.backward(Y)
    expect_error(NO_FORWARD_PASS, ask, 1, kind=RuntimeError)
    expect_to_work_as_new(network)


@both_networks
def test_a_network_is_usable_after_an_interrupt(build: Build):
    """Ctrl-C at any event of a step."""
    network = build(LAYERS)
    gradients(network)
    for moment in range(len(network.tracker.timeline)):
        network.observer = partial(interrupt_at, moment, network)
        with pytest.raises(KeyboardInterrupt):
            gradients(network)
        network.observer = None
        expect_error(NO_FORWARD_PASS, network.backward, Y, kind=RuntimeError)
        expect_to_work_as_new(network)


def interrupt_at(moment: int, network: AnyNetwork) -> None:
    if len(network.tracker.timeline) > moment:
        raise KeyboardInterrupt


@pytest.mark.parametrize("seed", [-1, 1.5, "a", True, None])
def test_a_seed_is_a_natural_number(seed):
    with pytest.raises(ValueError, match=re.escape(f"seed must be an integer of at least 0, got {seed!r}")):
        Network([4, 3], seed=seed)


def test_a_learning_rate_is_a_number():
    with pytest.raises(ValueError, match="learning_rate must be at least 0 and below inf, got 'a'"):
        SGD("a")


@pytest.mark.parametrize("batch", [2**63, 10**30])
def test_a_count_that_no_file_holds_is_named(batch):
    with pytest.raises(ValueError, match=f"batch must be an integer of at most {2**63 - 1}, got {batch}"):
        dry_run([4, 3], batch=batch)


def test_a_batch_whose_bytes_pass_64_bits_is_named():
    with pytest.raises(ValueError, match=f"a batch of {2**61} is too large for these layers"):
        plan([4, 3], batch=2**61, budget_bytes=2**62)


def test_a_layer_is_no_truth_value():
    network = NetworkWithCheckpointing([4, 5, 3], checkpoint_frequency=2)
    network.forward(np.ones((2, 4), dtype=np.float32))
    with pytest.raises(ValueError, match="layer must be an integer from 0 to 2, got True"):
        network.get_cached_after_or_calculate(True)


@pytest.mark.parametrize("run", [dry_run, partial(plan, budget_bytes=2**62)])
def test_a_batch_whose_operations_may_pass_64_bits_is_named(run):
    for layers, batch in (([64, 128, 10], 10**15), ([4] * 65, 10**14)):
        with pytest.raises(
            ValueError, match=f"a batch of {batch} is too large for these layers: a step passes {2**63 - 1}"
        ):
            run(layers, batch=batch)


def test_what_is_let_through_is_counted_in_64_bits_by_the_schedule_that_runs_most():
    trace = dry_run([4] * 65, batch=10**13, checkpoint_frequency=64, recompute="each")
    assert trace.forward_flops == 2 * 16 * 10**13 * (64 + sum(range(63))) < 2**63
