"""Tries schedules of others before anything is measured. Each does a dry run in its own process, with a time limit. A
problem is one line that names the schedule's file, the line there, and the answer.
"""

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from harness.execute.process import run_in_subprocess
from harness.experiment.cell import Cell
from harness.experiment.file import Experiment
from harness.experiment.job import Job, Outcome
from networks.schedules.spec import is_strange

SECONDS = 30.0
"""The default time limit of a schedule for a step."""

_FRAME = re.compile(r'^  File "(?P<file>.+)", line (?P<line>[0-9]+) in ', re.MULTILINE)


def require_sound(
    cells: Iterable[Cell], *, where: str = "", seconds: float | None = None, budget_bytes: int | None = None
) -> None:
    """Raise ValueError if a stranger's schedule among the cells is unfit, with a line for each problem after `where`.

    With `budget_bytes` each schedule is tried as in a plan within that budget. If it does not fit, that is no problem,
    because its row of the plan says so.
    """
    strange = (cell for cell in cells if cell.schedule is not None and is_strange(cell.schedule))
    tried = tuple(dict.fromkeys(replace(cell, seed=0, activation="relu") for cell in strange))
    if not tried:
        return
    seconds = SECONDS if seconds is None else seconds
    outcome = run_in_subprocess(
        Job(measure="check", cells=tried, settings={"seconds": seconds, "budget_bytes": budget_bytes})
    )
    if outcome.rows is None:
        problems = [_hung(outcome, tried, seconds) or f"the schedules cannot be tried: {outcome.error}"]
    else:
        problems = [row["problem"] for rows in outcome.rows for row in rows]
    if problems:
        raise ValueError("\n".join(f"{where}{problem}" for problem in dict.fromkeys(problems)))


def require_sound_experiment(experiment: Experiment, path: Path) -> None:
    """Raise ValueError if a stranger's schedule in the experiment at `path` is unfit, with a line for each problem.

    A schedule has the time limit that the experiment gives a cell.
    """
    cells = (cell for job in experiment.jobs() for cell in job.cells)
    require_sound(cells, where=f"{path}: grid: ", seconds=experiment.limits.timeout)


def _hung(outcome: Outcome, cells: Iterable[Cell], seconds: float) -> str:
    """A line with the place of a schedule when its time was over. Empty if the process has ended otherwise."""
    _, ended, stack = outcome.log.rpartition("Timeout (")
    frames = _FRAME.findall(stack)
    if not ended or not frames:
        return ""
    files = {source.path for cell in cells for source in cell.sources}
    file, line = next((frame for frame in frames if frame[0] in files), frames[0])
    return f"{file}:{line}: has not answered within {seconds:g} s"
