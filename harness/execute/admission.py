"""Admission of jobs: the memory that a job needs, and the memory that this machine has."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.execute.process import run_in_subprocess
from harness.experiment.cell import Cell
from harness.experiment.job import Job, Outcome
from harness.experiment.limits import Limits
from harness.experiment.measures import MEASURES
from harness.experiment.prediction import trace_of
from harness.sizes import format_apart

WORKER_BYTES = 112 * 2**20
"""Memory of a worker beside its networks: interpreter and libraries 56 MiB, OpenBLAS's buffer 32 MiB, memray's thread
8 MiB, and the rest to spare. 80 MiB of it become resident."""

DIGITS_BYTES = 112 * 2**20
"""Additional memory of a training: scikit-learn and the digits."""

PEER_BYTES = 512 * 2**20
PEER_FACTOR = 2.5
"""Another framework's libraries, and its step over our store-all's: scikit-learn keeps two values for each layer."""

MODEL_BYTES = 2 * 2**30
"""Memory of a user's model, a guess: only a profile can tell it."""

CONTROL_GROUPS = Path("/sys/fs/cgroup")

STEP_FACTOR = 1.05
"""A step's resident bytes under memray over its predicted peak. Measured: at most 1.01 from 1 MiB to 130 MiB."""


def needed_bytes(job: Job) -> int:
    """The resident memory that a job needs: the worker, its cells' parameters and inputs, and the largest step."""
    if MEASURES[job.measure].of_models:
        return WORKER_BYTES + MODEL_BYTES
    held = sum(sum(cell.chain.parameter_delta_bytes) + cell.batch * cell.widths[0] * 8 for cell in job.cells)
    digits = DIGITS_BYTES if job.measure == "training" else 0
    return WORKER_BYTES + digits + held + max(_step_bytes(cell) for cell in job.cells)


def run_if_it_fits(job: Job, *, limits: Limits, force: bool = False, **options: Any) -> Outcome:
    """Measure `job` by `run_in_subprocess`. A job that cannot fit is skipped, unless with `force`."""
    predicted = job.cells and not MEASURES[job.measure].of_models
    reason = _too_large(job, limits) if predicted else ""
    if reason and not force:
        return Outcome(None, reason, fault="skipped_too_large")
    outcome = run_in_subprocess(job, limits=limits, **options)
    if reason and outcome.status == "failed":  # a process without memory fails in many ways: no thread, no library
        return replace(outcome, fault="out_of_memory")
    return outcome


def _too_large(job: Job, limits: Limits) -> str:
    """A line that says why `job` cannot fit the limit or the machine. Empty if it can."""
    needed, available = needed_bytes(job), available_bytes()
    if limits.memory_limit is not None and needed > limits.memory_limit:
        needs, most = format_apart(needed, limits.memory_limit)
        bound = f"the memory limit is {most}"
    elif needed > available:
        needs, most = format_apart(needed, available)
        bound = f"this machine has {most} available"
    else:
        return ""
    return f"needs {needs} (its predicted peak and the rest of its process), but {bound}"


def _step_bytes(cell: Cell) -> int:
    if cell.peer is not None:
        return PEER_BYTES + int(PEER_FACTOR * trace_of(cell.store_all).peak_bytes)
    return int(STEP_FACTOR * trace_of(cell).peak_bytes)


def available_bytes() -> int:
    """The memory that new processes can use without swapping: the machine's, or less if a container has a limit."""
    return min([_machine_bytes(), *_container_bytes()])


def _machine_bytes() -> int:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        (available,) = (line.split()[1] for line in lines if line.startswith("MemAvailable:"))
        return int(available) * 1024
    except (OSError, ValueError):  # not Linux: the whole memory
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _container_bytes() -> list[int]:
    """What the container's limit leaves. Files that nobody has read lately count as free: the kernel drops them."""
    for limit, used, files in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file"),
    ):
        try:
            most, taken = (int((CONTROL_GROUPS / name).read_text()) for name in (limit, used))
            stat = (CONTROL_GROUPS / limit).with_name("memory.stat").read_text().splitlines()
            return [most - taken + int(dict(line.split() for line in stat)[files])]
        except (OSError, ValueError, KeyError):  # no such version of control groups, or "max"
            pass
    return []
