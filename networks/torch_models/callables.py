"""A model given as a list of callables, such as the stages of a U-shaped net."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from networks.torch_models.borders import Border, BoundPiece, Place, RunPieces, places_in
from networks.torch_models.fingerprints import described_module
from networks.wording import shown

WANTED = "a tensor or a tuple of tensors"


class Callables:
    """A `Cutting`: callables which run one after another, each on the tensors that the one before returned."""

    def __init__(self, functions: Sequence[Callable[..., Any]]):
        self._functions = list(functions)
        self.names = tuple(f"{i} ({_name(function)})" for i, function in enumerate(self._functions))
        self.descriptions = tuple(map(self._described, self._functions))
        self.trains = tuple(map(_trains, self._functions))
        self.reads = tuple(map(_reads, self._functions))

    def __call__(self, run_pieces: RunPieces, inputs: tuple[Any, ...]) -> Any:
        pieces = [BoundPiece(partial(_called, *named)) for named in zip(self.names, self._functions, strict=True)]
        border = run_pieces(pieces, _border("the sample", inputs))
        return border[0] if len(border) == 1 else border

    def _described(self, function: Callable[..., Any]) -> str:
        """Modules by their structure. Nobody can see what another callable does, so it equals itself alone."""
        if isinstance(function, torch.nn.Module):
            return described_module(function, {})
        return f"callable {next(i for i, other in enumerate(self._functions) if other is function)}"


def _called(name: str, function: Callable[..., Any], border: Border) -> Border:
    return _border(f"block {name}", function(*border))


def _border(whose: str, value: Any) -> Border:
    values = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    for other in values:
        if not isinstance(other, torch.Tensor):
            raise ValueError(f"{whose} must give {WANTED}, got {shown(other)}")
    return values


def _name(function: Callable[..., Any]) -> str:
    kind = type(function)
    return kind.__name__ if isinstance(function, torch.nn.Module) else str(getattr(function, "__name__", kind.__name__))


def _trains(function: Callable[..., Any]) -> bool:
    return not isinstance(function, torch.nn.Module) or any(p.requires_grad for p in function.parameters())


def _reads(function: Callable[..., Any]) -> tuple[Place, ...]:
    """Nobody can see what a callable reads that is no module."""
    return places_in(function) if isinstance(function, torch.nn.Module) else ()
