"""Arguments and results as lists of leaves, fast where they are tensors alone: each call of a block comes by here."""

from typing import Any

import torch
from torch.utils import _pytree as pytree


def flat_arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[list[Any], Any]:
    """The leaves, and the tree that `arguments_of` needs."""
    if not kwargs and all(isinstance(argument, torch.Tensor) for argument in args):
        return list(args), None
    leaves, tree = pytree.tree_flatten((args, kwargs))
    return leaves, tree


def arguments_of(leaves: list[Any], tree: Any) -> tuple[Any, dict[str, Any]]:
    """The arguments by place and by name that a tree of these leaves is."""
    if tree is None:
        return leaves, {}
    args, kwargs = pytree.tree_unflatten(leaves, tree)
    return args, kwargs


def flat_result(result: Any) -> tuple[list[Any], Any]:
    """The leaves, and the tree that `result_of` needs."""
    leaves, tree = ([result], None) if isinstance(result, torch.Tensor) else pytree.tree_flatten(result)
    return leaves, tree


def result_of(leaves: list[Any], tree: Any) -> Any:
    """The value that a tree of these leaves is."""
    return leaves[0] if tree is None else pytree.tree_unflatten(leaves, tree)
