"""What a training step finds beside its inputs, and a profile was made under: autocast and PyTorch's threads."""

import warnings
from collections.abc import Sequence

import torch

from networks.torch_models.conditions import Autocast


def refuse_other_autocast(tensors: Sequence[torch.Tensor], expected: str | None) -> None:
    """Raise ValueError unless the autocast that is on is that of a profile."""
    found = Autocast(tuple(tensors)).described
    if found != expected:
        raise ValueError(
            f"the plan is for a training step {_under(expected)}, and this one is {_under(found)}: call profile_blocks "
            f"{_under(found)}, or train {_under(expected)}"
        )


def warn_of_other_threads(tensors: Sequence[torch.Tensor], expected: int) -> None:
    """Warn if PyTorch has other threads than in a profile, because kernels of the CPU take scratch for each thread."""
    found = torch.get_num_threads()
    if found != expected and all(tensor.device.type == "cpu" for tensor in tensors):
        warnings.warn(
            f"the plan was profiled with {expected} of PyTorch's threads, and there are {found}: their scratch memory "
            f"may pass the budget, so call torch.set_num_threads({expected}) or leave room below the budget",
            stacklevel=2,
        )


def _under(autocast: str | None) -> str:
    return "without autocast" if autocast is None else f"under autocast ({autocast})"
