"""scikit-learn's `MLPClassifier`: the step that its `fit` repeats, without the update."""

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.neural_network import MLPClassifier, _multilayer_perceptron

from harness.experiment.cell import Cell
from harness.worker.steps.base import Gradients, Peer, Product, multiplication

ACTIVATIONS = {"relu": "relu", "sigmoid": "logistic", "tanh": "tanh"}


class SklearnPeer(Peer):
    """`MLPClassifier._backprop` without regularisation."""

    def __init__(self, cell: Cell, parameters: Gradients, x: Any, y: Any):
        model = MLPClassifier(cell.widths[1:-1], activation=ACTIVATIONS[cell.activation], alpha=0.0)
        model.n_layers_ = cell.depth + 1
        model.out_activation_ = "softmax"
        model.coefs_, model.intercepts_ = (
            [array.copy() for array in arrays] for arrays in zip(*parameters, strict=True)
        )
        self._model = model
        self._dtype = cell.dtype
        self._x = x.copy()
        self._one_hot = np.eye(cell.widths[-1], dtype=bool)[y]  # the form of labels in fit

    def __call__(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        empty = [None] * (self._model.n_layers_ - 1)
        _, weights, biases = self._model._backprop(
            self._x, self._one_hot, None, [self._x, *empty], [*empty], [*empty], [*empty]
        )
        return weights, biases

    def gradients(self) -> Gradients:
        return list(zip(*self(), strict=True))

    def products(self) -> list[Product]:
        seen: list[Product] = []
        original = _multilayer_perceptron.safe_sparse_dot

        def counting(left: np.ndarray, right: np.ndarray) -> np.ndarray:
            left_transposed, right_transposed = (factor.strides[0] < factor.strides[1] for factor in (left, right))
            rows, inner = left.shape
            seen.append(Product(rows, inner, right.shape[1], left_transposed, right_transposed))
            return original(left, right)

        _multilayer_perceptron.safe_sparse_dot = counting
        try:
            self()
        finally:
            _multilayer_perceptron.safe_sparse_dot = original
        return seen

    def multiplication(self, product: Product) -> Callable[[], object]:
        return multiplication(product, self._dtype)


build = SklearnPeer
