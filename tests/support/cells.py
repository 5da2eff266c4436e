"""Cells for the harness's tests, and what a worker would answer about them."""

import sys
from pathlib import Path
from typing import Any

from harness.execute.process import run_in_subprocess
from harness.experiment.cell import Cell
from harness.experiment.job import Job
from harness.experiment.measures import TABLES
from harness.experiment.prediction import trace_of
from harness.files import format_json, parse_json
from harness.results.datapackage import data_package, sha256_of

FAILING_IN_ITS_STEP = (
    sys.executable,
    "-c",
    "import memray, sys; from harness.worker import __main__ as worker; from networks import Network\n"
    "backward, tracking = Network.backward, []\n"
    "class Tracker(memray.Tracker):\n"
    "    def __enter__(self): tracking.append(True); return super().__enter__()\n"
    "def fail(network, y):\n"
    "    if tracking: raise RuntimeError('in the measured step')\n"
    "    return backward(network, y)\n"
    "memray.Tracker, Network.backward = Tracker, fail\n"
    "sys.exit(worker.main())",
)
"""The command of a worker that fails once memray watches it, which leaves a capture."""

ENVIRONMENT = {
    "experiment": {"name": "tiny", "title": "Tiny", "sha256": "e5", "figures": []},
    "code": {"sha256": "1a"},
    "machine": {"python": "3.11.7", "blas": [{"num_threads": 1}]},
    "variables": {"memory": {"PYTHONMALLOC": "malloc"}},
}
"""What an environment.json tells."""

REPEATS = 2
SECONDS = 0.25


def store_all_cell(layers: str, *, batch: int) -> Cell:
    """A cell of `Network`; `dataclasses.replace` makes the others from it."""
    return Cell(
        network="Network",
        layers=layers,
        batch=batch,
        dtype="float32",
        activation="relu",
        checkpoint_frequency=None,
        recompute=None,
        schedule=None,
        seed=0,
    )


def answer(job: Job) -> list[list[dict[str, Any]]]:
    """The rows of a worker that measures memory or time: whole rows, made without running a network."""
    if job.measure == "memory":
        return [[memory_row(cell)] for cell in job.cells]
    timed = {
        "loops": 1,
        "cpu": None,
        "forward_seconds": SECONDS,
        "backward_seconds": 2 * SECONDS,
        "step_seconds": 3 * SECONDS,
    }
    return [
        [{"repeat": repeat, "position": repeat * len(job.cells) + place, **timed} for repeat in range(REPEATS)]
        for place in range(len(job.cells))
    ]


def publish_as_they_are(folder: Path) -> None:
    """Describe the tables of a folder anew, as if a run had written them."""
    contents = {path.stem: path.read_bytes() for path in folder.glob("*.csv") if path.stem in TABLES}
    package = format_json(data_package(folder.name, contents))
    (folder / "datapackage.json").write_bytes(package)
    environment = parse_json((folder / "environment.json").read_bytes())
    (folder / "environment.json").write_bytes(format_json(environment | {"datapackage_hash": sha256_of(package)}))


def memory_row(cell: Cell) -> dict[str, Any]:
    """What a dry run says, with the few KiB that an interpreter adds."""
    step = trace_of(cell)
    kinds = step.peak_bytes_by_kind
    parts = {
        "memray_activation_buffers_bytes": kinds["checkpoints"] + kinds["working_afters"] + kinds["deltas"],
        "memray_parameter_deltas_bytes": kinds["parameter_deltas"],
        "memray_workspace_bytes": kinds["workspace"],
        "memray_other_bytes": 4_000 + 137 * cell.depth,
    }
    other = parts["memray_other_bytes"]
    return {
        "forward_steps": step.forward_steps,
        "forward_flops": step.forward_flops,
        "hits": step.hits,
        "misses": step.misses,
        "peak_cached_layers": step.peak_cached_layers,
        "tracker_peak_bytes": step.peak_bytes,
        "memray_peak_bytes": sum(parts.values()),
        **{f"memray_{phase}_peak_bytes": nbytes + other for phase, nbytes in step.peak_bytes_by_phase.items()},
        **parts,
        **{f"tracker_{kind}_bytes": nbytes for kind, nbytes in kinds.items()},
    }


def measured(measure, *cells, **settings):
    outcome = run_in_subprocess(Job(measure=measure, cells=cells, settings=settings))
    assert outcome.error == "", outcome.log
    assert len(outcome.rows) == len(cells)
    return outcome.rows
