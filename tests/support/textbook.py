"""A training step as a textbook writes it: every value in an array of its own. The oracle for both networks.

It shares no code with them: x @ W + b, the activation, softmax cross-entropy, and the chain rule backwards.
"""

from typing import NamedTuple

import numpy as np

ACTIVATIONS = {
    "relu": lambda z: np.where(z > 0, z, 0),
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "tanh": np.tanh,
}
DERIVATIVES = {
    "relu": lambda z: np.where(z > 0, 1, 0),
    "sigmoid": lambda z: np.exp(-z) / (1 + np.exp(-z)) ** 2,
    "tanh": lambda z: 1 / np.cosh(z) ** 2,
}

Pairs = list[tuple[np.ndarray, np.ndarray]]


class Step(NamedTuple):
    """Afters `[x, after[1], .., after[L]]`, the mean cross-entropy, and the gradients of layers 1..L."""

    afters: list[np.ndarray]
    loss: float
    deltas: Pairs


def step(parameters: Pairs, x: np.ndarray, labels: np.ndarray, activation: str) -> Step:
    """One forward and one backward pass over `x` `(batch, inputs)` and integer `labels` `(batch,)`."""
    afters, sums = [x], []
    for layer, (weights, biases) in enumerate(parameters, start=1):
        sums.append(afters[-1] @ weights + biases)
        afters.append(softmax(sums[-1]) if layer == len(parameters) else ACTIVATIONS[activation](sums[-1]))

    one_hot = np.eye(afters[-1].shape[1])[labels]
    loss = -np.mean(np.log(afters[-1][one_hot == 1]))

    delta = (afters[-1] - one_hot) / len(x)
    deltas = []
    for layer in range(len(parameters), 0, -1):
        deltas.insert(0, (afters[layer - 1].T @ delta, delta.sum(axis=0)))
        if layer > 1:
            weights, _ = parameters[layer - 1]
            delta = (delta @ weights.T) * DERIVATIVES[activation](sums[layer - 2])
    return Step(afters, float(loss), deltas)


def softmax(z: np.ndarray) -> np.ndarray:
    powers = np.exp(z - z.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)
