"""The traditional network: it keeps every after."""

import numpy as np

from networks.perceptron import Deltas, MultiLayerPerceptron


class Network(MultiLayerPerceptron):
    """A multi-layer perceptron that caches every after of the forward pass (store-all)."""

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Return the class probabilities `(batch, classes)` of `x` `(batch, layers[0])`, ready for `backward`.

        The result is the caller's own. `x` is converted if it has another dtype, read again by `backward`, and
        never modified. Raises ValueError for a wrong shape, an empty batch, NaN or infinity.
        """
        after = self._begin_step(x)
        with self._pass("forward"):
            for layer in self._layers:
                self._afters.append(after)
                after = layer.forward(after, self._chain, self._workspace, self.tracker, in_place=False)
                if layer.number < self._chain.depth:
                    self.tracker.keep(layer.number, after.nbytes)
            self._hold_loss_delta(after)
        return after

    def backward(self, y: np.ndarray) -> Deltas:
        """Return the gradients of the mean cross-entropy: `[(weights_delta, biases_delta), ..]` of layers 1..L.

        `y` is integer labels `(batch,)` or one-hot `(batch, classes)`. They belong to the last `forward`, which can
        be used once. Raises RuntimeError without one, and ValueError for labels of a wrong shape, kind or range;
        after a ValueError the forward pass is still there.
        """
        labels = self._check_backward(y)
        deltas = []
        with self._pass("backward"):
            delta = self._take_loss_delta(labels)
            for layer in reversed(self._layers):
                before = self._afters.pop()
                self.tracker.hit(layer.number - 1)
                deltas.append(layer.parameter_deltas(before, delta, self._workspace, self.tracker))
                released = delta.nbytes
                delta = self._delta_before(layer, before, delta)
                self.tracker.release_delta(layer.number, released)
            self._end_step()
        return deltas[::-1]

    def _discard_afters(self) -> None:
        self._afters = []
