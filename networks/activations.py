"""Activation functions, written into a given block, with derivatives taken from their output.

Each works on one block of rows. `activate(values, out, workspace)` may have `values is out`;
`backpropagate(delta, after)` writes `delta * activation'(.)` over `after`. A softmax has the workspace's block
to itself.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from networks.chain import softmax_columns

if TYPE_CHECKING:
    from networks.workspace import Workspace


def _relu(values: np.ndarray, out: np.ndarray, workspace: "Workspace") -> None:
    workspace.maximum_with_zero(values, out)


def _relu_backward(delta: np.ndarray, after: np.ndarray) -> None:
    # A relu's output is 0, positive or NaN, and its bits, read as an unsigned integer, 0 or more. Their sign, 0 or 1,
    # times the gradient's bits is the gradient where it is to pass: two passes, neither a boolean array nor a cast.
    bits = after.view(f"u{after.itemsize}")
    np.sign(bits, out=bits)
    np.multiply(bits, delta.view(bits.dtype), out=bits)


def _sigmoid(values: np.ndarray, out: np.ndarray, workspace: "Workspace") -> None:
    np.negative(values, out=out)
    with np.errstate(over="ignore"):  # exp(-x) = inf is right: its sigmoid is 0
        np.exp(out, out=out)
    np.add(out, 1, out=out)
    np.reciprocal(out, out=out)


def _sigmoid_backward(delta: np.ndarray, after: np.ndarray) -> None:
    np.multiply(delta, after, out=delta)
    np.subtract(1, after, out=after)
    np.multiply(delta, after, out=after)


def _tanh(values: np.ndarray, out: np.ndarray, workspace: "Workspace") -> None:
    np.tanh(values, out=out)


def _tanh_backward(delta: np.ndarray, after: np.ndarray) -> None:
    np.multiply(after, after, out=after)
    np.subtract(1, after, out=after)
    np.multiply(delta, after, out=after)


def _softmax(values: np.ndarray, out: np.ndarray, workspace: "Workspace") -> None:
    rows, classes = values.shape
    columns = workspace.block(softmax_columns(classes), rows).T
    column = columns[:, :1]
    work = columns[:, 1:] if columns.shape[1] > 1 else out
    if work is not values:
        np.copyto(work, values)
    np.maximum.reduce(work, axis=1, keepdims=True, out=column)
    np.subtract(work, column, out=work)
    np.exp(work, out=work)
    np.add.reduce(work, axis=1, keepdims=True, out=column)
    np.divide(work, column, out=work)
    if work is not out:  # divided into it, numpy would buffer both
        np.copyto(out, work)


@dataclass(frozen=True)
class Activation:
    """An activation, its derivative and the scale of the weights before it.

    `weight_scale(inputs, outputs)` is the standard deviation of the initial weights: He et al. 2015 for
    relu, Glorot & Bengio 2010 for the others.
    """

    activate: Callable[[np.ndarray, np.ndarray, "Workspace"], None]
    backpropagate: Callable[[np.ndarray, np.ndarray], None] | None
    weight_scale: Callable[[int, int], float]


def _he(inputs: int, outputs: int) -> float:
    return float((2 / inputs) ** 0.5)


def _glorot(inputs: int, outputs: int) -> float:
    return float((2 / (inputs + outputs)) ** 0.5)


HIDDEN = {
    "relu": Activation(_relu, _relu_backward, _he),
    "sigmoid": Activation(_sigmoid, _sigmoid_backward, _glorot),
    "tanh": Activation(_tanh, _tanh_backward, _glorot),
}
"""Activations of the hidden layers, by name."""


def output_activation(hidden: str) -> Activation:
    """Softmax, after weights scaled as those of the hidden layers; its derivative is folded into the loss."""
    return Activation(_softmax, None, HIDDEN[hidden].weight_scale)
