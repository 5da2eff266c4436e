"""One cell of a grid of users' own PyTorch models: plain data, like `harness.experiment.cell` for networks."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, ClassVar

from harness.experiment.cell import digest
from harness.sizes import parse_bytes
from networks.schedules.foreign import Source
from networks.schedules.spec import calls_in

PLAIN, PLANNED = "plain", "planned"
"""Two variants: plain autograd, and our plan within a budget. Others are PyTorch's own: `torch_checkpoint(3)`."""

CODE = ("networks.torch_models.planned_model", "harness.worker.models.measures", "harness.worker.models.grid")
"""The modules that run and measure a model. They and their imports are a cell's own code."""


_SHARE = re.compile(r"(?P<percent>100|[0-9]{1,2})%")


def budget_between(smallest_bytes: int, plain_bytes: int, budget: str) -> int:
    """The bytes of a budget: a size, or a share of the way from smallest to plain. Raises ValueError."""
    if share := _SHARE.fullmatch(budget):
        return smallest_bytes + (plain_bytes - smallest_bytes) * int(share["percent"]) // 100
    return parse_bytes(budget)


def file_and_function(text: str) -> tuple[str, str]:
    """The two of a model that is written `FILE.py:FUNCTION`."""
    file, _, function = text.rpartition(":")
    return file, function


def names_model(text: str) -> bool:
    """Whether `text` has the form `FILE.py:FUNCTION`."""
    file, function = file_and_function(text)
    return file.endswith(".py") and function.isidentifier()


def variant_of(text: str) -> Any:
    """A variant without a plan, as workers take it: "plain", or for example {"torch_checkpoint": 3}."""
    if text == PLAIN:
        return PLAIN
    (call,) = calls_in(text)
    return {call.name: call.arguments[0]}


@dataclass(frozen=True, kw_only=True)
class ModelCell:
    """Every parameter of one training step of one model.

    A model has no `schedule` of the registry, and is no `peer`.

    Attributes:
        model: a `FILE.py:FUNCTION`.
        blocks: how the model is cut: a path or `auto`. None for the function's blocks, or a Sequential's children.
        variant: "plain", "planned", or one of PyTorch's own such as "torch_checkpoint(3)".
        budget: of a planned step. A size such as `17MB`, or a share such as `30%` of the way from the smallest budget
            that can be met to plain autograd's peak.
        gradients: `kept` until the step ends, or `freed`, each as soon as it is complete.
        sources: the model's file as it was read. It is no parameter.
    """

    model: str
    blocks: str | None
    variant: str
    budget: str | None
    gradients: str
    sources: tuple[Source, ...] = ()

    schedule: ClassVar[None] = None
    peer: ClassVar[None] = None
    framework: ClassVar[str] = "torch"

    @property
    def parameters(self) -> dict[str, Any]:
        """All parameters by name."""
        return {name: getattr(self, name) for name in MODEL_PARAMETERS}

    @cached_property
    def cell_id(self) -> str:
        return digest(self.parameters)

    @property
    def store_all(self) -> "ModelCell":
        """The plain step of the model. It also names the group of this cell."""
        return replace(self, blocks=None, variant=PLAIN, budget=None, gradients="kept", sources=())

    @property
    def file(self) -> str:
        """The model's file."""
        return file_and_function(self.model)[0]

    @property
    def schedules(self) -> tuple[str, ...]:
        """The places of the cell's own code: the model's file, and the modules that run it."""
        return (self.file, *CODE)

    def with_parameters(self, parameters: Mapping[str, Any]) -> "ModelCell":
        """The cell with these parameters in place of its own."""
        return replace(self, **parameters)

    def with_sources(self, sources: Iterable[Source]) -> "ModelCell":
        """The cell with the model's file."""
        own = tuple(source for source in sources if source.path == self.file)
        return replace(self, sources=own) if own else self

    @property
    def setting(self) -> str:
        """The parameters that the cells of a group share, in words."""
        return self.model.rpartition("/")[2]

    @property
    def told(self) -> str:
        """The cell's difference from others of its group, in words."""
        budget = [f"within {self.budget}"] if self.budget else []
        blocks = [f"blocks {self.blocks}"] if self.blocks else []
        return ", ".join([" ".join([self.variant, *budget]), *blocks, f"gradients {self.gradients}"])


MODEL_PARAMETERS = tuple(parameter.name for parameter in fields(ModelCell) if parameter.name != "sources")
