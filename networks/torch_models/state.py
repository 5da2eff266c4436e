"""What a model and the generators of random numbers hold, kept while a model is tried out."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils import _pytree as pytree


@dataclass(frozen=True)
class Generators:
    """The states of the global generators: PyTorch's on every device in use, Python's and NumPy's."""

    cpu: torch.Tensor
    cuda: tuple[torch.Tensor, ...]
    python: Any
    numpy: Any

    @classmethod
    def now(cls) -> "Generators":
        """The states as they are now."""
        cuda = tuple(torch.cuda.get_rng_state_all()) if torch.cuda.is_initialized() else ()
        numpy = np.random.get_state()  # noqa: NPY002 - a model may draw from it
        return cls(torch.get_rng_state(), cuda, random.getstate(), numpy)

    def restore(self) -> None:
        """Set every generator back."""
        torch.set_rng_state(self.cpu)
        if self.cuda:
            torch.cuda.set_rng_state_all(list(self.cuda))
        random.setstate(self.python)
        np.random.set_state(self.numpy)  # noqa: NPY002

    @property
    def of_torch(self) -> tuple[torch.Tensor, ...]:
        return (self.cpu, *self.cuda)

    @property
    def of_others(self) -> str:
        return repr((self.python, self.numpy[1].tobytes(), self.numpy[2:]))


class ModelState:
    """What a model's modules hold: values of buffers, attributes, gradients; with `parameters` their values, too.

    An attribute that is changed in place, such as a list, is not covered.
    """

    def __init__(self, model: torch.nn.Module, *, parameters: bool):
        modules = list(model.modules())
        self._attributes = [(module.__dict__, dict(module.__dict__)) for module in modules]
        self._buffers = [(module._buffers, dict(module._buffers)) for module in modules]
        held = [*model.buffers(), *(model.parameters() if parameters else ())]
        self._values = [(tensor, tensor.detach().clone()) for tensor in held]
        self._gradients = [(parameter, parameter.grad) for parameter in model.parameters()]

    def changed_attribute(self) -> str:
        """The name of an attribute that is another object now; empty where there is none."""
        changed = (
            str(name)
            for attributes, before in self._attributes
            for name in attributes.keys() | before.keys()
            if attributes.get(name) is not before.get(name)
        )
        return next(changed, "")

    def restore(self) -> None:
        """Set everything back that is covered."""
        for attributes, before in (*self._attributes, *self._buffers):
            attributes.clear()
            attributes.update(before)
        with torch.no_grad():
            for tensor, before in self._values:
                if not same_bits(tensor, before):
                    tensor.copy_(before)
        for parameter, gradient in self._gradients:
            parameter.grad = gradient


@contextmanager
def left_as_it_was(model: torch.nn.Module, *, parameters: bool = False) -> Iterator[None]:
    """Restore the model and the global generators when the `with` block ends."""
    generators, state = Generators.now(), ModelState(model, parameters=parameters)
    try:
        yield
    finally:
        state.restore()
        generators.restore()


def same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether shape, dtype and every bit are equal; NaN equals itself. A tensor of the meta device has no bits."""
    if one.shape != other.shape or one.dtype != other.dtype or one.layout != other.layout:
        return False
    if one.is_meta or other.is_meta:
        return bool(one.is_meta and other.is_meta)
    one, other = one.detach(), other.detach()
    if one.layout != torch.strided:
        one, other = one.to_dense(), other.to_dense()
    return bool(torch.equal(*(tensor.contiguous().reshape(-1).view(torch.uint8) for tensor in (one, other))))


def copied(inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Copies of a model's inputs for a trial, which may write over them."""
    copies: tuple[Any, ...] = pytree.tree_map_only(
        torch.Tensor, lambda x: x.detach().clone().requires_grad_(x.requires_grad), inputs
    )
    return copies


def tensors_of(tree: Any) -> list[torch.Tensor]:
    """The tensors in nested tuples, lists and dicts."""
    return [leaf for leaf in pytree.tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def are_close(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    """Whether the tensors are equal within the tolerance that is usual for their dtypes."""
    try:
        torch.testing.assert_close(one, other, equal_nan=True)
    except AssertionError:
        return False
    return True


def has_hooks(module: torch.nn.Module) -> bool:
    """Whether a hook watches this module's calls or gradients."""
    kinds = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    return any(kinds)


def without_hooks(module: torch.nn.Module) -> torch.nn.Module:
    """The module with the same parameters, buffers and submodules, and no hooks of its own."""
    bare = object.__new__(type(module))
    none = {name: value for name, value in vars(torch.nn.Module()).items() if "hook" in name}
    vars(bare).update(vars(module) | none)
    return bare
