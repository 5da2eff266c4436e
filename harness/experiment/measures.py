"""Every measure: what it is called, the environment of its worker, and what it may be asked."""

from collections.abc import Mapping
from typing import Literal, get_args

from harness.experiment.job import Job

Measure = Literal["memory", "timeline", "peers_memory", "resident", "time", "peers_time", "training"]
MEASURES: tuple[str, ...] = get_args(Measure)
"""In the order they are measured: what repeats to the byte first, what the clock measures last."""

PEER_MEASURES = ("peers_memory", "resident", "peers_time")
"""What other frameworks' cells are asked; this project's own are asked it beside them."""

_ONE_THREAD = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NPROC": "1",  # how many threads XLA makes
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
}
_FOR_MEMORY = {
    **_ONE_THREAD,
    "PYTHONHASHSEED": "0",
    "PYTHONMALLOC": "malloc",  # otherwise arenas of 1 MiB come and go by the history of the heap
}
_FOR_TIME = {
    **_ONE_THREAD,
    "PYTHONHASHSEED": "0",
    # Freed memory stays with the process, but for buffers that are mappings of their own: otherwise glibc gives large
    # buffers back and the next step faults them in again, which costs up to a fifth of its products. An older glibc
    # accepts no mmap threshold above 32 MiB.
    "MALLOC_MMAP_THRESHOLD_": str(4 * 2**30),
    "MALLOC_TRIM_THRESHOLD_": str(4 * 2**30),
}
SETTINGS: Mapping[str, Mapping[str, str]] = {
    "memory": _FOR_MEMORY,
    "timeline": _FOR_MEMORY,
    "peers_memory": _FOR_MEMORY,
    "resident": {**_ONE_THREAD, "PYTHONHASHSEED": "0"},
    "capture": _FOR_MEMORY,
    "time": _FOR_TIME,
    "peers_time": _FOR_TIME,
    "training": _FOR_TIME,
    "products": _FOR_TIME,
    "environment": _FOR_TIME,
}
"""The variables that each measure fixes before numpy is imported."""

ALLOCATORS: Mapping[str, Mapping[str, str]] = {
    "glibc": {},
    "glibc_fixed_threshold": {"MALLOC_MMAP_THRESHOLD_": str(128 * 2**10)},
}
"""The variables of each allocator under which resident memory is taken, beside those of the measure.

glibc raises its threshold, from 128 KiB to at most 32 MiB, each time a larger block is freed: blocks below it come from
a heap, whose holes stay resident. A fixed threshold leaves every large block a mapping of its own, gone when it is
freed.
"""


def variables(job: Job) -> dict[str, str]:
    """The variables that a worker's process has for `job`."""
    return {**SETTINGS[job.measure], **ALLOCATORS.get(job.settings.get("allocator"), {})}


BESIDE_OTHERS = frozenset({"memory", "timeline", "peers_memory", "resident"})
"""The measures that count bytes. What the clock measures runs alone: beside others it would measure them as well."""
