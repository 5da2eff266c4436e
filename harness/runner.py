"""A run of an experiment: what is left to do, each job in a fresh process, and the tables when all are done."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import provenance
from harness.cell import Job, digest
from harness.executors import SETTINGS, Outcome
from harness.experiment import Experiment
from harness.limits import NO_LIMITS, Limits
from harness.rows import rows_of
from harness.store import Row, Store

Execute = Callable[[Mapping[str, Job]], Iterator[tuple[str, Outcome]]]
"""Executes named jobs and yields the name and the outcome of each as it finishes, in whatever order."""


@dataclass(frozen=True)
class Finished:
    """A job that is done, now or by an earlier run; `error` is empty if it succeeded."""

    job: Job
    error: str
    resumed: bool
    path: Path


class RunAbortedError(RuntimeError):
    """The run cannot start or go on; what is finished is kept."""


class Run:
    """One run of `experiment`, its results under `store`; `limits` are those that `execute` keeps to.

    Raises RunAbortedError where no worker can be started.
    """

    def __init__(self, experiment: Experiment, store: Store, *, execute: Execute, limits: Limits = NO_LIMITS):
        ((_, described),) = execute({"environment": Job(measure="environment", cells=())})
        if described.rows is None:
            raise RunAbortedError(f"no worker can be started: {described.error}")
        self._experiment = experiment
        self._store = store
        self._execute = execute
        self._limits = limits
        self._machine = described.rows[0][0]
        self._code = provenance.code_sha256()
        self._keys = {self._key(job): job for job in experiment.jobs()}
        self._rows: dict[str, list[Row]] = {}

    def _key(self, job: Job) -> str:
        return digest([job.request(), SETTINGS[job.measure], self._code, self._machine, provenance.machine_id()])

    @property
    def cells(self) -> int:
        """How many cells there are to measure, a cell counted once for each measure."""
        return sum(len(job.cells) for job in self._keys.values())

    def execute(self) -> Iterator[Finished]:
        """Yield every job once it is done, those of earlier runs first. Closed at any moment, it loses what is running.

        Raises RunAbortedError where the measured code is edited meanwhile.
        """
        for key, job in self._keys.items():
            rows = self._store.rows(job.measure, key, self._limits)
            if rows is not None:
                self._rows[key] = rows
                yield self._finished(key, job, resumed=True)
        left = {key: job for key, job in self._keys.items() if key not in self._rows}
        with closing(self._execute(left)) as outcomes:
            for key, outcome in outcomes:
                job = left[key]
                if provenance.code_sha256() != self._code:
                    raise RunAbortedError("the measured code has changed during the run; start it again")
                self._rows[key] = rows_of(job, outcome)
                self._store.save(job.measure, key, rows=self._rows[key], log=outcome.log, limits=self._limits)
                yield self._finished(key, job, resumed=False)

    def _finished(self, key: str, job: Job, *, resumed: bool) -> Finished:
        return Finished(job, self._rows[key][0]["error"], resumed, self._store.path(job.measure, key))

    def publish(self) -> list[Path]:
        """Write the tables, in the order of the grid, and environment.json, and return their paths.

        Only after the last job of `execute`: a part of a grid is no result.
        """
        tables: dict[str, list[Row]] = {measure: [] for measure in self._experiment.measure}
        for key, job in self._keys.items():
            tables[job.measure] += self._rows[key]
        return self._store.publish(tables, self._environment())

    def _environment(self) -> dict[str, Any]:
        experiment = self._experiment
        settings = {job.measure: job.settings for job in self._keys.values() if job.settings}
        return {
            "experiment": {
                "name": experiment.name,
                "title": experiment.title,
                "sha256": experiment.sha256,
                "figures": experiment.figures,
                **settings,
            },
            "code": {"sha256": self._code, **provenance.commit()},
            "machine": self._machine,
            "variables": {measure: SETTINGS[measure] for measure in experiment.measure},
            "drawn_with": provenance.versions(provenance.DRAWN_WITH),
        }
