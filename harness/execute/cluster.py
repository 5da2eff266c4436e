"""Runs jobs on the workers of a Dask scheduler. Each job has a fresh process there, as on this machine.

A Dask worker needs the same checkout and the same packages. No job is lost with a part of the cluster: jobs of a lost
worker go to another worker, and jobs of a lost scheduler to its successor.
"""

import asyncio
import logging
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import cache
from typing import Any

import dask
from dask.utils import parse_timedelta
from distributed import Client, KilledWorker, Scheduler, SpecCluster, Worker, as_completed, get_worker
from distributed.client import CancelledError
from distributed.comm import connect, get_address_host_port
from distributed.security import Security

from harness import provenance
from harness.errors import RunAbortedError
from harness.execute.admission import available_bytes, needed_bytes
from harness.execute.machine_lock import at_work
from harness.execute.process import one_line, run_in_subprocess
from harness.execute.scratch import scratch
from harness.experiment.cell import digest
from harness.experiment.job import Job, Outcome
from harness.experiment.measures import MEASURES
from harness.experiment.schedule_code import schedules_sha256

RunJob = Callable[[Job], Outcome]

LOCAL = "local:"

SHOWN = 200
"""How many letters of another program's answer are shown."""

FIRST_PATIENCE, PATIENCE = "10s", "10m"
"""How long to wait for a scheduler: at first, because the address may be wrong, and after it was lost."""


@contextmanager
def connected(
    address: str, *, run: RunJob = run_in_subprocess, frameworks: Iterable[str] = (), say: Callable[[str], None]
) -> Iterator["Cluster"]:
    """The cluster at `address`, such as `tcp://10.0.0.1:8786`. `local:4` starts four workers in this process.

    Args:
        address: the scheduler's, or `local:N`.
        run: measures a job on a node.
        frameworks: the frameworks whose versions on a node matter.
        say: receives messages for people while the run waits.

    Raises:
        ValueError: the address is none, needs certificates, or `local:` has no number of workers.
    """
    for name in ("distributed", "distributed.client", "asyncio", "tornado"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # this module reports errors in a line
    if not address.startswith(LOCAL):
        try:
            get_address_host_port(address)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"--dask must be an address like tcp://10.0.0.1:8786, or local:4, got {address!r}: {error}"
            ) from None
        if address.startswith("tls://") and not _certificates().get("ssl_context"):
            raise ValueError(
                f"--dask {address} needs certificates: name them in Dask's configuration, distributed.comm.tls, "
                "or in DASK_DISTRIBUTED__COMM__TLS__CA_FILE, __CLIENT__CERT and __CLIENT__KEY"
            )
        yield Cluster(address, run=run, frameworks=tuple(frameworks), say=say)
        return
    workers = address.removeprefix(LOCAL)
    if not workers.isdecimal() or int(workers) < 1:
        raise ValueError(f"--dask {LOCAL}N needs a number of workers of at least 1, got {address!r}")
    with scratch() as folder, dask.config.set(temporary_directory=str(folder)), _local_cluster(int(workers)) as cluster:
        yield Cluster(cluster.scheduler_address, run=run, frameworks=tuple(frameworks), say=say)


def _certificates() -> dict[str, Any]:
    return Security().get_connection_args("client")


def _local_cluster(workers: int) -> SpecCluster:
    """A scheduler and workers in this process. Their web servers listen only on the loopback."""
    options = {"protocol": "inproc://", "dashboard": False, "dashboard_address": "127.0.0.1:0"}
    worker = {"cls": Worker, "options": {**options, "nthreads": 1}}
    return SpecCluster(
        scheduler={"cls": Scheduler, "options": options},
        workers=dict.fromkeys(range(workers), worker),
        silence_logs=logging.CRITICAL,
    )


class Cluster:
    """Executes jobs on the workers of the scheduler at `address`, one at a time on each of their threads.

    Each outcome tells the place of its measurement. Executing raises RunAbortedError if there is no such scheduler, or
    if a worker has other code than this checkout.
    """

    def __init__(self, address: str, *, run: RunJob, frameworks: tuple[str, ...], say: Callable[[str], None]):
        self._address = address
        self._run = run
        self._frameworks = frameworks
        self._say = say

    def __call__(self, jobs: Mapping[str, Job]) -> Generator[tuple[str, Outcome], None, None]:
        """Yield each job's name and outcome as it comes back. If closed early, it drops the rest."""
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
            if not self._address.startswith("inproc://"):
                asyncio.run(_greet(self._address, parse_timedelta(patience)))
            return Client(self._address, timeout=patience, set_as_default=False)
        except Exception as error:  # an unknown program may answer anything
            raise RunAbortedError(f"{self._address}: no Dask scheduler answers: {_reason(error, patience)}") from None

    def _submit(self, client: Client, jobs: Mapping[str, Job]) -> Iterator[tuple[str, Outcome]]:
        """Submit `jobs` and yield their outcomes. Raises CancelledError or OSError if the scheduler is lost."""
        if not client.nthreads():
            self._say(f"{self._address}: no worker has joined yet; waiting")
        requests = [job.request() for job in jobs.values()]
        schedules = [schedules_sha256(job.schedules, job.sources) for job in jobs.values()]
        options: dict[str, Any] = {"run": self._run, "code": code_id(), "frameworks": self._frameworks}
        futures = client.map(measure_here, requests, schedules, **options, key="job", pure=False)
        names = dict(zip(futures, jobs, strict=True))
        for future in as_completed(futures, loop=client.loop):
            failed = future.status == "error"
            yield names.pop(future), _failure(future.exception()) if failed else future.result()
            future.release()


def _reason(error: Exception, patience: str) -> str:
    if isinstance(error, TimeoutError):
        return f"nothing has come from there in {patience}"
    said = one_line(str(error))[:SHOWN]
    return said if isinstance(error, OSError) else f"what listens there is another program ({said})"


async def _greet(address: str, seconds: float) -> None:
    """Ask which program listens at `address`, because Dask's client waits for ever if that program says nothing.

    Raises TimeoutError, or any error of Dask if the program is no scheduler.
    """
    async with asyncio.timeout(seconds):
        comm = await connect(address, timeout=seconds, **_certificates())
        try:
            await comm.write({"op": "identity", "reply": True})
            answer = await comm.read()
        finally:
            comm.abort()
    kind = answer.get("type")
    if kind != "Scheduler":
        raise ValueError(f"it is a {kind}")


def _failure(error: BaseException) -> Outcome:
    """The outcome of a job whose Dask task has failed. Raises RunAbortedError if every other job would fail, too."""
    if isinstance(error, KilledWorker):
        return Outcome(None, f"{error.allowed_failures + 1} Dask workers were lost while they measured it")
    if isinstance(error, RunAbortedError):
        raise error
    raise RunAbortedError(f"a Dask worker cannot measure: {type(error).__name__}: {error}")


def measure_here(
    request: Mapping[str, Any], schedules: Mapping[str, str], *, run: RunJob, code: str, frameworks: tuple[str, ...]
) -> Outcome:
    """Measure a job on this Dask worker, and tell the place.

    Raises RunAbortedError if the worker's code is not `code`, or its code of the job's schedules is not `schedules`.
    """
    if code_id() != code:
        raise RunAbortedError(
            f"{get_worker().address}: has other code than the checkout that submits; "
            "start it in a checkout of the same commit, or stop it"
        )
    job = Job.from_request(request)
    here = schedules_sha256(job.schedules, job.sources)
    if other := [name for name in here if here[name] != schedules[name]]:
        raise RunAbortedError(
            f"{get_worker().address}: has other code of {', '.join(other)} than the machine that submits; "
            "install the same there, or stop it"
        )
    with at_work(alone=not _has_room_beside_others(job)) if job.cells else nullcontext():
        return replace(run(job), place=this_place(frameworks))


def _has_room_beside_others(job: Job) -> bool:
    """Whether `job` counts bytes, and needs at most an equal share of this machine's memory for each processor.

    No process knows all jobs of a node, so the shares are equal. A job that needs more waits until it is alone.
    """
    return MEASURES[job.measure].counts_bytes and needed_bytes(job) * (os.cpu_count() or 1) <= available_bytes()


def code_id() -> str:
    """A hash of all code and settings of this checkout that a result depends on."""
    return digest([provenance.code_sha256(), {name: measure.variables for name, measure in MEASURES.items()}])


@cache
def this_place(frameworks: tuple[str, ...]) -> dict[str, Any]:
    """The place, as a worker process on this machine describes it."""
    described = run_in_subprocess(Job(measure="environment", cells=(), settings={"frameworks": frameworks}))
    if described.rows is None:
        raise RunAbortedError(f"{get_worker().address}: no process can be started: {described.error}")
    return described.rows[0][0]
