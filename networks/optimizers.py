"""Optimisers: they update parameters in place, block by block, and hold their state by layer.

Every operation is element-wise, so the blocks change no bit of the result. An update uses one block of scratch and
allocates nothing else that grows with the weights. Only the first update does: it allocates the state.
"""

import numbers
from collections.abc import Sequence

import numpy as np

from networks.buffers import workspace_buffer
from networks.chain import BLOCK_BYTES

Pair = tuple[np.ndarray, np.ndarray]


def _check_rate(name: str, value: float, *, below: float = float("inf")) -> float:
    if not isinstance(value, numbers.Real) or not 0 <= value < below:
        raise ValueError(f"{name} must be at least 0 and below {below}, got {value!r}")
    return float(value)  # a numpy scalar would decide the precision of what it multiplies


class Optimizer:
    """Updates each layer's weights and biases from their gradients.

    A subclass sets `states`, the number of state arrays for each array of parameters, and defines `_update_block`.
    State starts as zeros.
    """

    states = 0

    def __init__(self, learning_rate: float):
        self.learning_rate = _check_rate("learning_rate", learning_rate)
        self._states: dict[tuple[int, int], list[np.ndarray]] = {}
        self._updates: dict[tuple[int, int], int] = {}

    def update(self, parameters: Sequence[Pair], deltas: Sequence[Pair]) -> None:
        """Update all layers; `parameters` and `deltas` are `[(weights, biases), ..]` of layers 1..L.

        Raises ValueError before anything is changed: for gradients of other shapes, and as `check_layer` does.
        """
        if len(parameters) != len(deltas):
            raise ValueError(f"deltas must have one pair for each of {len(parameters)} layers, got {len(deltas)}")
        for layer, pairs in enumerate(zip(parameters, deltas, strict=True), start=1):
            for parameter, delta in zip(*pairs, strict=True):
                if parameter.shape != delta.shape:
                    raise ValueError(f"layer {layer}: delta must have shape {parameter.shape}, got {delta.shape}")
                if not parameter.flags.c_contiguous:
                    raise ValueError(f"layer {layer}: parameters must be C-contiguous, got strides {parameter.strides}")
            self.check_layer(layer, pairs[0])
        largest = max((array for pair in parameters for array in pair), key=lambda array: array.nbytes)
        scratch = workspace_buffer(max(1, min(largest.nbytes, BLOCK_BYTES) // largest.itemsize), largest.dtype)
        for layer, (pair, pair_deltas) in enumerate(zip(parameters, deltas, strict=True), start=1):
            self.update_layer(layer, pair, pair_deltas, scratch=scratch)

    def check_layer(self, layer: int, parameters: Pair) -> None:
        """Raise ValueError if the state that is held for the layer is of other sizes than its `parameters`."""
        for part, parameter in enumerate(parameters):
            for state in self._states.get((layer, part), ()):
                if state.size != parameter.size:
                    raise ValueError(
                        f"optimizer holds another network's state, {state.size} values where layer {layer} has "
                        f"{parameter.size}; make one for each network"
                    )

    def update_layer(self, layer: int, parameters: Pair, deltas: Pair, *, scratch: np.ndarray) -> None:
        """Update one layer, in place, with gradients of its shapes, which are not modified.

        `scratch` is `(items,)` of the parameters' dtype.
        """
        for part, (parameter, delta) in enumerate(zip(parameters, deltas, strict=True)):
            self._update_array((layer, part), parameter.reshape(-1), delta.reshape(-1), scratch)

    def _update_array(
        self, key: tuple[int, int], parameter: np.ndarray, delta: np.ndarray, scratch: np.ndarray
    ) -> None:
        if key not in self._states:
            self._states[key] = [np.zeros_like(parameter) for _ in range(self.states)]
        self._updates[key] = update = self._updates.get(key, 0) + 1
        for start in range(0, len(parameter), len(scratch)):
            block = slice(start, start + len(scratch))
            states = [state[block] for state in self._states[key]]
            values = parameter[block]
            self._update_block(values, delta[block], states, scratch[: len(values)], update)

    def _update_block(
        self, values: np.ndarray, delta: np.ndarray, states: list[np.ndarray], scratch: np.ndarray, update: int
    ) -> None:
        """Update `values` and `states` from `delta`, in place, for the `update`-th time, which counts from 1."""
        raise NotImplementedError


class SGD(Optimizer):
    """Gradient descent, with classical momentum: velocity = momentum * velocity + gradient (Sutskever et al. 2013)."""

    def __init__(self, learning_rate: float, momentum: float = 0.0):
        super().__init__(learning_rate)
        self.momentum = _check_rate("momentum", momentum, below=1)
        self.states = 1 if momentum else 0

    def _update_block(
        self, values: np.ndarray, delta: np.ndarray, states: list[np.ndarray], scratch: np.ndarray, update: int
    ) -> None:
        if states:
            (velocity,) = states
            velocity *= self.momentum
            velocity += delta
            delta = velocity
        np.multiply(delta, self.learning_rate, out=scratch)
        values -= scratch


class Adam(Optimizer):
    """Adam with bias correction (Kingma & Ba 2015, algorithm 1)."""

    states = 2

    def __init__(self, learning_rate: float = 1e-3, *, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8):
        super().__init__(learning_rate)
        self.beta1 = _check_rate("beta1", beta1, below=1)
        self.beta2 = _check_rate("beta2", beta2, below=1)
        self.epsilon = _check_rate("epsilon", epsilon)

    def _update_block(
        self, values: np.ndarray, delta: np.ndarray, states: list[np.ndarray], scratch: np.ndarray, update: int
    ) -> None:
        mean, square = states
        mean *= self.beta1
        np.multiply(delta, 1 - self.beta1, out=scratch)
        mean += scratch
        square *= self.beta2
        np.multiply(delta, 1 - self.beta2, out=scratch)
        scratch *= delta
        square += scratch
        np.divide(square, 1 - self.beta2**update, out=scratch)
        np.sqrt(scratch, out=scratch)
        scratch += self.epsilon
        np.divide(mean, scratch, out=scratch)
        scratch *= self.learning_rate / (1 - self.beta1**update)
        values -= scratch
