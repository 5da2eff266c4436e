"""Room in memory: what a job takes of this machine, and what there is."""

import os
from pathlib import Path

from harness.cell import Job
from harness.rows import predict

WORKER_BYTES = 96 * 2**20
"""A worker before its first network: interpreter and numpy, memray (46 MiB resident), OpenBLAS's buffer (32 MiB)."""

STEP_FACTOR = 1.05
"""A step's resident bytes under memray against its predicted peak: at most 1.01 from 1 MiB to 130 MiB."""


def needed_bytes(job: Job) -> int:
    """The resident memory a job takes: the worker, its cells' parameters and inputs, and the largest step."""
    held = sum(sum(cell.chain.parameter_delta_bytes) + cell.batch * cell.widths[0] * 8 for cell in job.cells)
    return WORKER_BYTES + held + int(STEP_FACTOR * max(predict(cell).peak_bytes for cell in job.cells))


def available_bytes() -> int:
    """The memory that new processes can take without swapping: the machine's, or less where a container bounds it."""
    return min([_machine_bytes(), *_container_bytes()])


def _machine_bytes() -> int:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        (available,) = (line.split()[1] for line in lines if line.startswith("MemAvailable:"))
        return int(available) * 1024
    except (OSError, ValueError):  # not Linux: all of it
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _container_bytes() -> list[int]:
    folder = Path("/sys/fs/cgroup")
    for limit, used in (
        (folder / "memory.max", folder / "memory.current"),
        (folder / "memory/memory.limit_in_bytes", folder / "memory/memory.usage_in_bytes"),
    ):
        try:
            return [int(limit.read_text()) - int(used.read_text())]
        except (OSError, ValueError):  # no such version of control groups, or "max"
            pass
    return []
