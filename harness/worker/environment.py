"""The environment of a worker's process, which only that process knows."""

from harness import provenance
from harness.experiment.frameworks import packages_of
from harness.experiment.job import Job, Row


def describe_environment(job: Job) -> list[list[Row]]:
    """The machine and the versions of packages, including the job's frameworks. This is no measurement."""
    return [[provenance.place(packages_of(job.settings.get("frameworks", ())))]]
