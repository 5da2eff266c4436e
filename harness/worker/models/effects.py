"""What a run does beside what it returns, told by its operations, for tensors that have no values to compare."""

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from harness.worker.models.own_step import storages

_STATISTICS = {"running_mean", "running_var"}
"""What batch-norm writes when it trains, though its operations do not say so."""


class Effects(TorchDispatchMode):
    """Sees whether operations within this context draw random numbers, and which tensors they write."""

    def __init__(self) -> None:
        super().__init__()
        self.random = False
        self._written: set[int] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        arguments = function._schema.arguments
        given = {argument.name: argument.default_value for argument in arguments}
        given |= {**dict(zip(given, args, strict=False)), **(kwargs or {})}
        names = {argument.name for argument in arguments if argument.alias_info and argument.alias_info.is_write}
        written = tree_leaves([given.get(name) for name in (names | _STATISTICS if given.get("training") else names)])
        self._written |= storages(each for each in written if isinstance(each, torch.Tensor)).keys()
        draws = torch.Tag.nondeterministic_seeded in function.tags and given.get("dropout_p") != 0
        self.random = self.random or draws
        return function(*args, **(kwargs or {}))

    def wrote(self, tensor: torch.Tensor) -> bool:
        """Whether an operation has written the storage of a tensor."""
        return not self._written.isdisjoint(storages([tensor]))
