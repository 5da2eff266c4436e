"""Predictions of a training step of a cell, by dry run."""

from functools import lru_cache

from harness.experiment.cell import Cell
from networks import Trace, dry_run
from networks.schedules import periodic, store_all
from networks.schedules.replay import Cost, replay

_dry_run = lru_cache(maxsize=256)(dry_run)


def trace_of(cell: Cell) -> Trace:
    """The dry run of one training step of `cell`."""
    return _dry_run(
        cell.widths,
        batch=cell.batch,
        dtype=cell.dtype,
        step=cell.step,
        micro_batch=cell.micro_batch,
        **cell.checkpointing,
    )


def cost(cell: Cell) -> Cost | Trace:
    """The work and the peak of `trace_of(cell)`. A step that is not in parts takes a tenth of the time."""
    if cell.micro_batch is not None:
        return trace_of(cell)
    options = cell.checkpointing
    schedule = options.get("schedule") or (periodic(**options) if options else store_all())
    return replay(cell.chain, schedule(cell.chain))
