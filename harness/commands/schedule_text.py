"""The text after --schedule: makes the schedule, or searches for it, for a step."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from harness.commands.names import STEP_OPTIONS, as_typed
from harness.execute.strangers import require_sound
from harness.experiment.cell import Cell, own_cell
from networks.layer_lists import parse_layers
from networks.planning.searches import Search, search_named
from networks.schedules import Schedule
from networks.schedules.foreign import Source
from networks.schedules.spec import calls_in, parse_schedule, read_sources
from networks.trace import dry_run

WRITTEN = "A schedule, such as 'revolve(slots=3)', 'rules.py:factory()' or 'package.module:factory()'"

ScheduleTexts = Annotated[
    list[str] | None,
    typer.Option("--schedule", metavar="CALL", help=f"Add a row. {WRITTEN}. Its budget is the plan's."),
]


def step_cell(layers: str, *, batch: int, dtype: str, step: str, micro_batch: int | None = None) -> Cell:
    """The cell of a step of `Network` as it was typed. Raises ValueError for a step that no schedule can serve."""
    with as_typed(STEP_OPTIONS):
        widths = parse_layers(layers)
        dry_run(widths, batch=batch, dtype=dtype, step=step, micro_batch=micro_batch)
    return own_cell(widths, batch=batch, dtype=dtype, step=step, micro_batch=micro_batch)


def made_for(text: str, cell: Cell) -> Schedule:
    """The schedule that `text` names. A stranger's schedule is tried on the step of `cell` first. Raises ValueError."""
    with as_typed(("schedule",)):
        sources = read_sources(text, Path())
        require_sound([cell.scheduled(str(calls_in(text)[0]), sources)])
        return parse_schedule(text, sources)


def searches_for(texts: Iterable[str], cell: Cell, budget_bytes: int) -> tuple[dict[str, Search], tuple[Source, ...]]:
    """The search of each text by its canonical form, and the files of all texts.

    Strangers' schedules are tried on `cell` first. Raises ValueError.
    """
    searches: dict[str, Search] = {}
    files: dict[Source, None] = {}
    with as_typed(("schedule",)):
        for text in texts:
            sources, name = read_sources(text, Path()), str(calls_in(text)[0])
            require_sound([cell.scheduled(name, sources)], budget_bytes=budget_bytes)
            searches[name] = search_named(text, sources)
            files |= dict.fromkeys(sources)
    return searches, tuple(files)
