"""Starts a worker: a fresh process of this machine, with its own environment."""

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
    *("CUDA_VISIBLE_DEVICES", "PYTHONHOME", "PYTHONNOUSERSITE", "PYTHONDONTWRITEBYTECODE", "COVERAGE_PROCESS_CONFIG"),
)
"""The variables that a worker inherits: what it needs to start, the BLAS kernel, which GPUs there are, whether bytecode
is written, and the settings of `make coverage`. `_packages` adds the places of packages."""

LONGEST_ERROR = 1000
"""Most letters of a cell's error."""

_OUT_OF_MEMORY = ("MemoryError", "OpenBLAS error: Memory allocation still failed")
"""The beginnings of the last line of a worker that could not allocate memory."""


def run_in_subprocess(
    job: Job,
    command: Sequence[str] = WORKER,
    *,
    limits: Limits = NO_LIMITS,
    on_start: Callable[[subprocess.Popen], None] = lambda process: None,
) -> Outcome:
    """Measure `job` in a fresh process and wait for it. Any end of the process is an Outcome.

    The worker has its own session, so Ctrl-C reaches only this process. The worker dies with this process. `limits`
    hold for jobs with cells. `on_start` gets the worker's process, which another thread may kill.
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
    """The outcome of a worker that has ended by itself."""
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
    """The places of this process's packages, because a worker has another folder and no home."""
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    places = {
        "PYTHONPATH": os.pathsep.join(os.path.abspath(folder) for folder in given if folder),
        "PYTHONUSERBASE": site.getuserbase() if site.ENABLE_USER_SITE else "",
    }
    return {name: place for name, place in places.items() if place}


def one_line(words: str) -> str:
    """Text for a table and a terminal: short, without line ends and other control characters."""
    return visible(" ".join(words.split()))[:LONGEST_ERROR]


def _end(process: subprocess.Popen, folder: Path) -> None:
    """Kill a worker and all its children."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    end_processes(folder)


def _killed(number: int, log: str, *, oom_kills: int) -> Outcome:
    error = f"the worker was killed by signal {number} ({signal.strsignal(number)})"
    if number == signal.SIGKILL and oom_kills:
        # The kernel counts its out-of-memory kills, but does not say whom it killed. No other cause is known.
        return Outcome(None, f"{error} while the kernel's out-of-memory killer was at work", log, "out_of_memory")
    return Outcome(None, error, log, "killed")


def _oom_kills() -> int:
    """The kernel's number of out-of-memory kills since it started. 0 if it does not tell."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))


def _limit_memory(process: int, limit: int) -> None:
    # RLIMIT_DATA counts the memory that a process reserves for itself. RLIMIT_AS also counts mapped files and unused
    # address space. Those are 200 MiB and more, and depend on the libc.
    _, hard = resource.prlimit(process, resource.RLIMIT_DATA)
    limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.prlimit(process, resource.RLIMIT_DATA, (limit, limit))
