"""The request to one worker, and its result: job, row, outcome."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from harness.experiment.cell import Cell, digest
from harness.experiment.model_cell import ModelCell
from networks.schedules.foreign import Source

AnyCell = Cell | ModelCell
"""A step of a network, or of a user's model. The cells of a job are of one kind."""


def cell_with(parameters: Mapping[str, Any]) -> AnyCell:
    """The cell that has these parameters."""
    return ModelCell(**parameters) if "model" in parameters else Cell(**parameters)


@dataclass(frozen=True, kw_only=True)
class Job:
    """The work of one fresh process: cells, one measure, and its settings.

    A memory or timeline job has one cell. A time or training job has every variant of a comparison group, because
    times can be compared only if they were measured side by side.
    """

    measure: str
    cells: tuple[Any, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def configuration(self) -> dict[str, Any]:
        """The cells, the measure and its settings, as JSON data."""
        return {
            "measure": self.measure,
            "cells": [cell.parameters for cell in self.cells],
            "settings": dict(self.settings),
        }

    def request(self) -> dict[str, Any]:
        """The JSON data that a worker reads: the configuration, and the files of the cells' schedules by path."""
        return {**self.configuration, "sources": {source.path: source.text for source in self.sources}}

    @property
    def sources(self) -> tuple[Source, ...]:
        """The files of the cells' schedules."""
        return tuple(dict.fromkeys(source for cell in self.cells for source in cell.sources))

    @property
    def schedules(self) -> tuple[str, ...]:
        """The places of the code of the cells' schedules."""
        return tuple(dict.fromkeys(name for cell in self.cells for name in cell.schedules))

    @cached_property
    def name(self) -> str:
        """A name made from the configuration, such as `memory-0123456789abcdef`."""
        return f"{self.measure}-{digest(self.configuration)}"

    @classmethod
    def from_request(cls, request: Mapping[str, Any]) -> "Job":
        """The inverse of `request`."""
        sources = [Source(path, text) for path, text in request["sources"].items()]
        cells = tuple(cell_with(cell).with_sources(sources) for cell in request["cells"])
        return cls(measure=request["measure"], cells=cells, settings=request["settings"])


@dataclass(frozen=True)
class Outcome:
    """The result of a job.

    Attributes:
        rows: for each cell its rows. None if the job failed.
        error: why there are no rows.
        log: the output of the worker.
        fault: the status of cells without rows, one of `STATUSES`.
        place: the place of the measurement, as in `provenance.place`. None for this machine.
        capture: memray's capture of a step that failed.
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
