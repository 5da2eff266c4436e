"""Jobs on the workers of a Dask scheduler: on each node, the same fresh processes as here.

A Dask worker needs the same checkout and packages, and starts a process for each job. A job is lost by no fault of the
cluster: those of a lost worker go to another, and those of a lost scheduler to the one that takes its place.
"""

import fcntl
import logging
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from distributed import Client, KilledWorker, LocalCluster, as_completed, get_worker
from distributed.client import CancelledError
from distributed.comm import get_address_host_port

from harness import provenance
from harness.cell import Job, digest
from harness.executors import SETTINGS, Outcome, run_in_subprocess
from harness.pool import BESIDE_OTHERS
from harness.room import available_bytes, needed_bytes
from harness.runner import RunAbortedError

Measure = Callable[[Job], Outcome]

LOCAL = "local:"

FIRST_PATIENCE, PATIENCE = "10s", "10m"
"""How long a scheduler is waited for: at first, where the address may be wrong, and after it was lost."""


@contextmanager
def connected(
    address: str, *, run: Measure = run_in_subprocess, frameworks: Iterable[str] = (), say: Callable[[str], None]
) -> Iterator["Cluster"]:
    """The cluster at `address`, such as `tcp://10.0.0.1:8786`; `local:4` starts one of four workers in this process.

    `run` measures a job on a node, `frameworks` are those whose versions matter there, and `say` is given what a person
    should know while nothing comes.

    Raises:
        ValueError: where `local:` is followed by no number of workers.
    """
    for name in ("distributed", "distributed.client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what matters of it is said here, in a line
    if not address.startswith(LOCAL):
        try:
            get_address_host_port(address)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"--dask must be an address like tcp://10.0.0.1:8786, or local:4, got {address!r}: {error}"
            ) from None
        yield Cluster(address, run=run, frameworks=tuple(frameworks), say=say)
        return
    workers = address.removeprefix(LOCAL)
    if not workers.isdecimal() or int(workers) < 1:
        raise ValueError(f"--dask {LOCAL}N needs a number of workers of at least 1, got {address!r}")
    with LocalCluster(n_workers=int(workers), threads_per_worker=1, processes=False, dashboard_address=":0") as cluster:
        yield Cluster(cluster.scheduler_address, run=run, frameworks=tuple(frameworks), say=say)


MACHINE_LOCK = Path(tempfile.gettempdir()) / f"checkpointing-lab-{os.getuid()}.lock"


class Cluster:
    """Executes jobs on the workers of the scheduler at `address`, one at a time on each of their threads.

    Each outcome tells the place where it was measured. Raises RunAbortedError while executing, where there is no such
    scheduler, or where a worker has other code than this checkout.
    """

    def __init__(self, address: str, *, run: Measure, frameworks: tuple[str, ...], say: Callable[[str], None]):
        self._address = address
        self._run = run
        self._frameworks = frameworks
        self._say = say

    def __call__(self, jobs: Mapping[str, Job]) -> Iterator[tuple[str, Outcome]]:
        """Yield each job's name and outcome as it comes back. Closed early, it forgets the rest."""
        left = dict(jobs)
        patience = FIRST_PATIENCE
        while left:
            with self._client(patience) as client:
                try:
                    for name, outcome in self._submit(client, left):
                        del left[name]
                        yield name, outcome
                except (CancelledError, OSError):
                    self._say(f"{self._address}: the scheduler is lost; waiting for it to come back")
            patience = PATIENCE

    def _client(self, patience: str) -> Client:
        try:
            return Client(self._address, timeout=patience, set_as_default=False)
        except OSError as error:
            raise RunAbortedError(f"{self._address}: no Dask scheduler answers: {error}") from None

    def _submit(self, client: Client, jobs: Mapping[str, Job]) -> Iterator[tuple[str, Outcome]]:
        """Submit `jobs` and yield what comes back; raises CancelledError or OSError where the scheduler is lost."""
        if not client.nthreads():
            self._say(f"{self._address}: no worker has joined yet; waiting")
        requests = [job.request() for job in jobs.values()]
        options = {"run": self._run, "code": code_id(), "frameworks": self._frameworks}
        futures = client.map(measure_here, requests, **options, key="job", pure=False)
        names = dict(zip(futures, jobs, strict=True))
        for future in as_completed(futures, loop=client.loop):
            failed = future.status == "error"
            yield names.pop(future), _failure(future.exception()) if failed else future.result()
            future.release()


def _failure(error: BaseException) -> Outcome:
    """What becomes of a job whose Dask task has failed; raises RunAbortedError where no other would fare better."""
    if isinstance(error, KilledWorker):
        return Outcome(None, f"{error.allowed_failures + 1} Dask workers were lost while they measured it")
    if isinstance(error, RunAbortedError):
        raise error
    raise RunAbortedError(f"a Dask worker cannot measure: {type(error).__name__}: {error}")


def measure_here(request: Mapping[str, Any], *, run: Measure, code: str, frameworks: tuple[str, ...]) -> Outcome:
    """Run on a Dask worker: measure a job there, and tell what place it is.

    Raises RunAbortedError where the worker's code is not `code`.
    """
    if code_id() != code:
        raise RunAbortedError(
            f"{get_worker().address}: has other code than the checkout that submits; "
            "start it in a checkout of the same commit, or stop it"
        )
    job = Job.from_request(request)
    with _at_work(alone=not _has_room_beside_others(job)):
        return replace(run(job), place=this_place(frameworks))


def _has_room_beside_others(job: Job) -> bool:
    """Whether `job` counts bytes and needs no more than its share of this machine, a processor's part of its memory.

    Nobody on a node knows all that runs there, so the shares are equal: what needs more waits until it is alone.
    """
    return job.measure in BESIDE_OTHERS and needed_bytes(job) * (os.cpu_count() or 1) <= available_bytes()


def code_id() -> str:
    """A name for all that a result depends on of this checkout."""
    return digest([provenance.code_sha256(), SETTINGS])


@cache
def this_place(frameworks: tuple[str, ...]) -> dict[str, Any]:
    """What a worker process finds here."""
    described = run_in_subprocess(Job(measure="environment", cells=(), settings={"frameworks": frameworks}))
    if described.rows is None:
        raise RunAbortedError(f"{get_worker().address}: no process can be started: {described.error}")
    return described.rows[0][0]


@contextmanager
def _at_work(*, alone: bool) -> Iterator[None]:
    """Wait until this machine measures nothing, or where not `alone` nothing that has to be alone.

    A lock of this machine, not of a Dask worker: a node may have several of them, of several runs.
    """
    with MACHINE_LOCK.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield
