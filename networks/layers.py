"""One dense layer: its forward and its backward step, by blocks of rows.

    after[l]         = activation(after[l-1] @ weights + biases)
    weights_delta[l] = after[l-1].T @ delta[l]
    biases_delta[l]  = column sums of delta[l]
    delta[l-1]       = (delta[l] @ weights.T) * activation'(after[l-1])

An *after* is a layer's activation, a *delta* the gradient at a layer's output before its activation function.

Both steps allocate as little as the mathematics allows. A new gradient is written over the activation that it is
computed from. A forward step may write its activation over the one before it, if nothing needs that one any more. A
block's product goes to the workspace first, so a row is overwritten only once it has been read.

All other operations read and write a block while it is still in the core's cache, in as few passes as numpy has
functions for. On one thread, layers 128 wide, batch 4096, as shares of a layer's three products: blocks
of 1024 rows instead of 512 save 2 %; biases and zeros as tiles (`chain.TILE_ITEMS`), 2 %; the mask as a sign and a
product of integers (`activations`), 1 %; column sums as a product with ones instead of `sum(axis=0)`, 1 %.
"""

import numpy as np

from networks.activations import Activation
from networks.buffers import activation_buffer, parameter_delta_buffers
from networks.chain import Chain, block_rows
from networks.optimizers import Optimizer, Pair
from networks.tracker import CacheTracker
from networks.workspace import Workspace

Matrix = np.ndarray[tuple[int, int], np.dtype[np.floating]]


class DenseLayer:
    """Layer `number` (from 1) with weights `(inputs, outputs)` and biases `(outputs,)`."""

    def __init__(self, number: int, weights: Matrix, biases: np.ndarray, activation: Activation):
        self.number = number
        self.weights = weights
        self.biases = biases
        self.activation = activation

    def forward(
        self, before: np.ndarray, chain: Chain, workspace: Workspace, tracker: CacheTracker, *, in_place: bool
    ) -> np.ndarray:
        """Return after[l] `(batch, outputs)`: a new buffer, or `before`'s own if `in_place` (equal widths)."""
        after = before if in_place else self._new_after(chain)
        tracker.forward(self.number, 0 if in_place else after.nbytes, chain.forward_flops[self.number])
        self.compute_after(before, after, workspace)
        return after

    def parameter_deltas(
        self, before: np.ndarray, delta: np.ndarray, chain: Chain, workspace: Workspace, tracker: CacheTracker
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the new gradients of the weights and of the biases, from after[l-1] and delta[l]."""
        weights_delta, biases_delta = self._new_parameter_deltas(chain)
        tracker.parameter_deltas(self.number, weights_delta.nbytes + biases_delta.nbytes)
        self.compute_parameter_deltas(before, delta, workspace, weights_delta, biases_delta)
        return weights_delta, biases_delta

    def delta_before(
        self, before: np.ndarray, delta: np.ndarray, below: "DenseLayer", workspace: Workspace, tracker: CacheTracker
    ) -> np.ndarray:
        """Turn `before`, the after[l-1] that layer `below` computed, into delta[l-1] and return it."""
        self.compute_delta_before(before, delta, below, workspace)
        tracker.overwrite(below.number, before.nbytes)
        return before

    def apply(self, deltas: Pair, optimizer: Optimizer, workspace: Workspace) -> None:
        """Update the parameters with their `deltas`, in place."""
        optimizer.update_layer(self.number, (self.weights, self.biases), deltas, scratch=workspace.scratch)

    # What follows touches the arrays; a dry run replaces it, and nothing else.

    def _new_after(self, chain: Chain) -> np.ndarray:
        return activation_buffer(chain.batch, len(self.biases), self.weights.dtype, mapped=chain.maps_buffers)

    def _new_parameter_deltas(self, chain: Chain) -> tuple[np.ndarray, np.ndarray]:
        return parameter_delta_buffers(*self.weights.shape, self.weights.dtype, mapped=chain.maps_buffers)

    def compute_after(self, before: np.ndarray, after: np.ndarray, workspace: Workspace) -> None:
        """Write after[l] `(batch, outputs)` to `after`, which may be `before` itself."""
        workspace.hold_biases(self.biases)
        for rows in row_blocks(after):
            out = after[rows]
            product = workspace.block(*out.shape) if after is before else out
            np.matmul(before[rows], self.weights, out=product)
            workspace.add_biases(product)
            self.activation.activate(product, out, workspace)

    def compute_parameter_deltas(
        self,
        before: np.ndarray,
        delta: np.ndarray,
        workspace: Workspace,
        weights_delta: np.ndarray,
        biases_delta: np.ndarray,
    ) -> None:
        """Write the gradients of the weights `(inputs, outputs)` and of the biases `(outputs,)`."""
        np.matmul(before.T, delta, out=weights_delta)
        np.matmul(workspace.ones, delta, out=biases_delta)

    def compute_delta_before(
        self, before: np.ndarray, delta: np.ndarray, below: "DenseLayer", workspace: Workspace
    ) -> None:
        """Write delta[l-1] `(batch, inputs)` over `before`, the after[l-1] that layer `below` computed."""
        for rows in row_blocks(before):
            out = before[rows]
            product = workspace.block(*out.shape)
            np.matmul(delta[rows], self.weights.T, out=product)
            below.activation.backpropagate(product, out)  # type: ignore[misc]  # a hidden layer has one


def row_blocks(values: np.ndarray) -> list[slice]:
    """The rows of `values` `(batch, width)` by the blocks that the kernels work on."""
    batch, width = values.shape
    rows = block_rows(batch, width, values.itemsize)
    return [slice(start, start + rows) for start in range(0, batch, rows)]
