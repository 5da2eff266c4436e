"""Softmax cross-entropy: the loss, its gradient at the network's output, and how many answers are right."""

import numpy as np

_ROWS = 192
"""Rows of labels that are subtracted at a time: their index arrays stay a few kilobytes."""


def cross_entropy(outputs: np.ndarray, labels: np.ndarray) -> float:
    """Mean of -log of the probability that `outputs` `(batch, classes)` gives each of `labels` `(batch,)`."""
    likelihoods = outputs[np.arange(len(labels)), labels].astype(np.float64)
    return float(-np.log(np.maximum(likelihoods, np.finfo(outputs.dtype).tiny)).mean())


def count_right(outputs: np.ndarray, labels: np.ndarray) -> int:
    """How many of `labels` `(batch,)` have the highest of their row's `outputs` `(batch, classes)`.

    A row with NaN in it is no answer, and counts as wrong.
    """
    rows, answers = np.arange(len(labels)), outputs.argmax(axis=1)  # of a row with NaN, the first of these
    return int(np.count_nonzero((answers == labels) & ~np.isnan(outputs[rows, answers])))


def outputs_to_delta(outputs: np.ndarray, labels: np.ndarray, batch: int) -> None:
    """Turn softmax probabilities into the gradient of the mean cross-entropy before the softmax, in place.

    That is `(outputs - one_hot(labels)) / batch`, where these rows may be a part of the batch.
    """
    classes = outputs.shape[1]
    values = outputs.reshape(-1)
    row_starts = np.arange(0, min(len(labels), _ROWS) * classes, classes)
    for start in range(0, len(labels), _ROWS):
        part = labels[start : start + _ROWS].astype(np.intp, copy=False)
        values[start * classes :][row_starts[: len(part)] + part] -= 1
    np.divide(outputs, batch, out=outputs)
