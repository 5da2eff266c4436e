"""Which pieces of a chain belong together, because one changes what the one before it made."""

import weakref
from collections.abc import Sequence

import torch

from networks.torch_models.borders import Border, RunBlock
from networks.torch_models.fingerprints import described_values
from networks.torch_models.storages import storage_of

VIEW = "returns its input or a view of it"


class Merging:
    """A chain that runs each piece once, without gradients, and finds the groups of pieces that are to be one block.

    - A piece that writes over a tensor joins the pieces since that tensor was made. If it ran again, it would find the
      tensor changed.
    - A piece whose results all share the storage of its input, such as a view, joins the one before, because dropping
      its output would free nothing. The first piece joins the next.

    The first border is the caller's. `overwritten` has the positions in it that the first group writes over.
    """

    def __init__(self, names: Sequence[str]):
        self._names = names
        self._starts: list[list[tuple[weakref.ref[torch.Tensor], int]]] = []
        self.groups: list[list[int]] = []
        self.overwritten: tuple[int, ...] = ()
        self.borders: list[str] = []
        """The shapes before each piece."""
        self.notes: list[str] = []

    def __call__(self, pieces: Sequence[RunBlock], border: Border) -> Border:
        first, versions, only_views = border, [tensor._version for tensor in border], False
        for number, piece in enumerate(pieces):
            self.borders.append(described_values(border))
            if only_views:
                self.groups[0].append(number)
                self.notes.append(f"{self._names[number - 1]} {VIEW}: merged with {self._names[number]}")
            else:
                self.groups.append([number])
                self._starts.append([(weakref.ref(tensor), tensor._version) for tensor in border])
            after = piece(border)
            self._join_what_is_written(number)
            if number and self.groups[-1] == [number] and _share_storage(after, border):
                self._join()
                self._note(number, VIEW)
            border = after
            kept = [t for t, version in zip(first, versions, strict=True) if t._version == version]
            only_views = len(self.groups) == 1 and _share_storage(border, kept)
        self.overwritten = tuple(i for i, tensor in enumerate(first) if tensor._version != versions[i])
        return border

    def _join_what_is_written(self, number: int) -> None:
        groups = len(self.groups)
        while len(self.groups) > 1 and any(_is_written(*started) for started in self._starts[-1]):
            self._join()
        if len(self.groups) < groups:
            self._note(number, "writes over its input")

    def _join(self) -> None:
        self._starts.pop()
        last = self.groups.pop()
        self.groups[-1] += last

    def _note(self, number: int, what: str) -> None:
        first, before = self._names[self.groups[-1][0]], self._names[number - 1]
        others = before if first == before else f"{first} to {before}"
        self.notes.append(f"{self._names[number]} {what}: merged with {others}")


def _is_written(tensor: weakref.ref[torch.Tensor], version: int) -> bool:
    alive = tensor()
    return alive is not None and alive._version != version


def _share_storage(border: Border, other: Sequence[torch.Tensor]) -> bool:
    """Whether the tensors have no storage of their own beside those of `other`."""
    return set(map(storage_of, border)) <= set(map(storage_of, other))
