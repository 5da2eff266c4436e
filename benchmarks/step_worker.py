"""`python -m benchmarks.step_worker`: one configuration's step beside its parts alone, in this process.

Reads the configuration as JSON from its first argument and prints what it measured as one line of JSON.
"""

import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from harness.worker.probes import peak_memory, quiet_heap
from networks import Network, NetworkWithCheckpointing
from networks.buffers import small_ufunc_buffers
from networks.chain import Chain
from networks.kernels import ArrayKernels
from networks.layers import DenseLayer
from networks.tracker import Event
from networks.workspace import Workspace


class Product(NamedTuple):
    """A whole matrix product of layer `layer`, and the action of the step's event that it stands for."""

    action: str
    layer: int
    left: np.ndarray
    right: np.ndarray
    out: np.ndarray


def training_step(layers: list[int], batch: int, checkpoint_frequency: int | None) -> tuple[Network, Callable]:
    """Return a network and its training step on made-up data; a call returns what the step made."""
    if checkpoint_frequency is None:
        network = Network(layers)
    else:
        network = NetworkWithCheckpointing(layers, checkpoint_frequency=checkpoint_frequency)
    generator = np.random.default_rng(0)
    x = generator.standard_normal((batch, layers[0]), dtype=network.dtype)
    y = generator.integers(layers[-1], size=batch)
    return network, lambda: (network.forward(x), network.backward(y))


def bare_products(timeline: list[Event], layers: list[int], batch: int) -> list[Product]:
    """The matrix products of the step that wrote `timeline`, one whole product a layer.

    A value lies in a buffer that is in use exactly as long as in the step, and freed buffers are used again, so the
    products go through as much memory as the step does. Only where the step writes an after over the one before it,
    the product, which cannot, takes turns between two buffers. Values stay near 1: weights have deviation
    1 / sqrt(inputs).
    """
    generator = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        return generator.standard_normal(shape, dtype=np.float32)

    free: dict[int, list[np.ndarray]] = defaultdict(list)

    def new(layer: int) -> np.ndarray:
        return free[layers[layer]].pop() if free[layers[layer]] else normal(batch, layers[layer])

    def release(layer: int, buffers: dict[int, np.ndarray]) -> None:
        free[layers[layer]].append(buffers.pop(layer))

    weights = {layer: normal(*pair) / pair[0] ** 0.5 for layer, pair in enumerate(pairwise(layers), start=1)}
    weights_deltas = {layer: np.empty_like(array) for layer, array in weights.items()}
    afters, deltas = {0: normal(batch, layers[0])}, {}
    products = []
    for event in timeline:
        layer = event.layer
        match event.action:
            case "forward":
                after = new(layer)
                products.append(Product(event.action, layer, afters[layer - 1], weights[layer], after))
                if event.bytes == 0:
                    release(layer - 1, afters)
                afters[layer] = after
            case "delta":
                deltas[layer] = new(layer)
            case "parameter_deltas":
                out = weights_deltas[layer]
                products.append(Product(event.action, layer, afters[layer - 1].T, deltas[layer], out))
            case "overwrite":
                deltas[layer] = afters.pop(layer)
                delta, right = deltas[layer + 1], weights[layer + 1].T
                products.append(Product(event.action, layer + 1, delta, right, deltas[layer]))
            case "release":
                release(layer, afters)
            case "release_delta":
                release(layer, deltas)
    return products


def multiply(products: list[Product]) -> None:
    for _, _, left, right, out in products:
        np.matmul(left, right, out=out)


def layers_of(network: Network) -> list[DenseLayer]:
    """New layers with the weights that `network` has before its first update."""
    return ArrayKernels(network.layers, network.activation, network.dtype).build_layers(seed=0)


def run_kernels(
    layers: list[DenseLayer], products: list[Product], workspace: Workspace, biases_delta: np.ndarray
) -> None:
    """Each product with its element-wise passes, as the layers compute it, on the product's own arrays.

    Neither cache, nor tracker, nor schedule, nor the loss. Where the step writes an after over the one before it, this
    writes to another buffer, as the bare product does.
    """
    with small_ufunc_buffers():
        for action, number, left, right, out in products:
            layer = layers[number - 1]
            match action:
                case "forward":
                    layer.compute_after(left, out, workspace)
                case "parameter_deltas":
                    layer.compute_parameter_deltas(left.T, right, workspace, out, biases_delta[: right.shape[1]])
                case "overwrite":
                    layer.compute_delta_before(out, left, layers[number - 2], workspace)


def measure_time(runs: dict[str, Callable], *, repeats: int, threads: int) -> dict[str, list[float]]:
    """Seconds of each of `runs`, in turns, each first every second time, after a warm-up.

    One thread is timed by the process's own processor time, which its neighbours disturb less; more threads by the
    clock on the wall, because a thread that waits for another may spin.
    """
    clock = time.process_time if threads == 1 else time.perf_counter
    seconds = {name: [] for name in runs}
    for repeat in range(-1, repeats):
        for name in sorted(runs, reverse=repeat % 2 == 0):
            with quiet_heap():
                start = clock()
                made = runs[name]()
                end = clock()
                del made
            if repeat >= 0:
                seconds[name].append(end - start)
    return seconds


def measure(
    *, layers: list[int], batch: int, checkpoint_frequency: int | None, repeats: int, threads: int
) -> dict[str, Any]:
    """The seconds of `repeats` steps and of their products, or the peak bytes of one step if `repeats` is 0."""
    network, step = training_step(layers, batch, checkpoint_frequency)
    step()
    if repeats == 0:
        return {"peak_bytes": peak_memory(step)["memray_peak_bytes"]}
    products = bare_products(network.tracker.timeline, layers, batch)
    in_turns = {"repeats": repeats, "threads": threads}
    workspace = Workspace(Chain(network.layers, batch, network.dtype.itemsize), network.dtype)
    biases_delta = np.empty(max(layers), network.dtype)
    dense = layers_of(network)
    kernels, floor = lambda: run_kernels(dense, products, workspace, biases_delta), lambda: multiply(products)
    # Two pairs, not three in turns: what runs in between leaves the caches colder.
    return {
        **measure_time({"step_seconds": step, "floor_seconds": floor}, **in_turns),
        **measure_time({"kernel_seconds": kernels, "kernel_floor_seconds": floor}, **in_turns),
    }


if __name__ == "__main__":
    print(json.dumps(measure(**json.loads(sys.argv[1]))))
