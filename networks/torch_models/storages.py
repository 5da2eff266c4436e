"""The memory of tensors: their storages, each with an identity while it is alive."""

from collections.abc import Iterable

import torch


def storage_of(tensor: torch.Tensor) -> int:
    """The identity of a tensor's storage. Tensors that share memory have the same one. It is no address."""
    return int(tensor.untyped_storage()._cdata)


def storages_of(tensors: Iterable[torch.Tensor]) -> dict[int, int]:
    """Bytes of each storage of these tensors, by its identity."""
    return {storage_of(tensor): tensor.untyped_storage().nbytes() for tensor in tensors}


def storage_bytes(tensors: Iterable[torch.Tensor]) -> int:
    """Bytes of the storages of these tensors, each counted once."""
    return sum(storages_of(tensors).values())
