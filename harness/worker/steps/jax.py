"""JAX on the CPU, compiled by `jax.jit`: layer by layer, or with the equal layers stacked under `lax.scan`."""

import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from harness.experiment.cell import Cell
from harness.worker.steps.base import Gradients, Peer, Product, operands

ACTIVATIONS = {"relu": jax.nn.relu, "sigmoid": jax.nn.sigmoid, "tanh": jnp.tanh}

Forward = Callable[[Any, jax.Array], jax.Array]


class JaxPeer(Peer):
    """The gradient of the mean cross-entropy: one compiled function of parameters, inputs and labels."""

    def __init__(self, cell: Cell, parameters: Gradients, x: Any, y: Any):
        jax.config.update("jax_enable_x64", cell.dtype == "float64")
        jax.config.update("jax_cpu_enable_async_dispatch", False)
        assert cell.peer is not None
        _, _, kind = cell.peer.partition(".")
        self._stacked = kind.startswith("scan")
        layer = _layer(ACTIVATIONS[cell.activation])
        through = _scanned if self._stacked else _unrolled
        hidden = through(layer, cell.checkpoint_frequency)
        self._dtype = cell.dtype
        self._parameters = jax.device_put(_stacked(parameters) if self._stacked else _listed(parameters))
        self._x, self._y = jax.device_put((x, y))
        step = jax.jit(jax.value_and_grad(_loss(layer, hidden)))
        compiled: Any = step.lower(self._parameters, self._x, self._y).compile()
        self._step = compiled
        self.compiler_temporary_bytes = compiled.memory_analysis().temp_size_in_bytes

    def __call__(self) -> Any:
        return jax.block_until_ready(self._step(self._parameters, self._x, self._y))

    def gradients(self) -> Gradients:
        _, (first, hidden, last) = jax.tree.map(np.asarray, self())
        return [first, *(zip(*hidden, strict=True) if self._stacked else hidden), last]

    def products(self) -> list[Product]:
        return products_executed(self._step.as_text())

    def multiplication(self, product: Product) -> Callable[[], object]:
        left, right = jax.device_put(
            operands(product._replace(left_transposed=False, right_transposed=False), self._dtype)
        )
        if product.left_transposed:
            left = left.T.copy()
        if product.right_transposed:
            right = right.T.copy()
        dimensions = ((int(not product.left_transposed),), (int(product.right_transposed),)), ((), ())
        multiply = jax.jit(lambda left, right: jax.lax.dot_general(left, right, dimensions))
        multiply(left, right)
        return lambda: multiply(left, right).block_until_ready()


build = JaxPeer


def _listed(parameters: Gradients) -> tuple:
    return parameters[0], list(parameters[1:-1]), parameters[-1]


def _stacked(parameters: Gradients) -> tuple:
    """The first layer, arrays of all equal layers of shape `(layers, ...)`, and the last layer."""
    first, hidden, last = _listed(parameters)
    return first, tuple(np.stack(arrays) for arrays in zip(*hidden, strict=True)), last


def _layer(activation: Callable[[jax.Array], jax.Array]) -> Callable[[jax.Array, Any], jax.Array]:
    return lambda x, parameters: activation(x @ parameters[0] + parameters[1])


def _loss(layer: Callable, hidden: Forward) -> Callable[[Any, jax.Array, jax.Array], jax.Array]:
    def loss(parameters: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        first, between, (weights, biases) = parameters
        logits = hidden(between, layer(x, first)) @ weights + biases
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], axis=1))

    return loss


def _unrolled(layer: Callable, frequency: int | None) -> Forward:
    """Layer by layer. With a frequency, each segment of so many layers is under `jax.checkpoint`."""

    def segment(x: jax.Array, layers: list) -> jax.Array:
        for parameters in layers:
            x = layer(x, parameters)
        return x

    def forward(layers: list, x: jax.Array) -> jax.Array:
        if frequency is None:
            return segment(x, layers)
        for i in range(0, len(layers), frequency):
            x = jax.checkpoint(segment)(x, layers[i : i + frequency])
        return x

    return forward


def _scanned(layer: Callable, frequency: int | None) -> Forward:
    """A loop over stacked layers. With a frequency, a loop over segments, each a loop under `jax.checkpoint`.

    A shorter last segment comes after the loop.
    """

    def segment(x: jax.Array, layers: Any) -> tuple[jax.Array, None]:
        return jax.lax.scan(lambda x, parameters: (layer(x, parameters), None), x, layers)

    def forward(layers: Any, x: jax.Array) -> jax.Array:
        if frequency is None:
            return segment(x, layers)[0]
        whole = len(layers[0]) // frequency * frequency
        segments = jax.tree.map(lambda array: array[:whole].reshape(-1, frequency, *array.shape[1:]), layers)
        rest = jax.tree.map(lambda array: array[whole:], layers)
        x, _ = jax.lax.scan(jax.checkpoint(segment), x, segments)
        return jax.checkpoint(segment)(x, rest)[0]

    return forward


_COMPUTATION = re.compile(r"^(ENTRY )?%?(?P<name>[\w.-]+) \(.*\) -> .* \{$")
_VALUE = re.compile(r"^\s+(?:ROOT )?%(?P<name>[\w.-]+) = \w+\[(?P<shape>[\d,]*)\]")
_DOT = re.compile(
    r"dot\(%(?P<left>[\w.-]+), %(?P<right>[\w.-]+)\), "
    r"lhs_contracting_dims=\{(?P<of_left>\d)\}, rhs_contracting_dims=\{(?P<of_right>\d)\}"
)
_CALLED = re.compile(r"(?:calls|body|to_apply)=%([\w.-]+)")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')


def products_executed(hlo: str) -> list[Product]:
    """The matrix products that a compiled module runs, read from its text. A loop counts once for each trip.

    Raises:
        RuntimeError: a loop does not tell its trips.
    """
    products: dict[str, list[Product]] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    name = ""
    for line in hlo.splitlines():  # a computation stands before those that call it
        if heading := _COMPUTATION.match(line):
            name, shapes = heading["name"], {}
            products[name] = []
        elif value := _VALUE.match(line):
            shapes[value["name"]] = tuple(map(int, filter(None, value["shape"].split(","))))
        if dot := _DOT.search(line):
            products[name].append(_product(shapes[dot["left"]], shapes[dot["right"]], dot["of_left"], dot["of_right"]))
        for called in _CALLED.findall(line):
            products[name] += _trips(line) * products[called]
    return products[name]


def _product(left: tuple[int, ...], right: tuple[int, ...], of_left: str, of_right: str) -> Product:
    contracted, shared = int(of_left), int(of_right)
    return Product(left[1 - contracted], left[contracted], right[1 - shared], contracted == 0, shared == 1)


def _trips(line: str) -> int:
    if " while(" not in line:
        return 1
    trips = _TRIPS.search(line)
    if trips is None:
        raise RuntimeError("the compiled step has a loop that does not tell how often it runs")
    return int(trips[1])
