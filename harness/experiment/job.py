"""What one worker is asked, and what comes of it: job, row, outcome."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from harness.experiment.cell import Cell, digest


@dataclass(frozen=True, kw_only=True)
class Job:
    """What one fresh process measures: cells that belong together, one measure and its settings.

    A memory or timeline job has one cell. A time or training job has every variant of a comparison group, because
    only what was measured side by side may be compared.
    """

    measure: str
    cells: tuple[Cell, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)

    def request(self) -> dict[str, Any]:
        """The job as JSON data, which is what a worker reads."""
        return {
            "measure": self.measure,
            "cells": [cell.parameters for cell in self.cells],
            "settings": dict(self.settings),
        }

    @cached_property
    def name(self) -> str:
        """Names the job by its content, such as `memory-0123456789abcdef`."""
        return f"{self.measure}-{digest(self.request())}"

    @classmethod
    def from_request(cls, request: Mapping[str, Any]) -> "Job":
        """The inverse of `request`."""
        cells = tuple(Cell(**cell) for cell in request["cells"])
        return cls(measure=request["measure"], cells=cells, settings=request["settings"])


@dataclass(frozen=True)
class Outcome:
    """What came of a job: rows for each of its cells, or the reason why there are none.

    `log` is what the worker printed, and `fault` the status of cells without rows: one of `STATUSES`. `place` is
    where it was measured, as `provenance.place` tells it, if that may be anywhere. `capture` is memray's, of a step
    that failed.
    """

    rows: list[list[dict[str, Any]]] | None
    error: str = ""
    log: str = ""
    fault: str = "failed"
    place: Mapping[str, Any] | None = None
    capture: bytes = b""

    @property
    def status(self) -> str:
        return "ok" if self.rows is not None else self.fault


Row = dict[str, Any]
