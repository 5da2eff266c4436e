"""PyTorch on the CPU: eager with and without activation checkpointing, and compiled."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch._inductor.config
from torch.nn.functional import cross_entropy
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

from harness.experiment.cell import Cell
from harness.worker import probes
from harness.worker.steps.base import Gradients, Peer, Product, operands
from networks.rounding import ceil_div

ACTIVATIONS = {"relu": torch.nn.ReLU, "sigmoid": torch.nn.Sigmoid, "tanh": torch.nn.Tanh}
MEMORY_BUDGET = 0.5

Forward = Callable[[torch.Tensor], torch.Tensor]


class TorchPeer(Peer):
    """`torch.nn.Linear` layers and cross-entropy, run by autograd."""

    def __init__(self, cell: Cell, parameters: Gradients, x: Any, y: Any):
        assert cell.peer is not None
        torch.set_num_threads(1)
        blocks = [_block(cell, *pair, last=i == cell.depth) for i, pair in enumerate(parameters, start=1)]
        self._model = torch.nn.Sequential(*blocks)
        self._forward = FORWARDS[cell.peer](self._model, cell.checkpoint_frequency)
        self._compiled = cell.peer.startswith("torch.compile")
        self._dtype = cell.dtype
        self._x, self._y = torch.from_numpy(x.copy()), torch.from_numpy(y.copy())

    def __call__(self) -> list[Any]:
        cross_entropy(self._forward(self._x), self._y).backward()
        return self._take_gradients()

    def gradients(self) -> Gradients:
        weights_and_biases = iter(gradient.numpy() for gradient in self())
        return [(weights.T, biases) for weights, biases in zip(weights_and_biases, weights_and_biases, strict=True)]

    def products(self) -> list[Product]:
        counting = _compiled_products if self._compiled else _Products
        with counting() as products:
            self()
        return products

    def multiplication(self, product: Product) -> Callable[[], object]:
        left, right = map(torch.from_numpy, operands(product, self._dtype))
        out = left @ right
        return lambda: torch.mm(left, right, out=out)

    def _timed(self) -> dict[str, float]:
        lap = probes.stopwatch()
        loss = cross_entropy(self._forward(self._x), self._y)
        forward_seconds = lap()
        loss.backward()
        backward_seconds = lap()
        self._take_gradients()
        return {"forward_seconds": forward_seconds, "backward_seconds": backward_seconds}

    def _take_gradients(self) -> list[Any]:
        gradients = [parameter.grad for parameter in self._model.parameters()]
        self._model.zero_grad(set_to_none=True)
        return gradients


build = TorchPeer


def _store_all(model: torch.nn.Sequential, frequency: None) -> Forward:
    return model


def _checkpoint(model: torch.nn.Sequential, frequency: int) -> Forward:
    parts = [model[i : i + frequency] for i in range(0, len(model), frequency)]

    def forward(x: torch.Tensor) -> torch.Tensor:
        for part in parts:
            x = checkpoint(part, x, use_reentrant=False)
        return x

    return forward


def _checkpoint_sequential(model: torch.nn.Sequential, frequency: int) -> Forward:
    segments = ceil_div(len(model), frequency)
    return lambda x: checkpoint_sequential(model, segments, x, use_reentrant=False)


def _compile(model: torch.nn.Sequential, frequency: None) -> Forward:
    torch._inductor.config.cpp.threads = 1
    return torch.compile(model)


def _compile_budget(model: torch.nn.Sequential, frequency: None) -> Forward:
    torch._functorch.config.activation_memory_budget = MEMORY_BUDGET
    return _compile(model, frequency)


FORWARDS: dict[str, Callable[[torch.nn.Sequential, Any], Forward]] = {
    "torch.store-all": _store_all,
    "torch.checkpoint": _checkpoint,
    "torch.checkpoint_sequential": _checkpoint_sequential,
    "torch.compile": _compile,
    "torch.compile_budget": _compile_budget,
}


def _block(cell: Cell, weights: Any, biases: Any, *, last: bool) -> torch.nn.Module:
    inputs, outputs = weights.shape
    linear = torch.nn.Linear(inputs, outputs, dtype=getattr(torch, cell.dtype))
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy(weights.T))
        linear.bias.copy_(torch.from_numpy(biases))
    return linear if last else torch.nn.Sequential(linear, ACTIVATIONS[cell.activation]())


class _Products(TorchDispatchMode):
    """Sees every operation that PyTorch executes, and lists the matrix products."""

    def __enter__(self) -> list[Product]:
        super().__enter__()
        self._products: list[Product] = []
        return self._products

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function.overloadpacket in (torch.ops.aten.mm, torch.ops.aten.addmm):
            self._products.append(_product(*args[-2:]))
        return function(*args, **(kwargs or {}))


@contextmanager
def _compiled_products() -> Iterator[list[Product]]:
    """Lists the matrix products that compiled code calls. A dispatch mode would make the code eager from then on."""
    from torch._inductor.select_algorithm import extern_kernels  # takes seconds, which only the compiler needs

    products: list[Product] = []

    def noting(kernel: Callable) -> Callable:
        def noted(*args: Any, **kwargs: Any) -> Any:
            products.append(_product(*args[-2:]))
            return kernel(*args, **kwargs)

        return noted

    kernels: dict[str, Any] = {name: noting(getattr(extern_kernels, name)) for name in ("mm", "addmm", "bias_addmm")}
    with patch.multiple(extern_kernels, **kernels):
        yield products


def _product(left: torch.Tensor, right: torch.Tensor) -> Product:
    left_transposed, right_transposed = (factor.stride(0) < factor.stride(1) for factor in (left, right))
    rows, inner = left.shape
    return Product(rows, inner, right.shape[1], left_transposed, right_transposed)
