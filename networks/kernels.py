"""The operations of a network that touch arrays."""

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
    """Makes, checks and changes the arrays of a network. The networks of a dry run have `ShapeKernels`."""

    def __init__(self, layers: tuple[int, ...], activation: str, dtype: np.dtype):
        self.layers, self.activation, self.dtype = layers, activation, dtype

    def build_layers(self, seed: int) -> list[DenseLayer]:
        """The layers 1..L, with random weights of `seed` and no biases yet."""
        generator = np.random.default_rng(seed)
        hidden, output = HIDDEN[self.activation], output_activation(self.activation)
        layers = []
        for number, (inputs, outputs) in enumerate(pairwise(self.layers), start=1):
            weights = generator.standard_normal((inputs, outputs), dtype=self.dtype)
            weights *= hidden.weight_scale(inputs, outputs)
            activation = output if number == len(self.layers) - 1 else hidden
            layers.append(DenseLayer(number, weights, np.zeros(outputs, self.dtype), activation))
        return layers

    def check_inputs(self, x: np.ndarray) -> np.ndarray:
        """`x` in the network's dtype. Raises ValueError for a wrong shape, an empty batch, NaN or infinity."""
        return check_inputs(x, self.layers[0], self.dtype)

    def check_labels(self, y: np.ndarray, batch: int) -> np.ndarray:
        """The labels `(batch,)` as integers. Raises ValueError for a wrong shape, kind or range."""
        return check_labels(y, batch, self.layers[-1])

    def check_optimizer(self, optimizer: Optimizer, layers: list[DenseLayer]) -> None:
        """Raise ValueError if `optimizer` is no Optimizer, or if its state is of layers of other sizes."""
        if not isinstance(optimizer, Optimizer):
            raise ValueError(f"optimizer must be one of networks.optimizers, such as SGD(0.1), got {optimizer!r}")
        for layer in layers:
            optimizer.check_layer(layer.number, (layer.weights, layer.biases))

    def new_workspace(self, chain: Chain) -> Workspace:
        """The scratch of a pass."""
        return Workspace(chain, self.dtype)

    def new_outputs(self, chain: Chain) -> np.ndarray:
        """A buffer `(chain.batch, classes)`, contents arbitrary."""
        return activation_buffer(chain.batch, self.layers[-1], self.dtype, mapped=chain.maps_buffers)

    def copy(self, values: np.ndarray, to: np.ndarray) -> np.ndarray:
        """Write `values` over those of `to`, and return `to`."""
        np.copyto(to, values)
        return to

    def subtract_labels(self, delta: np.ndarray, labels: np.ndarray, batch: int) -> None:
        """Turn outputs into the gradient of the mean cross-entropy over `batch` rows, in place."""
        outputs_to_delta(delta, labels, batch)

    def add(self, sums: Pair, deltas: Pair) -> None:
        """Add a layer's weight gradients to `sums`, in place."""
        for array, delta in zip(sums, deltas, strict=True):
            np.add(array, delta, out=array)
