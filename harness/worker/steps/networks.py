"""This project's own training step, as a worker runs it."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from harness.experiment.cell import Cell
from harness.worker import probes
from harness.worker.steps.base import Gradients, Peer, Product, multiplication
from networks import Network, NetworkWithCheckpointing
from networks.optimizers import SGD, Optimizer, Pair


class NetworkStep(Peer):
    """One training step of a cell's network on random data. A call runs it, and returns what it made.

    Attributes:
        network: the cell's network. Its weights keep their initial values.
        x, y: inputs `(batch, layers[0])` in the network's dtype and labels `(batch,)`, from the cell's seed.
    """

    def __init__(self, cell: Cell):
        self._cell = cell
        self._optimizer = SGD(learning_rate=0)  # a complete update that changes nothing
        generator = np.random.default_rng(cell.seed)
        self.network = build_network(cell)
        self.x = generator.standard_normal((cell.batch, cell.widths[0]), dtype=np.dtype(cell.dtype))
        self.y = generator.integers(cell.widths[-1], size=cell.batch)

    def __call__(self) -> tuple[np.ndarray, Gradients | None]:
        if self._cell.step == "train_step":
            return self._train(self._optimizer), None
        outputs = self.network.forward(self.x)
        deltas = self.network.backward(self.y)
        return outputs, deltas

    def counted(self) -> dict[str, int]:
        """The tracker's counts of the last step, by column."""
        tracker = self.network.tracker
        return {
            "forward_steps": tracker.forward_steps,
            "forward_flops": tracker.forward_flops,
            "hits": tracker.hits,
            "misses": tracker.misses,
            "peak_cached_layers": tracker.peak_cached_layers,
            "tracker_peak_bytes": tracker.peak_bytes,
            **{f"tracker_{kind}_bytes": nbytes for kind, nbytes in tracker.peak_bytes_by_kind.items()},
        }

    def gradients(self) -> Gradients:
        if self._cell.step == "train_step":
            taken = _Taken()
            self._train(taken)
            return [taken.deltas[layer] for layer in range(1, self._cell.depth + 1)]
        _, deltas = self()
        assert deltas is not None  # only a train_step has none
        return deltas

    def products(self) -> list[Product]:
        """The products of the last step. Blocks of rows count as one product. Layer 1 needs no gradient below it."""
        batch, shapes = self._cell.batch, [(0, 0), *pairwise(self._cell.widths)]
        computed = [shapes[event.layer] for event in self.network.tracker.timeline if event.action == "forward"]
        return [
            *(Product(batch, inputs, outputs) for inputs, outputs in computed),
            *(Product(inputs, batch, outputs, left_transposed=True) for inputs, outputs in shapes[1:]),
            *(Product(batch, outputs, inputs, right_transposed=True) for inputs, outputs in shapes[2:]),
        ]

    def multiplication(self, product: Product) -> Callable[[], object]:
        return multiplication(product, self._cell.dtype)

    def _train(self, optimizer: Optimizer) -> np.ndarray:
        return self.network.train_step(self.x, self.y, optimizer, micro_batch=self._cell.micro_batch)

    def _timed(self) -> dict[str, float]:
        lap = probes.stopwatch()
        if self._cell.step == "train_step":
            outputs = self._train(self._optimizer)
            return {"step_seconds": lap()}
        outputs = self.network.forward(self.x)
        forward_seconds = lap()
        deltas = self.network.backward(self.y)
        backward_seconds = lap()
        del outputs, deltas  # alive until here, so their freeing is not timed
        return {"forward_seconds": forward_seconds, "backward_seconds": backward_seconds}


class _Taken(SGD):
    """An optimizer that updates nothing, and keeps the gradients of a train step in `deltas`, by layer."""

    def __init__(self):
        super().__init__(learning_rate=0)
        self.deltas: dict[int, Pair] = {}

    def update_layer(self, layer: int, parameters: Pair, deltas: Pair, *, scratch: np.ndarray) -> None:
        self.deltas[layer] = deltas


def build_network(cell: Cell) -> Network | NetworkWithCheckpointing:
    """Make the network of a cell."""
    network = Network if cell.network == "Network" else NetworkWithCheckpointing
    return network(cell.widths, activation=cell.activation, dtype=cell.dtype, seed=cell.seed, **cell.checkpointing)
