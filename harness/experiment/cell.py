"""One cell of a grid: plain data, with a name made from its content."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np

from harness.experiment.frameworks import OWN, PEERS, STORE_ALL
from networks.chain import Chain
from networks.layer_lists import format_layers, parse_layers
from networks.schedules.foreign import Source
from networks.schedules.spec import calls_in, parse_schedule


def digest(content: Any) -> str:
    """A short name for JSON data. The same content has the same name on every machine."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """Every parameter of one run of one network.

    Parameters that a cell does not have are None.

    Attributes:
        network: `Network`, which is store-all, or `NetworkWithCheckpointing`. None for another framework's step.
        layers: the widths in short form, such as `64,128x32,10`.
        checkpoint_frequency: n, where the step keeps every n-th output. A network with it has no `schedule`.
        recompute: "segment" or "each". Only a network with a `checkpoint_frequency` has it.
        schedule: a call such as `revolve(slots=4)`.
        step: how the step ends, "backward" or "train_step".
        micro_batch: most rows of a part of a train_step. None is the whole batch.
        peer: another framework's step, such as `torch.checkpoint`.
        sources: the files that the schedule's text names, as they were read. They are no parameter.
    """

    network: str | None
    layers: str
    batch: int
    dtype: str
    activation: str
    checkpoint_frequency: int | None
    recompute: str | None
    schedule: str | None
    step: str = "backward"
    micro_batch: int | None = None
    seed: int
    peer: str | None = None
    sources: tuple[Source, ...] = ()

    @property
    def parameters(self) -> dict[str, Any]:
        """All parameters by name."""
        return {name: getattr(self, name) for name in PARAMETERS}

    @property
    def widths(self) -> tuple[int, ...]:
        """The layer list itself: `(64, 128, .., 10)`."""
        return parse_layers(self.layers)

    @property
    def depth(self) -> int:
        """L, the number of layers (weight matrices)."""
        return len(self.widths) - 1

    @property
    def width(self) -> int:
        """The width of the widest hidden layer. 0 if there is none."""
        return max(self.widths[1:-1], default=0)

    @property
    def hidden_bytes(self) -> int:
        """Bytes of the output of the widest hidden layer."""
        return self.batch * self.width * np.dtype(self.dtype).itemsize

    @cached_property
    def cell_id(self) -> str:
        return digest(self.parameters)

    @property
    def store_all(self) -> "Cell":
        """The same network by store-all. This cell is compared with it. It also names the group of this cell."""
        return replace(
            self,
            network="Network",
            checkpoint_frequency=None,
            recompute=None,
            schedule=None,
            step="backward",
            micro_batch=None,
            peer=None,
            sources=(),
        )

    @cached_property
    def chain(self) -> Chain:
        """The sizes that a schedule works with. They are those of a part if the step is run in parts."""
        rows, part_of = (self.batch, None) if self.micro_batch is None else (self.micro_batch, self.batch)
        piling_up = self.step == "backward"
        return Chain(self.widths, rows, np.dtype(self.dtype).itemsize, piling_up, part_of)

    @property
    def checkpointing(self) -> dict[str, Any]:
        """The options of `NetworkWithCheckpointing` that `Network` does not have. Empty for `Network`."""
        if self.schedule is not None:
            return {"schedule": parse_schedule(self.schedule, self.sources)}
        if self.checkpoint_frequency is not None:
            return {"checkpoint_frequency": self.checkpoint_frequency, "recompute": self.recompute}
        return {}

    @property
    def schedules(self) -> tuple[str, ...]:
        """The places of the code of the schedules that the cell runs: names of the registry, files and modules."""
        if self.schedule is not None:
            return tuple(dict.fromkeys(call.code for call in calls_in(self.schedule)))
        return () if self.checkpoint_frequency is None or self.peer else ("periodic",)

    def scheduled(self, text: str, sources: Iterable[Source] = ()) -> "Cell":
        """The same step by the schedule `text`. Its files are among the `sources`."""
        return replace(self, network="NetworkWithCheckpointing", schedule=text).with_sources(sources)

    def with_parameters(self, parameters: Mapping[str, Any]) -> "Cell":
        """The cell with these parameters in place of its own."""
        return replace(self, **parameters)

    def with_sources(self, sources: Iterable[Source]) -> "Cell":
        """The cell with those `sources` that its schedule's text names."""
        own = tuple(source for source in sources if source.path in self.schedules)
        return replace(self, sources=own) if own else self

    @property
    def framework(self) -> str:
        """The framework that runs the step. `networks` is this project."""
        return self.peer.partition(".")[0] if self.peer else OWN

    @property
    def setting(self) -> str:
        """The parameters that the cells of a group share, in words."""
        return f"{self.layers}, batch {self.batch}, {self.dtype}"

    @property
    def told(self) -> str:
        """The cell's difference from others of its group, in words."""
        return self.variant if self.peer is None else f"{self.framework} {self.variant}"

    @property
    def variant(self) -> str:
        """The cell's difference from others of its group and framework, in words."""
        if self.peer is not None:
            name = self.peer.partition(".")[2]
            return f"{name} checkpoint_frequency={self.checkpoint_frequency}" if PEERS[self.peer] else name
        name = self.schedule or STORE_ALL
        if self.checkpoint_frequency is not None:
            name = f"checkpoint_frequency={self.checkpoint_frequency} recompute={self.recompute}"
        if self.micro_batch is not None:
            return f"{name} micro_batch={self.micro_batch}"
        return name if self.step == "backward" else f"{name} {self.step}"


def own_cell(layers: Iterable[int], *, batch: int, dtype: str, step: str, micro_batch: int | None = None) -> Cell:
    """The cell of a step of `Network`. `Cell.scheduled` gives it a schedule."""
    return Cell(
        network="Network",
        layers=format_layers(layers),
        batch=batch,
        dtype=dtype,
        activation="relu",
        checkpoint_frequency=None,
        recompute=None,
        schedule=None,
        step=step,
        micro_batch=micro_batch,
        seed=0,
    )


PARAMETERS = tuple(parameter.name for parameter in fields(Cell) if parameter.name != "sources")
