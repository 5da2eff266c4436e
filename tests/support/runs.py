"""Runs whose workers answer at once."""

import csv

from harness.experiment.job import Outcome
from tests.support.cells import answer

TEXT = """
title = "t"
measure = ["memory", "time"]
[grid]
layers = ["8,4x3,3", "8,4x4,3"]
batch = [5]
checkpoint_frequency = [2]
"""


class Workers:
    """Stands in for worker processes: answers at once, and keeps the jobs it was given."""

    def __init__(self):
        self.jobs = []
        self.machine = {"cpu": "one"}
        self.machine_id = "a1"
        self.broken = set()
        self.fault = "killed"

    def __call__(self, jobs):
        for name, job in jobs.items():
            yield name, self.run(job)

    @property
    def place(self):
        return {"machine": self.machine, "machine_id": self.machine_id}

    def run(self, job):
        if job.measure == "environment":
            error = "the worker exited with 1 without an answer: No module named 'numpy'"
            return Outcome([[self.place]]) if self.machine else Outcome(None, error)
        self.jobs.append(job)
        if job.measure in self.broken:
            return Outcome(None, "the worker was killed by signal 9 (Killed)", "its last words", self.fault)
        return Outcome(answer(job), place=self.place)


def again(run):
    """How many cells are measured again, by the reason why."""
    return {reason: sum(len(job.cells) for job in jobs) for reason, jobs in run.again.items()}


def table(paths, name):
    (path,) = (path for path in paths if path.name == name)
    return list(csv.DictReader(path.read_text().splitlines()))
