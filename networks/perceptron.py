"""What both networks are: parameters, prediction, and the frame of a training step."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import pairwise

import numpy as np

from networks.activations import HIDDEN, output_activation
from networks.buffers import activation_buffer, small_ufunc_buffers
from networks.cache import CacheTracker
from networks.chain import Chain
from networks.layer_lists import check_layers
from networks.layers import DenseLayer, Workspace
from networks.losses import outputs_to_delta
from networks.optimizers import SGD, Optimizer
from networks.validation import check_dtype, check_inputs, check_labels

Deltas = list[tuple[np.ndarray, np.ndarray]]


class MultiLayerPerceptron:
    """A chain of dense layers with a softmax output, trained on the mean cross-entropy.

    Args:
        layers: widths `[w_0, .., w_L]`: inputs, hidden layers, classes.
        activation: `"relu"`, `"sigmoid"` or `"tanh"`, of every hidden layer.
        dtype: `"float32"` or `"float64"`, of parameters, afters and deltas.
        seed: of the initial weights: He-normal for relu, Glorot-normal for the others. Biases start at 0.

    Between steps it holds its parameters and nothing else of size: every buffer of a step is allocated in
    that step, and freed before `backward` returns, except what `backward` returns. `observer`, if set, is called
    without arguments after each event of a step.

    A subclass says which afters it keeps, and how the others are had: `_run_layers`, `_take_after`, `_discard_afters`.
    """

    def __init__(self, layers: Iterable[int], *, activation: str = "relu", dtype: str = "float32", seed: int = 0):
        self.layers = check_layers(layers)
        if not isinstance(activation, str) or activation not in HIDDEN:
            raise ValueError(f"activation must be one of {', '.join(HIDDEN)}, got {activation!r}")
        self.activation = activation
        self.dtype = check_dtype(dtype)
        self.observer = None
        self._layers = self._build_layers(seed)
        self._chain = Chain(self.layers, 1, self.dtype.itemsize)
        self.tracker = CacheTracker(self._chain)
        self._discard()

    @property
    def parameters(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """`(weights, biases)` of layers 1..L; weights `(layers[l-1], layers[l])`. The network's own arrays."""
        return [(layer.weights, layer.biases) for layer in self._layers]

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Return the class probabilities `(batch, classes)` of `x` `(batch, layers[0])`, ready for `backward`.

        The result is the caller's own. `x` is converted if it has another dtype, read again by `backward`, and
        never modified. Raises ValueError for a wrong shape, an empty batch, NaN or infinity.
        """
        return self._forward_pass(self._check_inputs(x), deltas_pile_up=True)

    def backward(self, y: np.ndarray) -> Deltas:
        """Return the gradients of the mean cross-entropy: `[(weights_delta, biases_delta), ..]` of layers 1..L.

        `y` is integer labels `(batch,)` or one-hot `(batch, classes)`. They belong to the last `forward`, which can
        be used once. Raises RuntimeError without one, and ValueError for labels of a wrong shape, kind or range;
        after a ValueError the forward pass is still there.
        """
        self._require_forward()
        deltas = []
        labels = self._check_labels(y, self._chain.batch)
        self._backward_pass(labels, lambda _, layer_deltas: deltas.append(layer_deltas.pop()))
        return deltas[::-1]

    def train_step(self, x: np.ndarray, y: np.ndarray, optimizer: Optimizer) -> np.ndarray:
        """Run forward and backward and update the parameters; return the outputs as `forward` does.

        Each layer is updated as soon as its deltas are known, which are freed at once, so that deltas never pile up.
        Parameters and the optimiser's state are then those after `backward` and `optimizer.update`, bit for bit:
        delta[l-1] has been computed from the old weights of layer l; what is left of the step, recomputation included,
        runs layers below l only; and SGD, momentum and Adam keep a state for each layer and read nothing of the others.

        Raises ValueError as `forward` and `backward` do, before anything is changed. Whatever interrupts it later
        (Ctrl-C, a schedule's mistake), the network is usable and the step is over: layers above are updated, those
        below are not, and the one at hand may be in part. For all or nothing there are `backward` and `update`.
        """
        if not isinstance(optimizer, Optimizer):
            raise ValueError(f"optimizer must be one of networks.optimizers, such as SGD(0.1), got {optimizer!r}")
        x = self._check_inputs(x)
        labels = self._check_labels(y, len(x))
        outputs = self._forward_pass(x, deltas_pile_up=False)

        def apply(layer: DenseLayer, deltas: Deltas) -> None:
            layer.apply(deltas.pop(), optimizer, self._workspace)
            self.tracker.apply(layer.number, self._chain.parameter_delta_bytes[layer.number])

        self._backward_pass(labels, apply)
        return outputs

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Return the class probabilities of `x`, keeping nothing; bit for bit those of `forward`."""
        after = self._check_inputs(x)
        chain = Chain(self.layers, len(after), self.dtype.itemsize)
        tracker = CacheTracker(chain)
        workspace = self._new_workspace(chain)
        with small_ufunc_buffers():
            for layer in self._layers:
                after = layer.forward(after, chain, workspace, tracker, in_place=chain.slides(layer.number))
        return after

    def apply_deltas(self, deltas: Deltas, learning_rate: float) -> None:
        """Subtract `learning_rate` times the deltas from the parameters, in place: plain gradient descent."""
        SGD(learning_rate=learning_rate).update(self.parameters, deltas)

    # The frame of a step.

    def _forward_pass(self, x: np.ndarray, *, deltas_pile_up: bool) -> np.ndarray:
        """Forget the step before, and begin one with its forward pass over `x`."""
        self._discard()
        chain = Chain(self.layers, len(x), self.dtype.itemsize, deltas_pile_up)
        if chain != self._chain:  # of an equal one, the bytes are added up already
            self._chain = chain
        self.tracker = CacheTracker(self._chain, self.observer)
        with self._pass("forward"):
            outputs = self._run_layers(x)
            self._hold_loss_delta(outputs)
        return outputs

    @contextmanager
    def _pass(self, phase: str) -> Iterator[None]:
        """Hold the workspace of a pass; whatever interrupts the pass, the network is usable afterwards."""
        nbytes, tracker = self._chain.workspace_bytes, self.tracker
        tracker.phase = phase
        try:
            with small_ufunc_buffers():
                self._workspace = self._new_workspace(self._chain)
                tracker.workspace(nbytes)
                yield
        except BaseException:
            self._discard()
            raise
        self._workspace = None
        tracker.workspace(-nbytes)
        tracker.phase = "query"

    def _hold_loss_delta(self, outputs: np.ndarray) -> None:
        # The delta of the loss starts as a copy of the outputs. Made in the forward pass it costs no peak, for backward
        # needs it anyway, and the caller may do with the outputs as they like.
        self._loss_delta = self._copy(outputs)
        self.tracker.delta(self._chain.depth, outputs.nbytes)

    def _backward_pass(self, labels: np.ndarray, receive: Callable[[DenseLayer, Deltas], None]) -> None:
        """End the step: give each layer and its deltas, from the last to the first, to `receive`.

        They come in a list of one pair, for `receive` to pop: a reference left here would keep them alive. By then the
        layer's weights have served: nothing below needs them.
        """
        with self._pass("backward"):
            delta, self._loss_delta = self._loss_delta, None
            self._subtract_labels(delta, labels)
            for layer in reversed(self._layers):
                before = self._take_after(layer.number - 1)
                deltas = [layer.parameter_deltas(before, delta, self._workspace, self.tracker)]
                released = delta.nbytes
                delta = self._delta_before(layer, before, delta)
                self.tracker.release_delta(layer.number, released)
                receive(layer, deltas)
            depth = self._chain.depth
            self.tracker.release(depth, self._chain.after_bytes[depth])
            self._discard()

    def _delta_before(self, layer: DenseLayer, before: np.ndarray, delta: np.ndarray) -> np.ndarray | None:
        """delta[l-1], written over `before`; None below layer 1, whose input has no delta."""
        if layer.number == 1:
            return None
        return layer.delta_before(before, delta, self._layers[layer.number - 2], self._workspace, self.tracker)

    def _discard(self) -> None:
        """Let go of everything that belongs to a step."""
        self._workspace: Workspace | None = None
        self._loss_delta: np.ndarray | None = None
        self._discard_afters()

    def _require_forward(self) -> None:
        if self._loss_delta is None:
            raise RuntimeError("no forward pass to work on: call forward(x) first; one forward serves one backward")

    # What a subclass says.

    def _run_layers(self, x: np.ndarray) -> np.ndarray:
        """Run every layer, keep afters for the backward pass, and return the outputs."""
        raise NotImplementedError

    def _take_after(self, position: int) -> np.ndarray:
        """Return after[position], which may be written over: kept no longer, it becomes a delta."""
        raise NotImplementedError

    def _discard_afters(self) -> None:
        """Let go of every after, and of what says which to keep."""
        raise NotImplementedError

    # What follows touches the arrays; a dry run replaces it, and nothing else.

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

    def _new_workspace(self, chain: Chain) -> Workspace:
        return Workspace(chain, self.dtype)

    def _copy(self, outputs: np.ndarray) -> np.ndarray:
        copy = activation_buffer(*outputs.shape, outputs.dtype)
        np.copyto(copy, outputs)
        return copy

    def _subtract_labels(self, delta: np.ndarray, labels: np.ndarray) -> None:
        outputs_to_delta(delta, labels)
