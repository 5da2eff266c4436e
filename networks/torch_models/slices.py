"""Blocks found in a model: its traced graph, cut where few values are live.

`torch.export` traces the model once. Each block is a graph of its own, which fetches parameters and buffers by name
from the user's model at each call. So that model stays the one that trains.
"""

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any

import torch
from torch.utils import _pytree as pytree

from networks.torch_models.borders import Crossing, RunPieces
from networks.torch_models.fingerprints import settings_of
from networks.torch_models.graph_parts import GraphParts, ModelCall, NotSlicedError
from networks.torch_models.state import has_hooks, left_as_it_was, without_hooks
from networks.wording import in_a_line, shown


class Slices:
    """A `Cutting`: the parts of a model's graph. NotSlicedError says why a model has none.

    A graph would not see that the inputs are of another shape, that a part of the model is in another mode, has another
    attribute, or has got a hook. So each of these is an error. Hooks of the model itself are not part of its forward.
    """

    def __init__(self, model: torch.nn.Module, inputs: tuple[Any, ...]):
        self._model = model
        self._settings = [(path, vars(part), settings_of(part)) for path, part in model.named_modules()]
        _check_no_hooks(model)
        leaves, self._tree = pytree.tree_flatten((inputs, {}))
        self._inputs = list(map(_described, leaves))
        exported = _exported(model, inputs)
        self._out_tree = exported.call_spec.out_spec
        parts = GraphParts(model, leaves, exported)
        self._ahead, self._data, self._blocks, self._outputs = parts.ahead, parts.data, parts.blocks, parts.outputs
        self.names = tuple(f"{number} ({block.name})" for number, block in enumerate(self._blocks))
        self.descriptions = tuple(block.description for block in self._blocks)
        self.trains = tuple(block.trains for block in self._blocks)
        self.reads = tuple(block.reads for block in self._blocks)

    def __call__(self, run_pieces: RunPieces, inputs: tuple[Any, ...]) -> Any:
        leaves, tree = pytree.tree_flatten((inputs, {}))
        self._check(leaves, tree)
        data = self._ahead.run(ModelCall(leaves, {}), ())
        call = ModelCall(leaves, dict(zip(self._data, data, strict=True)))
        first = tuple(leaf for leaf in leaves if isinstance(leaf, torch.Tensor))
        border = run_pieces([block.bound(call) for block in self._blocks], first)
        outputs = [border[leaf.index] if isinstance(leaf, Crossing) else leaf for leaf in self._outputs]
        return pytree.tree_unflatten(outputs, self._out_tree)

    def _check(self, leaves: list[Any], tree: Any) -> None:
        inputs = list(map(_described, leaves))
        if tree != self._tree or inputs != self._inputs:
            raise ValueError(f"found blocks take inputs like the sample's, {shown(self._inputs)}, got {shown(inputs)}")
        for path, attributes, settings in self._settings:
            for name, value in settings.items():
                if attributes.get(name) != value:
                    raise RuntimeError(
                        f"{f'{path}.{name}'.lstrip('.')} is {shown(attributes.get(name))} and was {shown(value)} when "
                        "the blocks were found: find them again, by planned(model, plan) or blocks_of(model, ..)"
                    )
        _check_no_hooks(self._model)


def _described(leaf: Any) -> Any:
    return (tuple(leaf.shape), leaf.dtype, leaf.device) if isinstance(leaf, torch.Tensor) else leaf


def _check_no_hooks(model: torch.nn.Module) -> None:
    for path, module in model.named_modules():
        if path and has_hooks(module):
            raise NotSlicedError(f"{path} has a hook, which a graph does not run")


def _exported(model: torch.nn.Module, inputs: tuple[Any, ...]) -> Any:
    try:
        with _silence(), left_as_it_was(model), torch.enable_grad():
            return torch.export.export(without_hooks(model), inputs, strict=False)
    except Exception as error:  # whatever the user's code or the tracer raises
        reason = str(error).strip().partition("\n")[0]
        raise NotSlicedError(in_a_line(f"torch.export cannot trace it ({type(error).__name__}: {reason})")) from None


@contextmanager
def _silence() -> Iterator[None]:
    """Keep from the terminal what the tracer prints, warns of and logs."""
    disabled = logging.root.manager.disable
    logging.disable()
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
