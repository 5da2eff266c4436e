"""The registry of measures: their names, their workers' environments and their tables.

A measure runs in a worker's process. Only that process imports its function. Some measures have no table: a capture, a
check of others' schedules, matrix products, the environment.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from harness.experiment import tables
from harness.experiment.columns import PROVENANCE, Table
from harness.experiment.job import Job

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
    "PYTHONMALLOC": "malloc",  # pymalloc makes and frees arenas of 1 MiB, depending on the history of the heap
}
_FOR_TIME = {
    **_ONE_THREAD,
    "PYTHONHASHSEED": "0",
    # Freed memory stays with the process. Otherwise glibc gives large buffers back, and the next step pays for page
    # faults: up to a fifth of the time of its products. An older glibc accepts no mmap threshold above 32 MiB.
    "MALLOC_MMAP_THRESHOLD_": str(4 * 2**30),
    "MALLOC_TRIM_THRESHOLD_": str(4 * 2**30),
}


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A measure.

    Attributes:
        name: its name, and the name of its table, its rules and its section in an experiment file.
        worker: the module in `harness/worker/` and the function that takes a job, such as `memory:measure_memory`.
        variables: environment variables of its process. They are set before numpy is imported.
        table: the table of its rows. None if an experiment cannot ask for it.
        job_of: a job has one cell, or every variant of a comparison group. Times need the group, because they can be
            compared only if they were measured side by side.
        counts_bytes: whether it may run beside other jobs. A measure of time runs alone, because others slow it down.
        of_peers: whether it measures cells of other frameworks, and our own beside them.
        is_exact: whether its integers repeat to the byte. Such a table has one row for each cell.
        peak: the column of bytes that `compare` reads. Empty if there is none.
        seconds: the column of times that `compare` reads. Empty if there is none.
        of_models: whether it measures users' models, and nothing else.
        fixed: parameters that every cell of it has, whatever the experiment says.
        allocators: the allocators that each cell is measured with. If empty, it is the process's own.
    """

    name: str
    worker: str
    variables: Mapping[str, str]
    table: Table | None = None
    job_of: Literal["cell", "group"] = "cell"
    counts_bytes: bool = False
    of_peers: bool = False
    is_exact: bool = False
    peak: str = ""
    seconds: str = ""
    of_models: bool = False
    fixed: Mapping[str, str] = field(default_factory=dict)
    allocators: tuple[str, ...] = ()


MEASURES: Mapping[str, Measure] = {
    measure.name: measure
    for measure in (
        Measure(
            name="memory",
            worker="memory:measure_memory",
            variables=_FOR_MEMORY,
            table=tables.MEMORY,
            counts_bytes=True,
            is_exact=True,
            peak="memray_peak_bytes",
        ),
        Measure(
            name="timeline",
            worker="memory:measure_timeline",
            variables=_FOR_MEMORY,
            table=tables.TIMELINE,
            counts_bytes=True,
        ),
        Measure(
            name="peers_memory",
            worker="memory:measure_peers_memory",
            variables=_FOR_MEMORY,
            table=tables.PEERS_MEMORY,
            counts_bytes=True,
            of_peers=True,
            is_exact=True,
            peak="memray_peak_bytes",
        ),
        Measure(
            name="resident",
            worker="memory:measure_resident",
            variables={**_ONE_THREAD, "PYTHONHASHSEED": "0"},
            table=tables.RESIDENT,
            counts_bytes=True,
            of_peers=True,
            allocators=tables.ALLOCATORS,
        ),
        Measure(
            name="time",
            worker="time:measure_time",
            variables=_FOR_TIME,
            table=tables.TIME,
            job_of="group",
            seconds="step_seconds",
        ),
        Measure(
            name="peers_time",
            worker="time:measure_peers_time",
            variables=_FOR_TIME,
            table=tables.PEERS_TIME,
            of_peers=True,
            seconds="step_seconds",
        ),
        Measure(
            name="training",
            worker="training:measure_training",
            variables=_FOR_TIME,
            table=tables.TRAINING,
            job_of="group",
            seconds="epoch_seconds",
            fixed={"step": "train_step"},
        ),
        Measure(
            name="models_memory",
            worker="models.grid:measure_memory",
            variables=_FOR_MEMORY,
            table=tables.MODELS_MEMORY,
            job_of="group",
            counts_bytes=True,
            of_models=True,
            peak="peak_bytes",
        ),
        Measure(
            name="models_time",
            worker="models.grid:measure_time",
            variables=_FOR_TIME,
            table=tables.MODELS_TIME,
            job_of="group",
            of_models=True,
            seconds="step_seconds",
            fixed={"gradients": "kept"},
        ),
        Measure(name="capture", worker="memory:capture", variables=_FOR_MEMORY, counts_bytes=True),
        Measure(name="check", worker="check:check_schedules", variables=_FOR_MEMORY, counts_bytes=True),
        Measure(name="products", worker="time:measure_products", variables=_FOR_TIME),
        Measure(name="profile", worker="models.measures:profile", variables=_FOR_MEMORY, counts_bytes=True),
        Measure(name="model_peak", worker="models.measures:peak", variables=_FOR_MEMORY, counts_bytes=True),
        Measure(name="model_seconds", worker="models.measures:seconds", variables=_FOR_TIME),
        Measure(name="environment", worker="environment:describe_environment", variables=_FOR_TIME),
    )
}
"""All measures by name, in the order of a run: exact ones first, times last."""

TABLES: Mapping[str, Table] = {measure.name: measure.table for measure in MEASURES.values() if measure.table}
"""The tables of measures by name. The CSV file has the same name."""

ALLOCATORS: Mapping[str, Mapping[str, str]] = {
    "glibc": {},
    "glibc_fixed_threshold": {"MALLOC_MMAP_THRESHOLD_": str(128 * 2**10)},
}
"""The variables of each allocator that resident memory is measured with, beside those of the measure.

glibc raises its mmap threshold, from 128 KiB to at most 32 MiB, each time a larger block is freed. Smaller blocks come
from a heap, and its holes stay resident. With a fixed threshold every large block uses mmap, and returns to the system
when it is freed.
"""


def variables(job: Job) -> dict[str, str]:
    """The environment variables of a worker's process for `job`."""
    return {**MEASURES[job.measure].variables, **ALLOCATORS.get(job.settings.get("allocator", ""), {})}


def table_of(name: str, content: bytes) -> Table:
    """The table of a CSV file of this name. Its header tells whether rows have a provenance."""
    header, _, _ = content.partition(b"\n")
    return TABLES[name].mixed() if header.endswith(f",{PROVENANCE.name}".encode()) else TABLES[name]
