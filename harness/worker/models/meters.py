"""Counts the bytes of a step of a PyTorch model: by memray on the CPU, by PyTorch's own allocator on a GPU.

Both count requested bytes, not reserved bytes, from the start of the step. Bytes from before are not counted.
On the meta device nothing is requested, and the bytes that tensors would take are counted.
"""

import weakref
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Protocol

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from harness.worker import probes
from harness.worker.steps.base import WARM_UP_STEPS

Mark = Callable[[str], None]


class Phase(NamedTuple):
    """A part of a step: the live bytes at its end, and the most live bytes in it."""

    name: str
    live_bytes: int
    peak_bytes: int


class Meter(Protocol):
    """Counts the bytes of steps on one kind of device. It runs a step several times."""

    def phases(self, step: Callable[[Mark], None]) -> list[Phase]:
        """The phases of a step. The step ends each phase by a mark with the phase's name."""

    def peaks(self, step: Callable[[], object]) -> dict[str, int]:
        """The peaks of a step: `peak_bytes` are requested bytes that are live at once. Others are as named."""


class CpuMeter:
    """Counts by memray, which sees every allocation of this process."""

    def phases(self, step: Callable[[Mark], None]) -> list[Phase]:
        """See `Meter`."""
        names: list[str] = []
        step(names.append)
        marks = probes.Marks()

        def leave(name: str) -> None:
            probes.empty_free_lists()
            marks.leave()

        _, stretches = probes.memory_at_marks(partial(step, leave), marks, len(names))
        return [Phase(name, *stretch) for name, stretch in zip(names, stretches, strict=True)]

    def peaks(self, step: Callable[[], object]) -> dict[str, int]:
        """See `Meter`."""
        return {"peak_bytes": probes.peak_memory(step)["memray_peak_bytes"]}


class CudaMeter:
    """Counts by the statistics of PyTorch's allocator. Graphs and other objects of the host are not in them."""

    def phases(self, step: Callable[[Mark], None]) -> list[Phase]:
        """See `Meter`."""
        for _ in range(WARM_UP_STEPS):
            step(lambda name: None)
        found: list[Phase] = []
        start = self._begin()

        def mark(name: str) -> None:
            live, peak = self._counted()
            found.append(Phase(name, live - start, peak - start))
            torch.cuda.reset_peak_memory_stats()

        step(mark)
        return found

    def peaks(self, step: Callable[[], object]) -> dict[str, int]:
        """See `Meter`. Allocated bytes are rounded up. Reserved bytes are those that the GPU gives this process."""
        start = self._begin()
        step()
        return {
            "peak_bytes": self._counted()[1] - start,
            "allocated_peak_bytes": torch.cuda.max_memory_allocated(),
            "reserved_peak_bytes": torch.cuda.max_memory_reserved(),
        }

    def _begin(self) -> int:
        with probes.quiet_heap():
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        return self._counted()[0]

    @staticmethod
    def _counted() -> tuple[int, int]:
        torch.cuda.synchronize()
        statistics = torch.cuda.memory_stats()
        return statistics["requested_bytes.all.current"], statistics["requested_bytes.all.peak"]


class TensorMeter:
    """Counts the storages of tensors, each from the operation that makes it to its end. Scratch of kernels is not seen.

    It serves on every device, the meta device among them.
    """

    def phases(self, step: Callable[[Mark], None]) -> list[Phase]:
        """See `Meter`."""
        found: list[Phase] = []
        with _LiveStorages() as storages:

            def mark(name: str) -> None:
                found.append(Phase(name, storages.live_bytes, storages.peak_bytes))
                storages.peak_bytes = storages.live_bytes

            step(mark)
        return found

    def peaks(self, step: Callable[[], object]) -> dict[str, int]:
        """See `Meter`."""
        with _LiveStorages() as storages:
            step()
        return {"peak_bytes": storages.peak_bytes}


class _LiveStorages(TorchDispatchMode):
    """Follows the storages that operations make."""

    def __init__(self) -> None:
        super().__init__()
        self.live_bytes = self.peak_bytes = 0
        self._seen: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {storage._cdata for storage in _storages((args, kwargs))}
        results = function(*args, **(kwargs or {}))
        for storage in _storages(results):
            if storage._cdata not in given and storage not in self._seen:
                self._seen.add(storage)
                self._change(storage.nbytes())
                weakref.finalize(storage, self._change, -storage.nbytes())
        return results

    def _change(self, nbytes: int) -> None:
        self.live_bytes += nbytes
        self.peak_bytes = max(self.peak_bytes, self.live_bytes)


def _storages(tree: Any) -> list[Any]:
    return [leaf.untyped_storage() for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


_METERS: dict[str, type[Meter]] = {"cpu": CpuMeter, "cuda": CudaMeter, "meta": TensorMeter}


def meter_of(device: str) -> Meter:
    """The meter of a device: "cpu", "cuda" or "meta"."""
    return _METERS[torch.device(device).type]()
