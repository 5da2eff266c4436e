"""Experiment files: strictly validated TOML. Each file is a grid of cells, which becomes a list of jobs.

Each list in `[grid]` is a dimension, and the cells are all combinations of their values. An experiment with several
grids, each under `[[grid]]`, has the cells of all of them.
"""

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    Discriminator,
    Field,
    PrivateAttr,
    StrictStr,
    Tag,
    ValidationError,
    ValidationInfo,
    create_model,
    field_validator,
    model_validator,
)

from harness.experiment.cell import Cell
from harness.experiment.chains import Chains
from harness.experiment.figures import FIGURES
from harness.experiment.frameworks import OWN
from harness.experiment.grid import Grid
from harness.experiment.job import AnyCell, Job
from harness.experiment.measures import MEASURES, TABLES, Measure
from harness.experiment.model_cell import file_and_function
from harness.experiment.model_grid import ModelGrid
from harness.experiment.settings import SECTIONS, LimitSettings, StrictTable, word
from harness.experiment.toml import parse, read_bytes
from networks.layer_lists import parse_layers
from networks.schedules.foreign import Source
from networks.schedules.spec import is_strange, parse_schedule, read_sources
from networks.wording import cut, did_you_mean, is_visible, shown

MOST_CELLS = 100_000
"""Most cells of an experiment. So many take more than a day to measure, and several seconds to list."""

MOST_TOLD = 20
"""How many problems of a file are listed at most."""

DIGITS_INPUTS, DIGITS_CLASSES = 64, 10


def _one_line(text: str) -> str:
    if not is_visible(text):
        raise ValueError(f"must be one line without control characters, got {text!r}")
    return text


FigureName = Annotated[str, word(FIGURES)]
MeasureName = Annotated[str, word(TABLES)]

PEER_MEASURES = [measure.name for measure in MEASURES.values() if measure.of_peers]
"""The measures of other frameworks' cells."""

MODEL_MEASURES = [measure.name for measure in MEASURES.values() if measure.of_models]
"""The measures of users' models."""

_TABLE, _TABLES, _NETWORKS, _MODELS = "[grid]", "[[grid]]", "[grid of networks]", "[grid of models]"
OneGrid = Annotated[
    Annotated[Grid, Tag(_NETWORKS)] | Annotated[ModelGrid, Tag(_MODELS)],
    Discriminator(lambda value: _MODELS if isinstance(value, dict) and "model" in value else _NETWORKS),
]
Grids = Annotated[
    Annotated[OneGrid, Tag(_TABLE)] | Annotated[list[OneGrid], Field(min_length=1), Tag(_TABLES)],
    Discriminator(lambda value: _TABLES if isinstance(value, list) else _TABLE),
]


_FIELDS: dict[str, Any] = {name: (section, section()) for name, section in SECTIONS.items()}
_Sections: Any = create_model("_Sections", __base__=StrictTable, **_FIELDS)


class Experiment(_Sections):
    """One experiment file."""

    title: Annotated[StrictStr, AfterValidator(_one_line)]
    description: StrictStr = ""
    measure: list[MeasureName] = Field(min_length=1)
    figures: list[FigureName] = Field([])
    chains: Chains = Field({})
    grid: Grids
    limits: LimitSettings = LimitSettings()

    _name: str = PrivateAttr("")
    _sha256: str = PrivateAttr("")
    _sources: dict[Source, None] = PrivateAttr(default_factory=dict)

    @classmethod
    def load(cls, path: Path, *, bind: bool = True) -> "Experiment":
        """Read and validate `path`. With `bind`, also try each schedule on its network, which may take seconds.

        Schedules of others are not tried, because that would run their code. Their files are read.

        Raises:
            ValueError: a line for each problem, naming the file, the key and the value.
        """
        _require_plain_name(path)
        content = read_bytes(path)
        try:
            experiment = cls.model_validate(parse(path, content))
        except ValidationError as error:
            raise _problems(path, error.errors(include_url=False), _describe) from None
        if bind:
            problems = list(dict.fromkeys(experiment._read_sources(path.parent))) or experiment._unserved()
            if unserved := [f"grid: {problem}" for problem in dict.fromkeys(problems)]:
                raise _problems(path, unserved, str)
        experiment._name = path.stem
        experiment._sha256 = hashlib.sha256(content).hexdigest()
        return experiment

    @property
    def name(self) -> str:
        """The file's name without `.toml`. The folder of its results has the same name."""
        return self._name

    @property
    def sha256(self) -> str:
        """The hash of the file as it was read."""
        return self._sha256

    @field_validator("grid")
    @classmethod
    def _names_become_layers(cls, grid: Any, told: ValidationInfo) -> Any:
        if "chains" not in told.data:  # something is wrong with them, which is told
            return grid
        if isinstance(grid, list):
            return [cls._names_become_layers(one, told) for one in grid]
        return grid.with_chains(told.data["chains"]) if isinstance(grid, Grid) else grid

    @model_validator(mode="after")
    def _nothing_is_measured_twice(self) -> "Experiment":
        if len(set(self.measure)) < len(self.measure):
            raise ValueError(f"measure: must not list a measure twice, got {shown(self.measure)}")
        return self

    @model_validator(mode="after")
    def _figures_have_their_tables(self) -> "Experiment":
        for figure in self.figures:
            missing = [need for need in FIGURES[figure].needs if need not in self.measure]
            if missing:
                raise ValueError(f"figures: {figure} is drawn from {', '.join(missing)}, which measure does not list")
        return self

    @model_validator(mode="after")
    def _sections_are_used(self) -> "Experiment":
        for section in SECTIONS:
            if section in self.model_fields_set and section not in self.measure:
                raise ValueError(f'{section}: has no effect, because measure does not list "{section}"')
        return self

    @model_validator(mode="after")
    def _chains_are_used(self) -> "Experiment":
        used = {layers for grid in self._grids if isinstance(grid, Grid) for layers in grid.layers}
        for name, layers in self.chains.items():
            if layers not in used:
                raise ValueError(f"chains.{name}: has no effect, because no grid lists it")
        return self

    @model_validator(mode="after")
    def _peers_are_measured_as_peers(self) -> "Experiment":
        others = [measure for measure in self.measure if measure not in PEER_MEASURES]
        if others and any(grid.peer for grid in self._grids if isinstance(grid, Grid)):
            raise ValueError(f"grid: peer has only the measures {', '.join(PEER_MEASURES)}, not {', '.join(others)}")
        return self

    @model_validator(mode="after")
    def _models_are_measured_as_models(self) -> "Experiment":
        for grid in self._grids:
            unfit = [name for name in self.measure if isinstance(grid, ModelGrid) != (name in MODEL_MEASURES)]
            if unfit:
                raise ValueError(
                    f"grid: models have only the measures {', '.join(MODEL_MEASURES)}, and networks have all others; "
                    f"measure lists {', '.join(unfit)}"
                )
        return self

    @model_validator(mode="after")
    def _cells_can_be_held(self) -> "Experiment":
        cells = sum(grid.size for grid in self._grids)
        if cells > MOST_CELLS:
            raise ValueError(
                f"grid: has {cells:,} cells, the product of its lists; an experiment has {MOST_CELLS:,} at most"
            )
        return self

    @model_validator(mode="after")
    def _digits_fit(self) -> "Experiment":
        networks = [grid for grid in self._grids if isinstance(grid, Grid) and "training" in self.measure]
        for text in [text for grid in networks for text in grid.layers]:
            widths = parse_layers(text)
            if (widths[0], widths[-1]) != (DIGITS_INPUTS, DIGITS_CLASSES):
                raise ValueError(
                    f"grid: layers must start with {DIGITS_INPUTS} and end with {DIGITS_CLASSES} "
                    f"to be trained on the digits, got {shown(text)}"
                )
        return self

    @property
    def _grids(self) -> list[Grid | ModelGrid]:
        return self.grid if isinstance(self.grid, list) else [self.grid]

    def cells(self) -> list[AnyCell]:
        """The cells of every grid, each once. The variants of a comparison group are neighbours."""
        return [cell for cells in self._groups for cell in cells]

    @property
    def frameworks(self) -> list[str]:
        """The names of the other frameworks whose steps are measured."""
        return sorted({cell.framework for cell in self.cells()} - {OWN})

    @cached_property
    def _groups(self) -> list[list[AnyCell]]:
        groups: dict[AnyCell, dict[AnyCell, None]] = {}
        for cell in (cell for grid in self._grids for cell in grid.cells()):
            groups.setdefault(cell.store_all, {})[cell.with_sources(self._sources)] = None
        return [list(cells) for cells in groups.values()]

    def _read_sources(self, folder: Path) -> Iterator[str]:
        """Read the files of schedules and models that the grids name, from `folder`. Yield a line for each problem."""
        for grid in self._grids:
            named = grid.model if isinstance(grid, ModelGrid) else grid.schedule
            read = _model_source if isinstance(grid, ModelGrid) else read_sources
            for text in named:
                try:
                    self._sources.update(dict.fromkeys(read(text, folder)))
                except ValueError as error:
                    yield str(error)

    def _unserved(self) -> Iterator[str]:
        """A line for each step whose numbers exceed 64 bits, or whose schedule cannot serve its network."""
        networks = (cell for job in self.jobs() for cell in job.cells if isinstance(cell, Cell))
        cells = (cell.store_all if cell.peer else replace(cell, seed=0) for cell in networks)
        for cell in dict.fromkeys(cells):
            said = f"layers {cut(cell.layers)}"
            try:
                chain = cell.chain
                if cell.schedule and not is_strange(cell.schedule):
                    said = f"{cell.schedule} cannot serve {said}"
                    parse_schedule(cell.schedule)(chain)
            except ValueError as error:
                yield f"{said}: {error}"

    def jobs(self) -> list[Job]:
        """All jobs, in the order of `MEASURES` and then of the grid."""
        return [job for measure in MEASURES.values() if measure.name in self.measure for job in self._jobs_of(measure)]

    def _jobs_of(self, measure: Measure) -> Iterator[Job]:
        settings = self.settings(measure.name)
        for group in self._groups:
            cells = list(dict.fromkeys(cell.with_parameters(measure.fixed) for cell in group))
            if measure.job_of == "group":
                yield Job(measure=measure.name, cells=tuple(cells), settings=settings)
            else:
                for cell, allocator in product(cells, measure.allocators or [None]):
                    told = {"allocator": allocator} if allocator else {}
                    yield Job(measure=measure.name, cells=(cell,), settings=settings | told)

    def settings(self, measure: str) -> dict[str, Any]:
        """The settings in the measure's section. Empty if it has no section."""
        return getattr(self, measure).model_dump() if measure in SECTIONS else {}


def _model_source(text: str, folder: Path) -> tuple[Source]:
    return (Source.read(file_and_function(text)[0], folder),)


def _problems(path: Path, problems: list[Any], describe: Callable[[Any], str]) -> ValueError:
    """A line for each problem, up to `MOST_TOLD`."""
    more = len(problems) - MOST_TOLD
    told = [*map(describe, problems[:MOST_TOLD]), *([f"and {more:,} more problems"] if more > 0 else [])]
    return ValueError("\n".join(f"{path}: {problem}" for problem in told))


def _require_plain_name(path: Path) -> None:
    """Results go to a folder of the file's name, so the name must not be hidden or a special one such as `..`."""
    if path.stem.startswith(".") or not path.stem.isprintable():
        raise ValueError(
            f"{str(path)!r}: an experiment's file must be named like growth.toml, with no dot in front and all of it "
            f"printable, got {path.name!r}; rename it"
        )


def _describe(error: dict[str, Any]) -> str:
    """One line for a problem that pydantic found: the path of the key, what it must be, and the value."""
    grid = ModelGrid if _MODELS in error["loc"][:4] else Grid
    location = list(error["loc"])
    if location[:1] == ["grid"]:
        kind_of_grid = 3 if _TABLES in location[1:2] else 2
        del location[kind_of_grid : kind_of_grid + 1], location[1:2]
    kind, context = error["type"], error.get("ctx", {})
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{_key(part)}" for part in location).lstrip(".")
    match kind:
        case "missing":
            phrase = "is missing"
        case "extra_forbidden":
            keys = _keys_beside(location, grid)
            phrase = f"is not a key here; the keys are {', '.join(keys)}{did_you_mean(location[-1], keys)}"
        case "too_short":
            phrase = "must not be empty"
        case "value_error":
            phrase = str(context["error"])
        case "literal_error":
            known = re.findall("'([^']*)'", context["expected"])
            phrase = f"must be {context['expected']}, got {shown(error['input'])}{did_you_mean(error['input'], known)}"
        case _:
            expected = {"list_type": "a list", "string_type": "a string"}
            phrase = f"must be {expected.get(kind, 'a table')}, got {shown(error['input'])}"
    return f"{path}: {phrase}" if path else phrase


def _key(name: str) -> str:
    """A key as a file has it: quoted if it has more than letters, digits, dashes and underscores."""
    return name if re.fullmatch("[A-Za-z0-9_-]{1,100}", name) else shown(name)


def _keys_beside(location: list[str | int], grid: type[BaseModel]) -> list[str]:
    tables: dict[Any, type[BaseModel]] = {"grid": grid, "limits": LimitSettings, **SECTIONS}
    table = tables[location[0]] if len(location) > 1 else Experiment
    return sorted(table.model_fields, key=lambda name: name in SECTIONS)
