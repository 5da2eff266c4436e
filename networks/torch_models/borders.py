"""What a model is once it is cut: blocks, and the borders between them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch

Border = tuple[torch.Tensor, ...]
"""The tensors that cross from one block to the next."""

RunBlock = Callable[[Border], Border]
"""Runs a block, or a piece of one."""


@dataclass(frozen=True)
class Crossing:
    """Stands for the tensor number `index` of a border."""

    index: int


class Place(NamedTuple):
    """Where a module has a parameter or a buffer: at `held[name]`. `path` is what messages call it."""

    path: str
    held: dict[str, Any]
    name: str


def places_in(module: torch.nn.Module) -> tuple[Place, ...]:
    """Those of all parameters and buffers of a module and of the modules in it."""
    return tuple(
        Place(f"{path}.{name}" if path else name, held, name)
        for path, part in module.named_modules()
        for held in (part._parameters, part._buffers)
        for name, tensor in held.items()
        if tensor is not None
    )


@dataclass(frozen=True)
class BoundPiece:
    """A piece of the model, for one call. `given` are the tensors that this call gives it beside the border."""

    run: RunBlock
    given: tuple[torch.Tensor, ...] = ()

    def __call__(self, border: Border) -> Border:
        return self.run(border)


@dataclass(frozen=True)
class BoundBlock:
    """Maps the border before it to the border after it, for one call of the model.

    It holds what else this call gave it, such as a mask, so it can be run again until the backward pass ends.
    """

    name: str
    fingerprint: str
    """Equal for blocks that run the same code on tensors of the same shapes."""
    run: RunBlock
    given: tuple[torch.Tensor, ...]
    """The tensors that this call gave it."""

    def __call__(self, border: Border) -> Border:
        return self.run(border)


RunBlocks = Callable[[Sequence[BoundBlock], Border], Border]
"""Runs the blocks from the first border and returns the last. It may drop what it likes and run blocks again later."""

RunPieces = Callable[[Sequence[BoundPiece], Border], Border]
"""Runs the pieces from the first border and returns the last."""


def in_order(blocks: Sequence[RunBlock], border: Border) -> Border:
    """Run each block once, in order."""
    for block in blocks:
        border = block(border)
    return border


class Cutting(Protocol):
    """A way to cut a model. The pieces are not merged yet."""

    names: tuple[str, ...]
    descriptions: tuple[str, ...]
    """The code and the parameter shapes of each piece. Pieces whose descriptions are equal do the same."""
    trains: tuple[bool, ...]
    """Whether each piece has parameters that need a gradient."""
    reads: tuple[tuple[Place, ...], ...]
    """The parameters and buffers that each piece may read, as far as is known."""

    def __call__(self, run_pieces: RunPieces, inputs: tuple[Any, ...]) -> Any:
        """Run the model with `run_pieces` in place of its pieces, and return the model's output."""
