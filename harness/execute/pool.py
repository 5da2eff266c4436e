"""Worker processes on this machine. Several run at once if that changes no number."""

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
    """Executes jobs in the given order, at most `jobs` at a time.

    The running jobs never need more than `room_bytes` together. A job that needs more runs alone. No job starts before
    an earlier one that waits for memory. Jobs also wait for other runs on this machine: see `machine_lock`.

    Attributes:
        jobs: the most jobs at a time.
        room_bytes: the memory for all jobs together.
        run: measures one job. It gives its process to `on_start`, so that the pool can kill it.
        needs: the bytes of memory that a job needs.
    """

    jobs: int
    room_bytes: int
    run: Callable[..., Outcome] = run_in_subprocess
    needs: Callable[[Job], int] = needed_bytes

    def __call__(self, jobs: Mapping[str, Job]) -> Generator[tuple[str, Outcome], None, None]:
        """Yield each job's name and outcome as it finishes. If closed early, it kills running jobs."""
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
        """The bytes that the job occupies: what it needs, or all if it runs alone."""
        alone = self.jobs == 1 or not MEASURES[job.measure].counts_bytes
        return self.room_bytes if alone else min(self.needs(job), self.room_bytes)


class _Processes:
    """The running processes of the pool."""

    def __init__(self):
        self._lock = Lock()
        self._running: list[Popen] = []
        self.stopped = Event()

    def add(self, process: Popen) -> None:
        with self._lock:
            self._running = [*(one for one in self._running if one.returncode is None), process]
            if self.stopped.is_set():  # it started while the pool was being stopped
                process.kill()

    def stop(self) -> None:
        with self._lock:
            self.stopped.set()
            for process in self._running:
                process.kill()  # does nothing to one that has ended
