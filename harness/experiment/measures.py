"""The registry of measures: what each is called, the environment of its worker, its table, and what it may be asked.

A measure runs in a worker's process, which alone imports its function. What a worker is asked besides has no table: a
capture, others' schedules by dry run, products of matrices, the environment.
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


@dataclass(frozen=True, kw_only=True)
class Measure:
    """What a worker can be asked.

    Attributes:
        name: also that of its table, of its section in an experiment file, and of its rules.
        worker: its function of a job and the module of that in `harness/worker/`, such as `memory:measure_memory`.
        variables: those that its process fixes before numpy is imported.
        table: of its rows; None where an experiment cannot ask for it.
        job_of: a job has one cell, or every variant of a comparison group, because only what was measured side by side
            may be compared.
        counts_bytes: it may run beside others. What takes the clock runs alone: beside others it would measure them.
        of_peers: other frameworks' cells are asked it, and this project's own beside them.
        is_exact: its integers repeat to the byte, a row a cell.
        peak: the column of bytes that are compared; empty where there is none.
        seconds: the column of times that are compared, likewise.
        of_models: models of the user's are asked it, and nothing else is.
        fixed: parameters that every cell of it has, whatever the experiment says.
        allocators: those under which each cell is measured; none but the process's own where it is empty.
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
"""In the order they are measured: what repeats to the byte first, what the clock measures last."""

TABLES: Mapping[str, Table] = {measure.name: measure.table for measure in MEASURES.values() if measure.table}
"""By name, which is also the measure's, and the CSV file's without `.csv`."""

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
    return {**MEASURES[job.measure].variables, **ALLOCATORS.get(job.settings.get("allocator", ""), {})}


def table_of(name: str, content: bytes) -> Table:
    """The table that is in `content`, that of a CSV file of this name."""
    header, _, _ = content.partition(b"\n")
    return TABLES[name].mixed() if header.endswith(f",{PROVENANCE.name}".encode()) else TABLES[name]
