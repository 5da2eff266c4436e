"""What a worker's process runs on, which only it can know."""

from harness import provenance
from harness.experiment.frameworks import packages_of
from harness.experiment.job import Job, Row


def describe_environment(job: Job) -> list[list[Row]]:
    """Not a measurement: the machine and the versions of packages, those of the job's frameworks among them."""
    return [[provenance.place(packages_of(job.settings.get("frameworks", ())))]]
