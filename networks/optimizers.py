"""Optimisers: they update parameters in place, and hold their state by layer."""

from collections.abc import Sequence

import numpy as np

Pair = tuple[np.ndarray, np.ndarray]


def _check_rate(name: str, value: float, *, below: float = float("inf")) -> float:
    if not 0 <= value < below:
        raise ValueError(f"{name} must be at least 0 and below {below}, got {value!r}")
    return value


class Optimizer:
    """Updates each layer's weights and biases from their deltas; a subclass defines `_update_array`."""

    def __init__(self, learning_rate: float):
        self.learning_rate = _check_rate("learning_rate", learning_rate)
        self._state: dict[tuple[int, int], dict] = {}

    def update(self, parameters: Sequence[Pair], deltas: Sequence[Pair]) -> None:
        """Update all layers; `parameters` and `deltas` are `[(weights, biases), ..]` of layers 1..L."""
        if len(parameters) != len(deltas):
            raise ValueError(f"deltas must have one pair for each of {len(parameters)} layers, got {len(deltas)}")
        for layer, (pair, pair_deltas) in enumerate(zip(parameters, deltas, strict=True), start=1):
            self.update_layer(layer, pair, pair_deltas)

    def update_layer(self, layer: int, parameters: Pair, deltas: Pair) -> None:
        """Update one layer, in place. The deltas are not modified."""
        for part, (parameter, delta) in enumerate(zip(parameters, deltas, strict=True)):
            if parameter.shape != delta.shape:
                raise ValueError(f"layer {layer}: delta must have shape {parameter.shape}, got {delta.shape}")
            self._update_array(parameter, delta, self._state.setdefault((layer, part), {}))

    def _update_array(self, parameter: np.ndarray, delta: np.ndarray, state: dict) -> None:
        raise NotImplementedError


class SGD(Optimizer):
    """Gradient descent, with classical momentum: velocity = momentum * velocity + delta (Sutskever et al. 2013)."""

    def __init__(self, learning_rate: float, momentum: float = 0.0):
        super().__init__(learning_rate)
        self.momentum = _check_rate("momentum", momentum, below=1)

    def _update_array(self, parameter: np.ndarray, delta: np.ndarray, state: dict) -> None:
        if self.momentum:
            if "velocity" not in state:
                state["velocity"] = np.zeros_like(parameter)
            velocity = state["velocity"]
            velocity *= self.momentum
            velocity += delta
            delta = velocity
        parameter -= self.learning_rate * delta


class Adam(Optimizer):
    """Adam with bias correction (Kingma & Ba 2015, algorithm 1)."""

    def __init__(self, learning_rate: float = 1e-3, *, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8):
        super().__init__(learning_rate)
        self.beta1 = _check_rate("beta1", beta1, below=1)
        self.beta2 = _check_rate("beta2", beta2, below=1)
        self.epsilon = _check_rate("epsilon", epsilon)

    def _update_array(self, parameter: np.ndarray, delta: np.ndarray, state: dict) -> None:
        if not state:
            state.update(step=0, mean=np.zeros_like(parameter), square=np.zeros_like(parameter))
        state["step"] += 1
        mean, square, step = state["mean"], state["square"], state["step"]
        mean *= self.beta1
        mean += (1 - self.beta1) * delta
        square *= self.beta2
        square += (1 - self.beta2) * delta * delta
        corrected = np.sqrt(square / (1 - self.beta2**step)) + self.epsilon
        parameter -= self.learning_rate / (1 - self.beta1**step) * mean / corrected
