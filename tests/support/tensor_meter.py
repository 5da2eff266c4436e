"""A meter for tests that counts the bytes of tensors and nothing else, as the allocator of a GPU does."""

import weakref

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from harness.worker.models.meters import Phase


class TensorMeter:
    """Counts storages from the operation that makes one to its end."""

    def __init__(self):
        self._live = self._peak = 0

    def phases(self, step):
        found = []

        def mark(name):
            found.append(Phase(name, self._live, self._peak))
            self._peak = self._live

        self._count(lambda: step(mark))
        return found

    def peaks(self, step):
        return {"peak_bytes": self._count(step)}

    def _count(self, step):
        self._live = self._peak = 0
        with _Counting(self._change):
            step()
        return self._peak

    def _change(self, nbytes):
        self._live += nbytes
        self._peak = max(self._peak, self._live)


class _Counting(TorchDispatchMode):
    def __init__(self, change):
        super().__init__()
        self._change = change
        self._seen = weakref.WeakSet()
        self._counting = True

    def __exit__(self, *raised):
        self._counting = False
        return super().__exit__(*raised)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        known = {tensor.untyped_storage()._cdata for tensor in tree_leaves((args, kwargs)) if _is_tensor(tensor)}
        results = function(*args, **(kwargs or {}))
        for tensor in filter(_is_tensor, tree_leaves(results)):
            storage = tensor.untyped_storage()
            if storage._cdata not in known and storage not in self._seen:
                self._seen.add(storage)
                self._change(storage.nbytes())
                weakref.finalize(storage, self._gone, storage.nbytes())
        return results

    def _gone(self, nbytes):
        if self._counting:
            self._change(-nbytes)


def _is_tensor(value):
    return isinstance(value, torch.Tensor)
