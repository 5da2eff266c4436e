"""Columns and arrays of other libraries: right, or refused by one line that says what to call; the call then works."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import scipy.sparse

from networks import Network
from networks.optimizers import SGD
from networks.training import evaluate, train
from tests.support.strategies import random_data

LAYERS, BATCH = [4, 6, 3], 5
X, Y = random_data(LAYERS, BATCH)
ONE_HOT = np.eye(3)[Y]
FRAME = pd.DataFrame(X.round()).astype("Int64")
MISSING = FRAME.mask(FRAME.eq(FRAME.iloc[0, 0]))
MASKED = (
    "{name} is a masked array, whose masked values would be taken for numbers: "
    "call {name}.filled(..) with a value for them, or leave those rows out"
)


def error_of(function: Callable, *args: object, **options: object) -> str:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the callers compare the whole message
        function(*args, **options)
    return str(caught.value)


def error_of_labels(y: object, layers: list[int] = LAYERS) -> str:
    network = Network(layers)
    network.forward(np.ones((len(Y), layers[0])))
    return error_of(network.backward, y)


def gradients(x: object, y: object) -> list[list]:
    network = Network(LAYERS)
    network.forward(x)
    return [array.tolist() for pair in network.backward(y) for array in pair]


class OwnFrame(pd.DataFrame):
    """A user's own kind of table."""


class Elsewhere:
    """What numpy cannot reach, as a tensor on a GPU."""

    def __array__(self, *args: object, **options: object) -> np.ndarray:
        raise TypeError("call .get() to bring it here")


# Inputs


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (FRAME, "x must hold real numbers, got pandas Int64: call x.to_numpy(dtype='float32')"),
        (OwnFrame(FRAME), "x must hold real numbers, got pandas Int64: call x.to_numpy(dtype='float32')"),
        (
            MISSING,
            "x must hold real numbers, got pandas Int64: call x.to_numpy(dtype='float32') after fillna(..) or dropna()",
        ),
        (
            MISSING.astype("Float64"),
            "x must hold real numbers, got pandas Float64: "
            "call x.to_numpy(dtype='float32') after fillna(..) or dropna()",
        ),
        (
            pd.DataFrame(X).assign(name="a"),
            "x must hold real numbers, got pandas float32, str: call x.to_numpy(dtype='float32')",
        ),
        (
            pd.DataFrame(X, dtype=object),
            "x must hold real numbers, got pandas object: call x.to_numpy(dtype='float32')",
        ),
        (scipy.sparse.csr_array(X), "x is sparse, got csr_array: call x.toarray()"),
        (scipy.sparse.coo_matrix(X), "x is sparse, got coo_matrix: call x.toarray()"),
        (np.ma.array(X, mask=X > 0), MASKED.format(name="x")),
        (np.ma.array(X), MASKED.format(name="x")),
        ([np.ma.array(row, mask=row > 0) for row in X], MASKED.format(name="x")),
        (np.zeros(BATCH, dtype=[("a", "f4")]), "x must hold real numbers, got dtype [('a', '<f4')]"),
        (np.zeros((BATCH, 4), dtype="M8[s]"), "x must hold real numbers, got dtype datetime64[s]"),
        (np.zeros((BATCH, 4), dtype="m8[s]"), "x must hold real numbers, got dtype timedelta64[s]"),
        (Elsewhere(), "x must be an array, got Elsewhere: call .get() to bring it here"),
        (pd.Series(X[0]), "x must have shape (batch, 4), got (4,)"),
    ],
)
def test_inputs_that_are_no_plain_numbers_are_refused_with_what_to_call(x: object, message: str):
    assert error_of(Network(LAYERS).forward, x) == message


def test_what_the_messages_say_to_call_makes_inputs_of_them():
    rounded = X.round()
    for x in (
        FRAME.to_numpy(dtype="float32"),
        scipy.sparse.csr_array(rounded).toarray(),
        np.ma.array(rounded).filled(0),
        rounded.astype(object).astype("float32"),
    ):
        assert gradients(x, Y) == gradients(rounded, Y)


READ_ONLY = X.copy()
READ_ONLY.flags.writeable = False


@pytest.mark.parametrize(
    "x",
    [
        READ_ONLY,
        np.asfortranarray(X),
        X[::-1, ::-1].copy()[::-1, ::-1],
        np.repeat(X, 2, axis=0)[::2],
        X.astype(">f4"),
        X.astype(np.longdouble),
        X.view(np.memmap),
        np.asmatrix(X),
        pd.DataFrame(X),
        pd.DataFrame.sparse.from_spmatrix(scipy.sparse.csr_matrix(X)),
        X.tolist(),
        list(X),
    ],
)
def test_the_same_numbers_in_another_form_give_the_same_gradients(x: object):
    assert gradients(x, Y) == gradients(X, Y)


def test_narrower_numbers_are_inputs_as_they_are():
    for dtype in ("float16", "int8", "uint64", "bool"):
        x = (X > 0).astype(dtype)
        assert gradients(x, Y) == gradients(x.astype("float32"), Y)


# Labels


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (Y[:, None], "one-hot y must have shape (5, 3), got (5, 1); labels are flat: call y.ravel()"),
        (Y[None], "one-hot y must have shape (5, 3), got (1, 5); labels are flat: call y.ravel()"),
        (Y[:, None].tolist(), "one-hot y must have shape (5, 3), got (5, 1); labels are flat: call np.ravel(y)"),
        (np.asmatrix(Y), "one-hot y must have shape (5, 3), got (1, 5); labels are flat: call np.ravel(y)"),
        (pd.DataFrame(Y), "one-hot y must have shape (5, 3), got (5, 1); labels are flat: call np.ravel(y)"),
        (ONE_HOT[:4], "one-hot y must have shape (5, 3), got (4, 3)"),
        (
            pd.Series(Y, dtype="Int64").mask(np.equal(Y, Y[0])),
            "y must hold integer labels, got pandas Int64, first nan: leave out the rows whose label is missing",
        ),
        (
            pd.DataFrame(ONE_HOT).astype("Int64"),
            "one-hot y must hold numbers, got pandas Int64: call y.to_numpy(dtype='int64')",
        ),
        (
            pd.Series(list("abcab"), dtype="category"),
            "y must hold integer labels, got pandas category, first 'a': "
            "call np.unique(y, return_inverse=True)[1], which numbers the classes",
        ),
        (
            pd.Series([True] * 5, dtype="boolean"),
            "y must hold integer labels, got pandas boolean, first True: call y.astype(int)",
        ),
        (Y.astype(object), f"y must hold integer labels, got dtype object, first {Y[0]}: call y.astype(int)"),
        (np.full(5, np.nan), "y must hold integer labels, got dtype float64, first nan"),
        (np.full(5, np.inf), "y must hold integer labels, got dtype float64, first inf"),
        (scipy.sparse.csr_array(ONE_HOT), "y is sparse, got csr_array: call y.toarray()"),
        (np.ma.array(Y, mask=np.equal(Y, Y[0])), MASKED.format(name="y")),
        (np.ma.array(ONE_HOT), MASKED.format(name="y")),
        (Y.astype(complex), f"y must hold integer labels, got dtype complex128, first {complex(Y[0])}"),
        (np.full(5, 2**64 - 1, dtype="uint64"), f"y must hold labels from 0 to 2, got {2**64 - 1}"),
    ],
)
def test_labels_that_are_no_plain_integers_are_refused_with_what_to_call(y: object, message: str):
    assert error_of_labels(y) == message


@pytest.mark.parametrize(
    "y",
    [
        *(Y.astype(dtype) for dtype in ("uint8", "int8", "uint64", "int32", ">i8")),
        pd.Series(Y, dtype="Int64"),
        pd.Series(Y, dtype="category"),
        pd.Index(Y),
        ONE_HOT == 1,
        np.asfortranarray(ONE_HOT),
        np.asmatrix(ONE_HOT),
        np.ravel(np.asmatrix(Y)),
        Y.astype(float).astype(int),
        Y[::-1].copy()[::-1],
    ],
)
def test_the_same_labels_in_another_form_give_the_same_gradients(y: object):
    assert gradients(X, y) == gradients(X, Y)


ONE_OUTPUT = "; outputs are classes, and one output is class 0 alone: for two classes the network needs 2 outputs"


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([0, 1, 1, 0, 1], "y must hold labels from 0 to 0, got 1"),
        ([[0], [1], [1], [0], [1]], "one-hot y must have a 1 and zeros in every row, got [] and zeros in row 0"),
        ([0.5] * 5, "y must hold integer labels, got dtype float64, first 0.5"),
    ],
)
def test_a_network_of_one_output_says_that_outputs_are_classes(y: list, message: str):
    assert error_of_labels(y, [8, 4, 1]) == message + ONE_OUTPUT


def test_training_and_evaluation_refuse_the_same():
    network, options = Network(LAYERS), {"epochs": 1, "optimizer": SGD(0.1), "generator": np.random.default_rng(0)}
    sparse, flat = (
        scipy.sparse.csr_array(X),
        "one-hot y must have shape (5, 3), got (5, 1); labels are flat: call y.ravel()",
    )
    assert error_of(train, network, sparse, Y, **options) == "x is sparse, got csr_array: call x.toarray()"
    assert error_of(train, network, X, Y[:, None], **options) == flat
    assert error_of(evaluate, network, X, Y[:, None]) == flat
