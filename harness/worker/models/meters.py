"""What counts the bytes of a step of a PyTorch model: memray on the CPU, PyTorch's own allocator on a GPU.

Both count what is requested and not what is reserved, from the start of the step: what was there before is not counted.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, Protocol

import torch

from harness.worker import probes

Mark = Callable[[str], None]


class Phase(NamedTuple):
    """A part of a step: bytes live at its end, and at most in it."""

    name: str
    live_bytes: int
    peak_bytes: int


class Meter(Protocol):
    """Counts the bytes of steps on one kind of device. A step is run several times."""

    def phases(self, step: Callable[[Mark], None]) -> list[Phase]:
        """The phases of a step, each ended by a mark that the step leaves with the phase's name."""

    def peaks(self, step: Callable[[], object]) -> dict[str, int]:
        """The most bytes in a step: `peak_bytes` are those that are requested and live at once, others as named."""


class CpuMeter:
    """Counts by memray, which sees every allocation of this process."""

    def phases(self, step: Callable[[Mark], None]) -> list[Phase]:
        """See `Meter`."""
        names: list[str] = []
        step(names.append)
        marks = probes.Marks()

        def leave(name: str) -> None:
            marks.leave()

        _, stretches = probes.memory_at_marks(partial(step, leave), marks, len(names))
        return [Phase(name, *stretch) for name, stretch in zip(names, stretches, strict=True)]

    def peaks(self, step: Callable[[], object]) -> dict[str, int]:
        """See `Meter`."""
        return {"peak_bytes": probes.peak_memory(step)["memray_peak_bytes"]}


class CudaMeter:
    """Counts by the statistics of PyTorch's allocator. Graphs and other objects of the host are not in them."""

    _WARM_UP_STEPS = 2

    def phases(self, step: Callable[[Mark], None]) -> list[Phase]:
        """See `Meter`."""
        for _ in range(self._WARM_UP_STEPS):
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
        """See `Meter`. What is allocated is rounded up, and what is reserved is the GPU's, for this process."""
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


def meter_of(device: str) -> Meter:
    """The meter of a device: "cpu" or "cuda"."""
    return CudaMeter() if torch.device(device).type == "cuda" else CpuMeter()
