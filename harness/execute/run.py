"""A run of an experiment: it executes the jobs that are left, and publishes the tables when all are done."""

from collections import defaultdict
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness import provenance
from harness.errors import RunAbortedError
from harness.experiment.cell import digest
from harness.experiment.columns import PROVENANCE
from harness.experiment.file import Experiment
from harness.experiment.job import Job, Outcome
from harness.experiment.limits import NO_LIMITS, Limits
from harness.experiment.measures import ALLOCATORS, MEASURES, variables
from harness.experiment.schedule_code import schedules_sha256
from harness.results.origin import Origin
from harness.results.rows import rows_of
from harness.results.store import DamagedError, Record, Row, Store, unfit

Execute = Callable[[Mapping[str, Job]], Generator[tuple[str, Outcome], None, None]]
"""Executes named jobs, and yields the name and the outcome of each as it finishes, in any order."""

UNRECORDED = "the table has these cells, but cells/ has no record of them with these settings and variants"


@dataclass(frozen=True)
class Finished:
    """A job that is done, by this run or an earlier one. `error` is empty if it succeeded."""

    job: Job
    error: str
    resumed: bool
    path: Path


class Run:
    """One run of `experiment`, with its results in `store`.

    Records of earlier runs are used if they come from the same code and machine. With `mixed` others are used, too.
    `limits` are the limits that `execute` applies.

    Attributes:
        again: the jobs that are measured again, by the reason.

    Raises RunAbortedError if no worker can be started.
    """

    def __init__(
        self,
        experiment: Experiment,
        store: Store,
        *,
        execute: Execute,
        limits: Limits = NO_LIMITS,
        mixed: bool = False,
    ):
        environment = Job(measure="environment", cells=(), settings={"frameworks": experiment.frameworks})
        ((_, described),) = execute({"environment": environment})
        if described.rows is None:
            raise RunAbortedError(f"no worker can be started: {described.error}")
        self._experiment = experiment
        self._store = store
        self._execute = execute
        self._limits = limits
        self._mixed = mixed
        self._place = described.rows[0][0]
        self._jobs = {job.name: job for job in experiment.jobs()}
        self._sources = tuple(dict.fromkeys(source for job in self._jobs.values() for source in job.sources))
        self._names = dict.fromkeys(name for job in self._jobs.values() for name in job.schedules)
        self._code, self._schedules = self._codes()
        self._published = {measure: store.published(measure) for measure in experiment.measure}
        self.again: defaultdict[str, list[Job]] = defaultdict(list)
        self._records = {name: record for name, job in self._jobs.items() if (record := self._earlier(job))}
        self._set_unfit_aside()

    def _origin(self, job: Job, place: Mapping[str, Any] | None = None) -> Origin:
        schedules = {name: self._schedules[name] for name in job.schedules}
        return Origin(code=self._code, schedules=schedules, **(place or self._place), variables=variables(job))

    def _codes(self) -> tuple[str, dict[str, str]]:
        """The hash of the code of every row, and of each schedule's own code. Files count as they were read."""
        return provenance.code_sha256(), schedules_sha256(self._names, self._sources)

    def _earlier(self, job: Job) -> Record | None:
        """The record of `job` of an earlier run, if it can be used. If not, note the reason in `again`."""
        try:
            record = self._store.load(job)
            reason = self._objection(job, record)
        except DamagedError as error:
            reason = str(error)
        if not reason:
            return record
        self.again[reason].append(job)
        return None

    def _set_unfit_aside(self) -> None:
        """Drop records that break a rule of their table, because no table could be published with them."""
        for measure in self._experiment.measure:
            rows = {name: record.rows for name, record in self._records.items() if self._jobs[name].measure == measure}
            for name, problem in unfit(measure, rows):
                self.again[f"{self._store.path(self._jobs[name])}: {problem}"].append(self._jobs[name])
                del self._records[name]

    def _objection(self, job: Job, record: Record | None) -> str:
        """Why `job` has to be measured again. Empty if `record` can be used, or if it was never measured."""
        if record is None:
            known = self._published[job.measure]
            return UNRECORDED if any(cell.cell_id in known for cell in job.cells) else ""
        status = record.rows[0]["status"]
        if not self._mixed and (differs := record.origin.differences(self._origin(job))):
            return "; ".join(differs)
        return "" if self._limits.settle(status, record.limits) else f"ended as {status} before"

    @property
    def cells(self) -> int:
        """The number of cells to measure. A cell counts once for each measure."""
        return sum(len(job.cells) for job in self._jobs.values())

    def execute(self) -> Generator[Finished, None, None]:
        """Yield every job when it is done, jobs of earlier runs first. If closed early, it loses only running jobs.

        Raises RunAbortedError if the measured code is edited meanwhile, or if machines differ and may not be mixed.
        """
        yield from [self._finished(name, resumed=True) for name in self._records]
        left = {name: job for name, job in self._jobs.items() if name not in self._records}
        with closing(self._execute(left)) as outcomes:
            for name, outcome in outcomes:
                job = left[name]
                if self._codes() != (self._code, self._schedules):
                    raise RunAbortedError("the measured code has changed during the run; start it again")
                origin = self._origin(job, outcome.place)
                if not self._mixed and (differs := self._origin(job).differences(origin)):
                    raise RunAbortedError(
                        f"a worker differs from the first ({'; '.join(differs)}), and rows of different machines do "
                        "not mix unless --allow-mixed; stop the workers that differ"
                    )
                rows = rows_of(job, outcome)
                record = Record(rows=rows, log=outcome.log, limits=self._limits, origin=origin)
                self._store.save(job, record, capture=outcome.capture)
                self._records[name] = record
                yield self._finished(name, resumed=False)

    def _finished(self, name: str, *, resumed: bool) -> Finished:
        job, (row, *_) = self._jobs[name], self._records[name].rows
        return Finished(job, row["error"], resumed, self._store.path(job))

    def publish(self) -> list[Path]:
        """Write the tables, in the order of the grid, and environment.json, and return their paths.

        Call this only after the last job of `execute`, because a part of a grid is no result.
        """
        tables: dict[str, list[Row]] = {measure: [] for measure in self._experiment.measure}
        for name, job in self._jobs.items():
            record = self._records[name]
            told = {PROVENANCE.name: digest(asdict(record.origin))} if self._mixed else {}
            tables[job.measure] += [{**row, **told} for row in record.rows]
        return self._store.publish(tables, self._environment())

    def _environment(self) -> dict[str, Any]:
        experiment = self._experiment
        settings = {measure: settings for measure in experiment.measure if (settings := experiment.settings(measure))}
        return {
            "experiment": {
                "name": experiment.name,
                "title": experiment.title,
                "sha256": experiment.sha256,
                "figures": experiment.figures,
                **({"chains": experiment.chains} if experiment.chains else {}),
                **settings,
            },
            "code": {"sha256": self._code, **provenance.commit()},
            "schedules": self._schedules,
            **({"sources": {source.path: source.text for source in self._sources}} if self._sources else {}),
            "machine": self._place["machine"],
            "variables": {measure: MEASURES[measure].variables for measure in experiment.measure},
            **(
                {"allocators": ALLOCATORS}
                if any(MEASURES[measure].allocators for measure in experiment.measure)
                else {}
            ),
            "drawn_with": provenance.versions(provenance.DRAWN_WITH),
            **({"provenance": self._told_origins()} if self._mixed else {}),
        }

    def _told_origins(self) -> dict[str, Any]:
        """The origin of each name in the column `provenance`, without the machine's own name."""
        origins = {digest(asdict(record.origin)): record.origin for record in self._records.values()}
        return {name: origin.told() for name, origin in origins.items()}
