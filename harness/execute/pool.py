"""Worker processes on this machine, several at once where that changes no number."""

from collections.abc import Callable, Generator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from subprocess import Popen
from threading import Event, Lock

from harness.execute.admission import needed_bytes
from harness.execute.machine_lock import at_work
from harness.execute.process import run_in_subprocess
from harness.experiment.job import Job, Outcome
from harness.experiment.measures import MEASURES


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Executes jobs in the order given, at most `jobs` at a time, each as soon as there is room for it.

    What the running jobs need never adds up to more than `room_bytes`; one that needs all of it runs alone. No job
    passes an earlier one that waits for room. Other runs on this machine are waited for, as `machine_lock` tells.

    Attributes:
        run: measures one job; it hands the process it waits for to `on_start`, to be killed when the pool is stopped.
        needs: the bytes of memory that a job takes.
    """

    jobs: int
    room_bytes: int
    run: Callable[..., Outcome] = run_in_subprocess
    needs: Callable[[Job], int] = needed_bytes

    def __call__(self, jobs: Mapping[str, Job]) -> Generator[tuple[str, Outcome], None, None]:
        """Yield each job's name and outcome as it finishes. Closed early, it kills what is running."""
        running: dict[Future[Outcome], tuple[str, int]] = {}

        def finish_one() -> tuple[str, Outcome]:
            future = next(iter(wait(running, return_when=FIRST_COMPLETED).done))
            name, _ = running.pop(future)
            return name, future.result()

        processes = _Processes()
        with ThreadPoolExecutor(self.jobs) as threads:
            try:
                for name, job in jobs.items():
                    takes = self._takes(job)
                    while running and takes + sum(taken for _, taken in running.values()) > self.room_bytes:
                        yield finish_one()
                    running[threads.submit(self._measure, job, processes)] = name, takes
                    if len(running) == self.jobs:
                        yield finish_one()
                while running:
                    yield finish_one()
            finally:
                processes.stop()

    def _measure(self, job: Job, processes: "_Processes") -> Outcome:
        if not job.cells:  # it measures nothing
            return self.run(job, on_start=processes.add)
        with at_work(alone=not MEASURES[job.measure].counts_bytes, stopped=processes.stopped):
            return self.run(job, on_start=processes.add)

    def _takes(self, job: Job) -> int:
        """The part of the room that is the job's: what it needs, or all of it where it is to run alone."""
        alone = self.jobs == 1 or not MEASURES[job.measure].counts_bytes
        return self.room_bytes if alone else min(self.needs(job), self.room_bytes)


class _Processes:
    """The processes that the pool's threads wait for."""

    def __init__(self):
        self._lock = Lock()
        self._running: list[Popen] = []
        self.stopped = Event()

    def add(self, process: Popen) -> None:
        with self._lock:
            self._running = [*(one for one in self._running if one.returncode is None), process]
            if self.stopped.is_set():  # it was on its way when the pool was stopped
                process.kill()

    def stop(self) -> None:
        with self._lock:
            self.stopped.set()
            for process in self._running:
                process.kill()  # does nothing to one that has ended
