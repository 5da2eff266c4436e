"""Parameters that are used several times in a step: by blocks, and by the code before and after the blocks.

Autograd adds the gradients of all uses of a parameter. The sum lives from the backward pass of the highest use to that
of the lowest one, and is the gradient of the parameter from then on.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import torch

from harness.worker.models.own_step import fresh
from networks.torch_models.blocks import Blocks
from networks.torch_models.borders import Border, BoundBlock
from networks.torch_models.conditions import parameters_of

Leaves = list[torch.Tensor]


class SharedParameters(NamedTuple):
    """The parameters that a part of a step shares with parts above it, and those that it shares with parts below it."""

    above: Leaves
    below: Leaves

    @property
    def key(self) -> tuple[Any, ...]:
        """Equal for equal blocks that share equal parameters."""
        return tuple(tuple((tuple(leaf.shape), leaf.dtype) for leaf in leaves) for leaves in self)


class Sharing:
    """Which parts of a step use each parameter. Part 0 is the code before the blocks, and L+1 the code after them."""

    def __init__(self, model: torch.nn.Module, parts: Sequence[Leaves]):
        used = [{id(leaf) for leaf in part} for part in parts]
        uses = [
            (parameter, [number for number, ids in enumerate(used) if id(parameter) in ids])
            for parameter in model.parameters()
        ]
        self._uses = [(parameter, numbers) for parameter, numbers in uses if len(numbers) > 1]
        self._last = len(parts) - 1

    def of(self, number: int) -> SharedParameters:
        """What a part shares. The code before the blocks is measured together with the code after them."""
        here = [(parameter, numbers) for parameter, numbers in self._uses if number in numbers]
        tops = (number,) if number else (0, self._last)
        return SharedParameters(
            above=[parameter for parameter, numbers in here if numbers[-1] not in tops],
            below=[parameter for parameter, numbers in here if number > numbers[0]],
        )

    def waiting_bytes(self, number: int) -> int:
        """Bytes of the sums that are begun and not complete before the backward pass of a part.

        Those of parameters that the code before and the code after the blocks share are measured with that code.
        """
        return gradients_bytes(
            parameter
            for parameter, (first, *_, last) in self._uses
            if first <= number < last and (first, last) != (0, self._last)
        )


def gradients_bytes(leaves: Iterable[torch.Tensor]) -> int:
    """Bytes of a gradient of each."""
    return sum(leaf.nbytes for leaf in leaves)


def parts_of(found: Blocks, inputs: tuple[Any, ...], loss: Callable[[Any], torch.Tensor]) -> list[Leaves]:
    """The leaves that each part of a step uses: the code before the blocks, each block, the code after them.

    Code beside the blocks is as code before them, because its backward pass comes after theirs.
    """
    parts: list[Leaves] = []
    numbers: list[int] = []

    def run_blocks(blocks: Sequence[BoundBlock], x: Border) -> Border:
        parts.append(parameters_of(x, since=0))
        for block in blocks:
            y = block(fresh(x))
            parts.append(parameters_of(y, since=0))
            x = y
        numbers.append(torch.autograd._get_sequence_nr())
        return fresh(x)

    value = loss(found(run_blocks, *inputs))
    after = parameters_of((value,), since=numbers[0])
    known = {id(leaf) for leaf in after}
    parts[0] += [leaf for leaf in parameters_of((value,), since=0) if id(leaf) not in known]
    return [*parts, after]
