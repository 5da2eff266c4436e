"""What a run does, told by its operations: which these are, and what they do beside what they return."""

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from networks.torch_models.borders import Border, RunBlock
from networks.torch_models.fingerprints import described_tensor, fingerprint
from networks.torch_models.storages import storages_of

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
        self._written |= storages_of(each for each in written if isinstance(each, torch.Tensor)).keys()
        draws = torch.Tag.nondeterministic_seeded in function.tags and given.get("dropout_p") != 0
        self.random = self.random or draws
        return function(*args, **(kwargs or {}))

    def wrote(self, tensor: torch.Tensor) -> bool:
        """Whether an operation has written the storage of a tensor."""
        return not self._written.isdisjoint(storages_of([tensor]))


class Operations(TorchDispatchMode):
    """Notes each operation within this context, and the tensors that it takes and gives."""

    def __init__(self) -> None:
        super().__init__()
        self.noted: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        tensors = (each for each in tree_leaves((args, kwargs, result)) if isinstance(each, torch.Tensor))
        self.noted.append(f"{function}: {', '.join(map(described_tensor, tensors))}")
        return result


def operations_of(run: RunBlock, x: Border) -> str:
    """A short name for the operations of a run of a block, and for the tensors that autograd holds of it.

    Blocks with equal code may run other operations, because of an object that no fingerprint sees.
    """
    held: list[str] = []

    def hold(tensor: torch.Tensor) -> torch.Tensor:
        held.append(described_tensor(tensor))
        return tensor

    with Operations() as operations, torch.autograd.graph.saved_tensors_hooks(hold, lambda tensor: tensor):
        run(x)
    return fingerprint(*operations.noted, "held", *held)
