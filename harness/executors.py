"""How a worker is started: a fresh process of this machine, in an environment of its own."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.cell import Job
from harness.provenance import ROOT

WORKER = (sys.executable, "-m", "harness.worker")

INHERITED = ("PATH", "LD_LIBRARY_PATH", "LANG", "TMPDIR", "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
"""All that a worker sees of the caller's environment: what it needs to start, and the BLAS kernel of this machine."""

_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
_FOR_MEMORY = {
    **_ONE_THREAD,
    "PYTHONHASHSEED": "0",
    "PYTHONMALLOC": "malloc",  # otherwise arenas of 1 MiB come and go by the history of the heap
}
_FOR_TIME = {
    **_ONE_THREAD,
    "PYTHONHASHSEED": "0",
    # Freed memory stays with the process: otherwise glibc gives large buffers back and the next step faults them in
    # again, which costs up to a fifth of its products. An older glibc accepts no mmap threshold above 32 MiB.
    "MALLOC_MMAP_THRESHOLD_": str(4 * 2**30),
    "MALLOC_TRIM_THRESHOLD_": str(4 * 2**30),
}
SETTINGS: Mapping[str, Mapping[str, str]] = {
    "memory": _FOR_MEMORY,
    "timeline": _FOR_MEMORY,
    "time": _FOR_TIME,
    "training": _FOR_TIME,
    "products": _FOR_TIME,
    "environment": _FOR_TIME,
}
"""The variables that each measure fixes before numpy is imported."""


@dataclass(frozen=True)
class Outcome:
    """What came of a job: rows for each of its cells, or the reason why there are none.

    `log` is what the worker printed.
    """

    rows: list[list[dict[str, Any]]] | None
    error: str = ""
    log: str = ""


def run_in_subprocess(
    job: Job,
    command: Sequence[str] = WORKER,
    *,
    on_start: Callable[[subprocess.Popen], None] = lambda process: None,
) -> Outcome:
    """Measure `job` in a fresh process and wait for it; whatever becomes of the process is an Outcome.

    The process has a session of its own, so that Ctrl-C reaches this one alone; it is killed with this one.
    `on_start` is given the process, which another thread may kill.
    """
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env={**inherited, **SETTINGS[job.measure]},
        start_new_session=True,
    ) as process:
        try:
            on_start(process)
            answer, printed = process.communicate(json.dumps(job.request()).encode())
        except BaseException:
            process.kill()
            raise
    log = printed.decode(errors="replace")
    if process.returncode < 0:
        number = -process.returncode
        return Outcome(None, f"the worker was killed by signal {number} ({signal.strsignal(number)})", log)
    try:
        answered = json.loads(answer)
        return Outcome(None, answered["error"], log) if "error" in answered else Outcome(answered["rows"], "", log)
    except (ValueError, TypeError, KeyError):
        last_line = log.strip().rpartition("\n")[2]
        return Outcome(None, f"the worker exited with {process.returncode} without an answer: {last_line}", log)
