"""How a worker is started: a fresh process of this machine, in an environment of its own."""

import json
import os
import resource
import signal
import site
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from harness.execute.answers import nonsense
from harness.execute.pipes import ANSWER_BYTES, converse
from harness.execute.scratch import end_processes, scratch
from harness.experiment.job import Job, Outcome
from harness.experiment.limits import NO_LIMITS, Limits
from harness.experiment.measures import variables
from harness.provenance import ROOT
from harness.sizes import format_bytes
from networks.wording import visible

WORKER = (sys.executable, "-m", "harness.worker")

INHERITED = (
    *("PATH", "LD_LIBRARY_PATH", "LANG", "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"),
    *("PYTHONHOME", "PYTHONNOUSERSITE", "COVERAGE_PROCESS_CONFIG"),
)
"""All that a worker sees of the caller's environment as it is: what it needs to start, the BLAS kernel of this machine,
and, while `make coverage` runs, where coverage is measured. `_packages` adds where packages are."""

LONGEST_ERROR = 1000
"""How many letters a cell's error has at most."""

_OUT_OF_MEMORY = ("MemoryError", "OpenBLAS error: Memory allocation still failed")
"""How the last words of a worker begin that could not allocate."""


def run_in_subprocess(
    job: Job,
    command: Sequence[str] = WORKER,
    *,
    limits: Limits = NO_LIMITS,
    on_start: Callable[[subprocess.Popen], None] = lambda process: None,
) -> Outcome:
    """Measure `job` in a fresh process and wait for it; whatever becomes of the process is an Outcome.

    The process has a session of its own, so that Ctrl-C reaches this one alone; it is killed with this one.
    `limits` are for jobs with cells. `on_start` is given the process, which another thread may kill.
    """
    with scratch() as folder:
        outcome = _run(job, command, folder=folder, limits=limits, on_start=on_start)
        if outcome.rows is not None:
            return outcome
        return replace(outcome, capture=b"".join(path.read_bytes() for path in folder.glob("capture-*.bin")))


def _run(
    job: Job, command: Sequence[str], *, folder: Path, limits: Limits, on_start: Callable[[subprocess.Popen], None]
) -> Outcome:
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ} | _packages()
    oom_kills = _oom_kills()
    timeout = limits.seconds(len(job.cells))
    memory_limit = limits.memory_limit if job.cells else None
    with subprocess.Popen(
        [*command, str(os.getpid())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        cwd=ROOT,
        env={**inherited, "TMPDIR": str(folder), **variables(job)},
        start_new_session=True,
    ) as process:
        end = partial(_end, process, folder)
        try:
            on_start(process)
            if memory_limit is not None:
                _limit_memory(process.pid, memory_limit)
            request = json.dumps(job.request()).encode()
            answer, printed, in_time = converse(process, request, timeout=timeout, end=end)
        except BaseException:
            end()
            raise
    log = printed.decode(errors="replace")
    if not in_time:
        return Outcome(None, f"took longer than {timeout:g} s", log, "timeout")
    if process.returncode < 0:
        return _killed(-process.returncode, log, oom_kills=_oom_kills() - oom_kills)
    outcome = _understood(job, answer, log, code=process.returncode)
    if outcome.rows is None and memory_limit is not None:
        return replace(outcome, error=f"{outcome.error} (under a memory limit of {format_bytes(memory_limit)})")
    return outcome


def _understood(job: Job, answer: bytes, log: str, *, code: int) -> Outcome:
    """What a worker says that has ended by itself."""
    if len(answer) > ANSWER_BYTES:
        return Outcome(None, f"the worker answered nonsense: more than {format_bytes(ANSWER_BYTES)}", log)
    try:
        answered = json.loads(answer)
    except (ValueError, RecursionError):
        reason = one_line(log.strip().rpartition("\n")[2])
        error = f"the worker exited with {code} without an answer: {reason}"
    else:
        if problem := nonsense(job, answered):
            return Outcome(None, f"the worker answered nonsense: {one_line(problem)}", log)
        if "rows" in answered:
            return Outcome(answered["rows"], "", log)
        error = reason = one_line(answered["error"])
    return Outcome(None, error, log, "out_of_memory" if reason.startswith(_OUT_OF_MEMORY) else "failed")


def _packages() -> dict[str, str]:
    """Where this process finds packages, so that a worker, whose folder is another and who has no home, finds them."""
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    places = {
        "PYTHONPATH": os.pathsep.join(os.path.abspath(folder) for folder in given if folder),
        "PYTHONUSERBASE": site.getuserbase() if site.ENABLE_USER_SITE else "",
    }
    return {name: place for name, place in places.items() if place}


def one_line(words: str) -> str:
    """Words for a table and a terminal: bounded, and without line ends and other control characters."""
    return visible(" ".join(words.split()))[:LONGEST_ERROR]


def _end(process: subprocess.Popen, folder: Path) -> None:
    """Kill a worker and all that it has started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    end_processes(folder)


def _killed(number: int, log: str, *, oom_kills: int) -> Outcome:
    error = f"the worker was killed by signal {number} ({signal.strsignal(number)})"
    if number == signal.SIGKILL and oom_kills:
        # The kernel tells that it has killed for want of memory, and not whom: there was no other cause in sight.
        return Outcome(None, f"{error} while the kernel's out-of-memory killer was at work", log, "out_of_memory")
    return Outcome(None, error, log, "killed")


def _oom_kills() -> int:
    """How often the kernel has killed a process for want of memory since it started; 0 where it does not tell."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))


def _limit_memory(process: int, limit: int) -> None:
    # RLIMIT_DATA counts what a process reserves for itself. RLIMIT_AS counts mapped files and address space set aside
    # as well: 200 MiB and more beside the data, different from one libc to the next.
    _, hard = resource.prlimit(process, resource.RLIMIT_DATA)
    limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.prlimit(process, resource.RLIMIT_DATA, (limit, limit))
