"""The traditional network: it keeps every activation."""

import numpy as np

from networks.perceptron import MultiLayerPerceptron


class Network(MultiLayerPerceptron):
    """A multi-layer perceptron that caches every activation of the forward pass (store-all)."""

    def _run_layers(self, x: np.ndarray) -> np.ndarray:
        after = x
        for layer in self._layers:
            self._afters.append(after)
            after = layer.forward(after, self._chain, self._workspace, self.tracker, in_place=False)
            if layer.number < self._chain.depth:
                self.tracker.keep(layer.number, after.nbytes)
        return after

    def _take_after(self, position: int) -> np.ndarray:
        self.tracker.hit(position)
        return self._afters.pop()

    def _discard_afters(self) -> None:
        self._afters: list[np.ndarray] = []
