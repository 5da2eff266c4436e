"""`python -m benchmarks.harness`: what the harness itself costs, beside the workers that measure.

Ten thousand cells are answered at once by a stand-in, in a temporary folder. A worker's start is all that it does
before it measures: it has a job of no cells; beside it stands the smallest cell, measured. Seconds are processor time,
except for storing a cell, which waits for the disk. They and their limits come as ratios to a bare
`python -c "import numpy, memray"` of this run, too, with the least and the most of their repeats.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median

from rich import box
from rich.table import Table

from harness.commands.console import new_console
from harness.execute.process import INHERITED, WORKER, run_in_subprocess
from harness.execute.run import Run
from harness.experiment.file import Experiment
from harness.experiment.job import Job, Outcome
from harness.experiment.measures import MEASURES
from harness.provenance import ROOT
from harness.results.store import Store
from tests.support.cells import answer, store_all_cell

EXPERIMENT = """
title = "Ten thousand cells"
measure = ["memory"]
[grid]
layers = ["8,4x1,3", "8,4x2,3", "8,4x3,3", "8,4x4,3", "8,4x5,3", "8,4x6,3", "8,4x7,3"]
batch = [{batches}]
checkpoint_frequency = [2, 3, 4]
schedule = ["revolve(slots=2)", "sqrt()"]
"""
BATCHES = 240  # by 7 depths and 6 variants: 10,080 cells, no two of which have one prediction

START_REPEATS, GRID_REPEATS = 15, 3
STARTS = {
    "bare python": (sys.executable, "-c", "import numpy, memray"),
    "import numpy": (sys.executable, "-c", "import numpy"),
    "import networks": (sys.executable, "-c", "import networks"),
    "import Network": (sys.executable, "-c", "from networks import Network"),
    "--help": (sys.executable, "-m", "harness", "--help"),
}
SHOW = (sys.executable, "-m", "harness", "show")

LIMITS = {
    "import networks": 0.09,
    "--help": 0.25,
    "worker start": 0.25,
    "store a cell": 0.02,
    "show": 5,
    "take up": 5,
    "assemble": 10,
}
"""The seconds that each may take on a quiet machine."""
MEMORY_LIMIT_BYTES = 300 * 10**6


def main() -> None:
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
    environment, worker = {**inherited, **MEASURES["memory"].variables}, (*WORKER, str(os.getpid()))
    no_cells = Job(measure="time", cells=(), settings={"repeats": 0, "order_seed": 0})
    smallest = Job(measure="memory", cells=(store_all_cell("8,4,3", batch=5),))
    names = (*STARTS, "worker start", "smallest cell", "show", "take up", "assemble")
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(START_REPEATS):
        for name, command in STARTS.items():
            seconds[name].append(_child_seconds(command, environment))
        seconds["worker start"].append(_child_seconds(worker, environment, no_cells))
        seconds["smallest cell"].append(_child_seconds(worker, environment, smallest))
    with tempfile.TemporaryDirectory() as folder:
        experiment = Path(folder) / "ten_thousand.toml"
        experiment.write_text(EXPERIMENT.format(batches=", ".join(map(str, range(1, BATCHES + 1)))))
        for _ in range(GRID_REPEATS):
            seconds["show"].append(_child_seconds((*SHOW, str(experiment)), os.environ))
        for phase in ("fill", *("resume" for _ in range(GRID_REPEATS))):
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.harness", phase, folder],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                check=True,
            )
            told = json.loads(done.stdout)
            for name, values in told["seconds"].items():
                seconds.setdefault(name, []).extend(values)
    new_console().print(_table(seconds, peak_bytes=told["peak_bytes"], cells=told["cells"]))


def fill(folder: Path) -> dict[str, object]:
    """Store every cell; the seconds between one and the next."""
    run, laps = _run(folder), []
    last = time.perf_counter()
    for _ in run.execute():
        laps.append(time.perf_counter() - last)
        last = time.perf_counter()
    return {"seconds": {"store a cell": laps}}


def resume(folder: Path) -> dict[str, object]:
    """Take up every cell and assemble the tables."""
    start = time.process_time()
    run = _run(folder)
    cells = sum(finished.resumed for finished in run.execute())
    taken_up = time.process_time()
    run.publish()
    assembled = time.process_time()
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    told = {"take up": [taken_up - start], "assemble": [assembled - taken_up]}
    return {"seconds": told, "cells": cells, "peak_bytes": peak_bytes}


def _run(folder: Path) -> Run:
    experiment = Experiment.load(folder / "ten_thousand.toml")
    return Run(experiment, Store(folder / "results"), execute=_stand_in)


def _stand_in(jobs: Mapping[str, Job]) -> Iterator[tuple[str, Outcome]]:
    for name, job in jobs.items():
        yield name, Outcome(answer(job)) if job.cells else run_in_subprocess(job)


def _child_seconds(command: tuple[str, ...], environment: Mapping[str, str], job: Job | None = None) -> float:
    """Processor time of a process that is given `job`."""
    given = json.dumps(job.request()).encode() if job else b""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, input=given, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _table(seconds: Mapping[str, list[float]], *, peak_bytes: int, cells: int) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=f"{cells:,} cells", title_justify="left")
    for column in ("", "seconds", "least to most", "over bare python", "limit"):
        table.add_column(column, justify="right" if column else "left")
    bare = median(seconds["bare python"])
    for name, values in seconds.items():
        middle, limit = median(values), LIMITS.get(name)
        bound = f"{limit} s = {limit / bare:.3f}" if limit else ""
        missed = " !" if limit and middle > limit else ""
        spread = f"{min(values):.4f} to {max(values):.4f}"
        table.add_row(name, f"{middle:.4f}{missed}", spread, f"{middle / bare:.3f}", bound)
    missed = " !" if peak_bytes > MEMORY_LIMIT_BYTES else ""
    table.add_row("parent's memory", f"{peak_bytes / 1e6:.0f} MB{missed}", "", "", f"{MEMORY_LIMIT_BYTES / 1e6:.0f} MB")
    return table


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(json.dumps({"fill": fill, "resume": resume}[sys.argv[1]](Path(sys.argv[2]))))
    else:
        main()
