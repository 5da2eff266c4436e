"""What both networks are: parameters, prediction, and the frame of a training step."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from os import PathLike
from typing import Any

import numpy as np

from networks.activations import HIDDEN
from networks.buffers import small_ufunc_buffers
from networks.chain import Chain, chain_of
from networks.checks import check_count, check_dtype, check_layers
from networks.gradients import GradientSum
from networks.guard import ThreadGuard
from networks.kernels import ArrayKernels
from networks.layer_lists import format_layers
from networks.layers import DenseLayer
from networks.optimizers import SGD, Optimizer, Pair
from networks.tracker import CacheTracker
from networks.wording import cut
from networks.workspace import Workspace

Deltas = list[Pair]


class MultiLayerPerceptron:
    """A chain of dense layers with a softmax output, trained on the mean cross-entropy.

    Args:
        layers: widths `[w_0, .., w_L]`: inputs, hidden layers, classes.
        activation: `"relu"`, `"sigmoid"` or `"tanh"`, of every hidden layer.
        dtype: `"float32"` or `"float64"`, of parameters, activations and gradients.
        seed: of the initial weights: He-normal for relu, Glorot-normal for the others. Biases start at 0.

    Between steps a network holds its parameters and nothing else of size. A step allocates all its buffers itself, and
    frees them before `backward` returns, except what `backward` returns. `observer`, if set, is called without
    arguments after each event of a step.

    One thread at a time may use a network; a second one gets a RuntimeError. Only `predict` may run in several threads.

    A subclass says which activations it keeps and how it gets the others: `_run_layers`, `_take_after`,
    `_discard_afters`.
    """

    _kernels_class: type[ArrayKernels] = ArrayKernels
    _workspace: Workspace
    _delta: np.ndarray

    def __init__(self, layers: Iterable[int], *, activation: str = "relu", dtype: str = "float32", seed: int = 0):
        self.layers = check_layers(layers)
        if not isinstance(activation, str) or activation not in HIDDEN:
            raise ValueError(f"activation must be one of {', '.join(HIDDEN)}, got {activation!r}")
        self.activation = activation
        self.dtype = check_dtype(dtype)
        self.observer: Callable[[], object] | None = None
        self._guard = ThreadGuard()
        self._kernels = self._kernels_class(self.layers, activation, self.dtype)
        self._layers = self._kernels.build_layers(check_count("seed", seed, least=0))
        self._chain = chain_of(self.layers, 1, self.dtype.itemsize)
        self.tracker = CacheTracker(self._chain)
        self._discard()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {', '.join(self._described())}>"

    def _described(self) -> list[str]:
        return [cut(format_layers(self.layers)), self.activation, self.dtype.name]

    @property
    def parameters(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """`(weights, biases)` of layers 1..L; weights `(layers[l-1], layers[l])`. The network's own arrays."""
        return [(layer.weights, layer.biases) for layer in self._layers]

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Return the class probabilities `(batch, classes)` of `x` `(batch, layers[0])`, ready for `backward`.

        The result is the caller's own. `x` is converted if it has another dtype, read again by `backward`, and
        never modified. Raises ValueError for a wrong shape, an empty batch, NaN or infinity.
        """
        self._guard.enter()
        try:
            x = self._kernels.check_inputs(x)
            self._begin_step(chain_of(self.layers, len(x), self.dtype.itemsize))
            return self._forward_pass(x)
        finally:
            self._guard.leave()

    def backward(self, y: np.ndarray) -> Deltas:
        """Return the gradients of the mean cross-entropy: `[(weights_delta, biases_delta), ..]` of layers 1..L.

        `y` is integer labels `(batch,)` or one-hot `(batch, classes)`. They belong to the last `forward`, which can
        be used once. Raises RuntimeError without one, and ValueError for labels of a wrong shape, kind or range;
        after a ValueError the forward pass is still there.
        """
        self._guard.enter()
        try:
            self._require_forward()
            labels = self._kernels.check_labels(y, self._chain.batch)
            sums = GradientSum(self._chain.depth, self._kernels.add)
            self._backward_pass(labels, sums)
            return sums.take_all()
        finally:
            self._guard.leave()

    def train_step(
        self, x: np.ndarray, y: np.ndarray, optimizer: Optimizer, *, micro_batch: int | None = None
    ) -> np.ndarray:
        """Run forward and backward and update the parameters; return the outputs as `forward` does.

        Each layer is updated as soon as its weight gradients are known. They are freed at once, so
        they never pile up. The parameters and the optimiser's state end as after `backward` and `optimizer.update`, bit
        for bit. Three facts make this right. delta[l-1] has already been computed from the old weights of layer l. The
        rest of the step, recomputation included, runs only layers below l. SGD, momentum and Adam keep a state for each
        layer and read nothing of the others.

        With `micro_batch` the rows are run in parts of at most that many (gradient accumulation): activations and
        gradients are those of a part. Each part's loss is divided by the rows of the whole batch, and the parts' weight
        gradients are added up. The sums are those of the whole batch, up to rounding. Layers are updated in the last
        part.

        Raises ValueError as `forward` and `backward` do, before anything is changed. Whatever interrupts it later
        (Ctrl-C, a schedule's mistake), the network is usable and the step is over: layers above are updated, those
        below are not, and the one at hand may be in part. `backward` changes none.
        """
        self._guard.enter_to_change()
        try:
            self._kernels.check_optimizer(optimizer, self._layers)
            x = self._kernels.check_inputs(x)
            labels = self._kernels.check_labels(y, len(x))
            sums = GradientSum(len(self._layers), self._kernels.add)
            if micro_batch is not None and check_count("micro_batch", micro_batch) < len(x):
                return self._train_by_parts(x, labels, micro_batch, sums, optimizer)
            self._begin_step(chain_of(self.layers, len(x), self.dtype.itemsize, deltas_pile_up=False))
            outputs = self._forward_pass(x)
            self._backward_pass(labels, sums, optimizer)
            return outputs
        finally:
            self._guard.leave_changed()

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Return the class probabilities of `x`, and keep nothing. They equal those of `forward`, bit for bit.

        Several threads may predict at once, but none while another changes the parameters: that is a RuntimeError.
        """
        after = self._kernels.check_inputs(x)
        chain = chain_of(self.layers, len(after), self.dtype.itemsize, deltas_pile_up=False)
        tracker = CacheTracker(chain)
        changes = self._guard.begin_reading()
        workspace = self._kernels.new_workspace(chain)
        with small_ufunc_buffers():
            for layer in self._layers:
                after = layer.forward(after, chain, workspace, tracker, in_place=chain.slides[layer.number])
        self._guard.end_reading(changes)
        return after

    def apply_deltas(self, deltas: Deltas, learning_rate: float) -> None:
        """Subtract `learning_rate` times the gradients from the parameters, in place: plain gradient descent."""
        self._guard.enter_to_change()
        try:
            SGD(learning_rate=learning_rate).update(self.parameters, deltas)
        finally:
            self._guard.leave_changed()

    def save(self, path: str | PathLike[str]) -> None:
        """Write the parameters to `path`, an npz without pickles: the whole file, or whatever was there before.

        An optimiser's state is not in it, nor is a schedule. Raises OSError where it cannot be written.
        """
        from networks.parameter_files import write_parameters  # takes milliseconds to import, and few save

        changes = self._guard.begin_reading()
        write_parameters(path, self._kind, self.parameters, check=lambda: self._guard.end_reading(changes))

    def load(self, path: str | PathLike[str]) -> None:
        """Read the parameters that a network of the same layers, activation and dtype has saved, bit for bit.

        They are written into this network's own arrays, and a step that was begun is over. Raises ValueError for any
        other file, and OSError where it cannot be read; the parameters are then as they were.
        """
        from networks.parameter_files import read_parameters

        self._guard.enter_to_change()
        try:
            loaded = read_parameters(path, self._kind, self.parameters)
            self._discard()
            for pair, values in zip(self.parameters, loaded, strict=True):
                for parameter, value in zip(pair, values, strict=True):
                    np.copyto(parameter, value)
        finally:
            self._guard.leave_changed()

    @property
    def _kind(self) -> str:
        """What two networks must have in common to have the same parameters."""
        return f"layers {format_layers(self.layers)}, activation {self.activation}, dtype {self.dtype}"

    def __getstate__(self) -> dict[str, Any]:
        """What a copy or a pickle holds: no forward pass to work on, and no observer.

        Raises RuntimeError while another thread changes the parameters.
        """
        self._guard.begin_reading()
        idle = object.__new__(type(self))
        vars(idle).update(vars(self), observer=None)
        idle._discard()
        return vars(idle)

    # The frame of a step.

    def _begin_step(self, chain: Chain) -> None:
        """Forget the step before, and start the tracker of a new one."""
        self._guard.own_step()
        self._discard()
        self._chain = chain
        self.tracker = CacheTracker(chain, self.observer)

    def _train_by_parts(
        self, x: np.ndarray, labels: np.ndarray, rows: int, sums: GradientSum, optimizer: Optimizer
    ) -> np.ndarray:
        """Run a step by parts of at most `rows`; add their weight gradients up, and update layers in the last part."""
        self._begin_step(chain_of(self.layers, len(x), self.dtype.itemsize, deltas_pile_up=False))
        outputs = self._kernels.new_outputs(self._chain)
        self.tracker.outputs(outputs.nbytes)
        for start in range(0, len(x), rows):
            part = slice(start, start + rows)
            inputs = x[part]
            sizes = self.layers, len(inputs), self.dtype.itemsize
            self._chain = chain_of(*sizes, deltas_pile_up=False, part_of=len(x))
            self.tracker.part(self._chain)
            self._forward_pass(inputs, outputs[part])
            self._backward_pass(labels[part], sums, optimizer if start + rows >= len(x) else None)
        return outputs

    def _forward_pass(self, x: np.ndarray, outputs: np.ndarray | None = None) -> np.ndarray:
        """Run the layers and hold the gradient of the loss; the outputs are new, or else written to `outputs`."""
        depth = self._chain.depth
        with self._pass("forward"):
            after = self._run_layers(x)
            if outputs is None:
                # The gradient of the loss starts as a copy, because the outputs are the caller's to change.
                # The copy raises no peak, because backward needs these bytes anyway.
                outputs = after
                self._delta = self._kernels.copy(after, self._kernels.new_outputs(self._chain))
                self.tracker.delta(depth, after.nbytes)
            else:
                self._kernels.copy(after, outputs)
                self._delta = after
                self.tracker.overwrite(depth, after.nbytes)
        return outputs

    @contextmanager
    def _pass(self, phase: str) -> Iterator[None]:
        """Hold the workspace of a pass. The network is usable afterwards, whatever interrupts the pass."""
        nbytes, tracker = self._chain.workspace_bytes, self.tracker
        tracker.phase = phase
        try:
            with small_ufunc_buffers():
                self._workspace = self._kernels.new_workspace(self._chain)
                tracker.workspace(nbytes)
                yield
            self._workspace = None  # type: ignore[assignment]  # as in _discard
            tracker.workspace(-nbytes)
        except BaseException:
            self._discard()
            raise
        tracker.phase = "query"

    def _backward_pass(self, labels: np.ndarray, sums: GradientSum, optimizer: Optimizer | None = None) -> None:
        """Run the layers from the last to the first, and add their weight gradients to `sums`.

        An `optimizer` ends the step: it updates each layer at once with its sum. The layer's weights are free to change
        by then, because nothing below needs them.
        """
        with self._pass("backward"):
            self._kernels.subtract_labels(self._delta, labels, self._chain.whole_batch)
            for layer in reversed(self._layers):
                nbytes = self._chain.parameter_delta_bytes[layer.number]
                # No name here holds the weight gradients, which would keep them alive beyond the event that frees them.
                if sums.add(self._step_back(layer)):
                    self.tracker.accumulate(layer.number, nbytes)
                if optimizer is not None:
                    layer.apply(sums.take(), optimizer, self._workspace)
                    self.tracker.apply(layer.number, nbytes)
            if self._chain.part_of is None:
                self.tracker.release(self._chain.depth, self._chain.outputs_bytes)
            elif optimizer is not None:
                self.tracker.outputs(-self._chain.outputs_bytes)
            self._discard()

    def _step_back(self, layer: DenseLayer) -> Pair:
        """Return the layer's weight gradients. `_delta` becomes that of the layer below."""
        before, delta = self._take_after(layer.number - 1), self._delta
        deltas = layer.parameter_deltas(before, delta, self._chain, self._workspace, self.tracker)
        nbytes = delta.nbytes
        # Both names of the gradient are bound anew, so it is freed before the event that says so.
        if layer.number > 1:
            below = self._layers[layer.number - 2]
            delta = self._delta = layer.delta_before(before, delta, below, self._workspace, self.tracker)
        else:
            delta = self._delta = None  # type: ignore[assignment]  # the input has none
        self.tracker.release_delta(layer.number, nbytes)
        return deltas

    def _discard(self) -> None:
        """Let go of everything that belongs to a step."""
        # Within a step they are there, and only whether there is a step is asked outside one.
        self._workspace = None  # type: ignore[assignment]
        self._delta = None  # type: ignore[assignment]
        self._discard_afters()

    def _require_forward(self) -> None:
        if self._workspace is not None:
            raise RuntimeError("a pass of this network is not over: call backward(y) after it")
        if self._delta is None:
            raise RuntimeError("no forward pass to work on: call forward(x) first; one forward serves one backward")
        self._guard.require_own_step()

    # What a subclass says.

    def _run_layers(self, x: np.ndarray) -> np.ndarray:
        """Run every layer, keep activations for the backward pass, and return the outputs."""
        raise NotImplementedError

    def _take_after(self, position: int) -> np.ndarray:
        """Return after[position], which may be written over: kept no longer, it becomes a gradient."""
        raise NotImplementedError

    def _discard_afters(self) -> None:
        """Let go of every activation, and of what says which to keep."""
        raise NotImplementedError
