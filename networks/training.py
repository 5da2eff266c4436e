"""Mini-batch training, epoch by epoch."""

import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from networks.checks import check_count, check_inputs, check_labels
from networks.losses import count_right, cross_entropy
from networks.optimizers import Optimizer
from networks.perceptron import MultiLayerPerceptron

ON_DIVERGENCE = ("stop", "continue")
"""What happens when a loss is not a number: the training ends with FloatingPointError, or goes on and reports it."""


@dataclass(frozen=True)
class Epoch:
    """What one epoch did.

    Train figures are means over the epoch's mini-batches, each taken as it was trained on. Test figures are of the
    network after the epoch; they are None without test data. `seconds` is the training alone, without the test.
    """

    number: int
    train_loss: float
    train_accuracy: float
    test_loss: float | None
    test_accuracy: float | None
    seconds: float


def show_epoch(epoch: Epoch) -> None:
    """Write one line about an epoch to standard error."""
    test = "" if epoch.test_loss is None else f", test {epoch.test_loss:.4f} {epoch.test_accuracy:.2%}"
    line = f"epoch {epoch.number}: train loss {epoch.train_loss:.4f} accuracy {epoch.train_accuracy:.2%}{test}"
    print(f"{line}, {epoch.seconds:.2f} s", file=sys.stderr)


def train(
    network: MultiLayerPerceptron,
    x: np.ndarray,
    y: np.ndarray,
    *,
    epochs: int,
    progress: Callable[[Epoch], None] | None = show_epoch,
    **options: Any,
) -> list[Epoch]:
    """Train for `epochs` epochs and return their history; `options` are those of `train_epochs`.

    Raises FloatingPointError when the training diverges, unless `on_divergence="continue"`.
    """
    check_count("epochs", epochs)
    history = []
    for _, epoch in zip(range(epochs), train_epochs(network, x, y, **options), strict=False):
        history.append(epoch)
        if progress:
            progress(epoch)
    return history


def train_epochs(
    network: MultiLayerPerceptron,
    x: np.ndarray,
    y: np.ndarray,
    *,
    optimizer: Optimizer,
    generator: np.random.Generator,
    batch_size: int = 64,
    micro_batch: int | None = None,
    x_test: np.ndarray | None = None,
    y_test: np.ndarray | None = None,
    on_divergence: str = "stop",
) -> Iterator[Epoch]:
    """Yield an `Epoch` after each pass over the data, as long as the caller asks.

    `x` is `(samples, layers[0])`, `y` labels or one-hot rows. `generator` shuffles the rows for each epoch. They are
    visited in mini-batches of `batch_size` rows; the last one is smaller if the rows do not divide evenly. Each
    mini-batch is one `train_step`, in parts of at most `micro_batch` rows if that is given.

    A loss that is not a number, of a mini-batch or of the test data, ends the training with a FloatingPointError,
    because no later step makes it a number again. With `on_divergence="continue"` the training goes on, and such losses
    are NaN in the `Epoch`. Outputs that are NaN count as wrong.
    """
    if not isinstance(generator, np.random.Generator):
        raise ValueError(f"generator must be one of numpy's, such as np.random.default_rng(0), got {generator!r}")
    check_count("batch_size", batch_size)
    if micro_batch is not None:
        check_count("micro_batch", micro_batch)
    if (x_test is None) != (y_test is None):
        raise ValueError(f"x_test and y_test go together, got {'x_test' if y_test is None else 'y_test'} alone")
    if on_divergence not in ON_DIVERGENCE:
        raise ValueError(f"on_divergence must be {' or '.join(map(repr, ON_DIVERGENCE))}, got {on_divergence!r}")
    x, labels = _check_data(network, x, y)
    test = None if x_test is None or y_test is None else _check_data(network, x_test, y_test)
    number = 0
    while True:
        number += 1
        started = time.perf_counter()
        loss = correct = 0.0
        order = generator.permutation(len(x))
        for start in range(0, len(x), batch_size):
            rows = order[start : start + batch_size]
            outputs = network.train_step(x[rows], labels[rows], optimizer, micro_batch=micro_batch)
            batch_loss = cross_entropy(outputs, labels[rows])
            if math.isnan(batch_loss) and on_divergence == "stop":
                raise _diverged(f"mini-batch {start // batch_size + 1} of epoch {number}")
            loss += batch_loss * len(rows)
            correct += count_right(outputs, labels[rows])
        seconds = time.perf_counter() - started
        test_loss, test_accuracy = (None, None) if test is None else evaluate(network, *test)
        if test_loss is not None and math.isnan(test_loss) and on_divergence == "stop":
            raise _diverged(f"the test data after epoch {number}")
        yield Epoch(number, loss / len(x), correct / len(x), test_loss, test_accuracy, seconds)


def evaluate(network: MultiLayerPerceptron, x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Return the mean cross-entropy and the share of right answers of `network` on `x`, `y`."""
    x, labels = _check_data(network, x, y)
    outputs = network.predict(x)
    return cross_entropy(outputs, labels), count_right(outputs, labels) / len(labels)


def _diverged(where: str) -> FloatingPointError:
    return FloatingPointError(
        f"training has diverged: the loss of {where} is not a number; lower the learning rate or scale the inputs, or "
        "go on regardless with on_divergence='continue'"
    )


def _check_data(network: MultiLayerPerceptron, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x = check_inputs(x, network.layers[0], network.dtype)
    return x, check_labels(y, len(x), network.layers[-1])
