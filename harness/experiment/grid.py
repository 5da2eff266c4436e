"""The `[grid]` of an experiment file: its dimensions, checks of their values, and its cells."""

import math
from collections.abc import Iterator, Mapping, Sized
from itertools import product
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StrictStr, model_validator

from harness.experiment.cell import Cell
from harness.experiment.chains import LayersOrName, layers_of
from harness.experiment.frameworks import PEERS
from harness.experiment.settings import Seed, Size, StrictTable, word
from networks.schedules.spec import calls_in, parse_schedule, require_known
from networks.trace import MOST_PARTS

PeerText = Annotated[str, word(PEERS)]


def _name_of(text: str) -> str:
    """The name by which workers make the schedule again. A stranger's code is not run, so its name is its call."""
    calls = calls_in(text)
    if any(call.is_strange for call in calls):
        for call in calls:
            require_known(call)
        return str(calls[0])
    name = parse_schedule(text).__name__
    try:
        parse_schedule(name)
    except ValueError:
        raise ValueError(f"{text}: the schedule's __name__ must be the call that makes it, got {name!r}") from None
    return name


ScheduleText = Annotated[StrictStr, AfterValidator(_name_of)]


class Grid(StrictTable):
    """The dimensions of a grid of networks.

    `NetworkWithCheckpointing` is trained with each `recompute` at each `checkpoint_frequency`, and by each `schedule`.
    A grid with schedules and without `checkpoint_frequency` has no frequencies. Each of these is run by each `step`,
    and by a `train_step` in parts of each `micro_batch`. Each `peer` is another framework's step, at each
    `checkpoint_frequency` if it takes one.
    """

    layers: list[LayersOrName] = Field(min_length=1)
    batch: list[Size] = Field(min_length=1)
    dtype: list[Literal["float32", "float64"]] = Field(["float32"], min_length=1)
    activation: list[Literal["relu", "sigmoid", "tanh"]] = Field(["relu"], min_length=1)
    network: list[Literal["Network", "NetworkWithCheckpointing"]] = Field(
        ["Network", "NetworkWithCheckpointing"], min_length=1
    )
    checkpoint_frequency: list[Size] = Field([2], min_length=1)
    recompute: list[Literal["segment", "each"]] = Field(["segment"], min_length=1)
    schedule: list[ScheduleText] = Field([])
    peer: list[PeerText] = Field([])
    step: list[Literal["backward", "train_step"]] = Field(["backward"], min_length=1)
    micro_batch: list[Size] = Field([])
    seed: list[Seed] = Field([0], min_length=1)

    def with_chains(self, chains: Mapping[str, str]) -> "Grid":
        """The grid with the layers of `chains` in place of their names. Raises ValueError for a name that none has."""
        return self.model_copy(update={"layers": [layers_of(text, chains) for text in self.layers]})

    def cells(self) -> Iterator[Cell]:
        """Every combination. One that is listed twice comes twice."""
        groups = product(self.layers, self.batch, self.dtype, self.activation, self.seed)
        for layers, batch, dtype, activation, seed in groups:
            for variant in self._variants():
                yield Cell(layers=layers, batch=batch, dtype=dtype, activation=activation, seed=seed, **variant)

    @property
    def size(self) -> int:
        """The number of `cells`, counted without making them."""
        own = len(self.recompute) * len(self._frequencies) + len(self.schedule)
        variants = ("Network" in self.network) + own * ("NetworkWithCheckpointing" in self.network)
        peers = sum(len(self.checkpoint_frequency) if PEERS[peer] else 1 for peer in self.peer)
        of_each = variants * (len(self.step) + len(self.micro_batch)) + peers
        groups: tuple[Sized, ...] = (self.layers, self.batch, self.dtype, self.activation, self.seed)
        return math.prod(map(len, groups)) * of_each

    @property
    def _frequencies(self) -> list[int]:
        asked = "checkpoint_frequency" in self.model_fields_set or not self.schedule
        return self.checkpoint_frequency if asked else []

    @model_validator(mode="after")
    def _recompute_is_used(self) -> "Grid":
        if "recompute" in self.model_fields_set and not self._frequencies:
            raise ValueError("recompute has no effect without checkpoint_frequency")
        return self

    @model_validator(mode="after")
    def _parts_are_parts(self) -> "Grid":
        if self.micro_batch and "train_step" not in self.step:
            raise ValueError(f'micro_batch has no effect without step = ["train_step"], got {self.step}')
        if self.micro_batch and max(self.micro_batch) >= min(self.batch):
            found = f"{max(self.micro_batch)} and a batch of {min(self.batch)}"
            raise ValueError(f"micro_batch must be less than each batch, got {found}")
        if self.micro_batch and max(self.batch) > MOST_PARTS * min(self.micro_batch):
            found = f"{min(self.micro_batch)} and a batch of {max(self.batch)}"
            raise ValueError(f"micro_batch must leave at most {MOST_PARTS:,} parts of each batch, got {found}")
        return self

    def _steps(self) -> Iterator[dict[str, Any]]:
        yield from ({"step": step} for step in self.step)
        yield from ({"step": "train_step", "micro_batch": rows} for rows in self.micro_batch)

    def _variants(self) -> Iterator[dict[str, Any]]:
        for schedule, step in product(self._schedules(), self._steps()):
            yield {**schedule, **step}
        for peer in self.peer:
            for frequency in self.checkpoint_frequency if PEERS[peer] else [None]:
                unused = {"recompute": None, "schedule": None}
                yield {**unused, "network": None, "peer": peer, "checkpoint_frequency": frequency}

    def _schedules(self) -> Iterator[dict[str, Any]]:
        none = {"checkpoint_frequency": None, "recompute": None, "schedule": None}
        if "Network" in self.network:
            yield {"network": "Network", **none}
        if "NetworkWithCheckpointing" in self.network:
            checkpointing = {"network": "NetworkWithCheckpointing", **none}
            for recompute, frequency in product(self.recompute, self._frequencies):
                yield {**checkpointing, "checkpoint_frequency": frequency, "recompute": recompute}
            for schedule in self.schedule:
                yield {**checkpointing, "schedule": schedule}
