"""The `[grid]` of an experiment with users' own PyTorch models."""

from collections.abc import Iterator
from itertools import product
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StrictStr

from harness.experiment.model_cell import PLAIN, PLANNED, ModelCell, budget_between, names_model
from harness.experiment.settings import Size, StrictTable, number
from networks.wording import shown


def _budget(text: str) -> str:
    try:
        budget_between(0, 1, text)
    except ValueError:
        raise ValueError(
            "must be a size such as '17MB', or a share from '0%', the smallest budget that can be met, to '100%', the "
            f"peak of plain autograd, got {shown(text)}"
        ) from None
    return text


def _model(text: str) -> str:
    if not names_model(text):
        raise ValueError(f"must name a file and its function, such as my_model.py:make, got {shown(text)}")
    return text


Fraction = Annotated[float, number("a number from 0 to 1", lambda value: 0 <= value <= 1)]


class ModelGrid(StrictTable):
    """The dimensions: each model with each cut into `blocks` and each kind of `gradients`.

    Each of these is trained by plain autograd, by `torch.utils.checkpoint` around every n blocks, by `torch.compile`
    with each `activation_memory_budget`, and by our plan within each `budget`. Without `blocks` the model's function
    says how it is cut.
    """

    model: list[Annotated[StrictStr, AfterValidator(_model)]] = Field(min_length=1)
    blocks: list[StrictStr] = Field([])
    torch_checkpoint: list[Size] = Field([])
    torch_compile: list[Fraction] = Field([])
    budget: list[Annotated[StrictStr, AfterValidator(_budget)]] = Field([])
    gradients: list[Literal["kept", "freed"]] = Field(["kept"], min_length=1)

    def cells(self) -> Iterator[ModelCell]:
        """Every combination. One that is listed twice comes twice."""
        for model, blocks, gradients in product(self.model, self._cuts, self.gradients):
            for variant in self._variants():
                yield ModelCell(model=model, blocks=blocks, gradients=gradients, **variant)

    @property
    def size(self) -> int:
        """How many `cells` there are."""
        variants = 1 + len(self.torch_checkpoint) + len(self.torch_compile) + len(self.budget)
        return len(self.model) * len(self._cuts) * len(self.gradients) * variants

    @property
    def _cuts(self) -> list[Any]:
        return self.blocks or [None]

    def _variants(self) -> Iterator[dict[str, Any]]:
        yield {"variant": PLAIN, "budget": None}
        yield from ({"variant": f"torch_checkpoint({every})", "budget": None} for every in self.torch_checkpoint)
        yield from ({"variant": f"torch_compile({float(share)})", "budget": None} for share in self.torch_compile)
        yield from ({"variant": PLANNED, "budget": budget} for budget in self.budget)
