"""What of a network touches arrays."""

from itertools import pairwise

import numpy as np

from networks.activations import HIDDEN, output_activation
from networks.buffers import activation_buffer
from networks.chain import Chain
from networks.checks import check_inputs, check_labels
from networks.layers import DenseLayer
from networks.losses import outputs_to_delta
from networks.optimizers import Optimizer, Pair
from networks.workspace import Workspace


class ArrayKernels:
    """Makes, checks and changes the arrays of a network. A dry run replaces all of these methods."""

    layers: tuple[int, ...]
    activation: str
    dtype: np.dtype
    _layers: list[DenseLayer]
    _chain: Chain

    def _build_layers(self, seed: int) -> list[DenseLayer]:
        generator = np.random.default_rng(seed)
        hidden, output = HIDDEN[self.activation], output_activation(self.activation)
        layers = []
        for number, (inputs, outputs) in enumerate(pairwise(self.layers), start=1):
            weights = generator.standard_normal((inputs, outputs), dtype=self.dtype)
            weights *= hidden.weight_scale(inputs, outputs)
            activation = output if number == len(self.layers) - 1 else hidden
            layers.append(DenseLayer(number, weights, np.zeros(outputs, self.dtype), activation))
        return layers

    def _check_inputs(self, x: np.ndarray) -> np.ndarray:
        return check_inputs(x, self.layers[0], self.dtype)

    def _check_labels(self, y: np.ndarray, batch: int) -> np.ndarray:
        return check_labels(y, batch, self.layers[-1])

    def _check_optimizer(self, optimizer: Optimizer) -> None:
        if not isinstance(optimizer, Optimizer):
            raise ValueError(f"optimizer must be one of networks.optimizers, such as SGD(0.1), got {optimizer!r}")
        for layer in self._layers:
            optimizer.check_layer(layer.number, (layer.weights, layer.biases))

    def _new_workspace(self, chain: Chain) -> Workspace:
        return Workspace(chain, self.dtype)

    def _new_outputs(self, batch: int) -> np.ndarray:
        return activation_buffer(batch, self.layers[-1], self.dtype, mapped=self._chain.maps_buffers)

    def _copy(self, values: np.ndarray, to: np.ndarray) -> np.ndarray:
        np.copyto(to, values)
        return to

    def _subtract_labels(self, delta: np.ndarray, labels: np.ndarray, batch: int) -> None:
        outputs_to_delta(delta, labels, batch)

    def _add(self, sums: Pair, deltas: Pair) -> None:
        for array, delta in zip(sums, deltas, strict=True):
            np.add(array, delta, out=array)
