"""Parts that plans of layers and of models share: the budget as it was typed, and how a plan is printed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.commands.tables import Columns, aligned, told_by
from harness.experiment.job import Row
from harness.sizes import format_bytes, parse_bytes
from networks.planning.bill import Bill


@dataclass(frozen=True)
class BudgetOption:
    """A budget as it was typed: of a step's peak, or of the whole bill if it is a `total`."""

    typed: str
    total: bool
    nbytes: int

    @classmethod
    def given(cls, budget: str | None, budget_total: str | None) -> "BudgetOption":
        """The one of the two options that was given. Raises ValueError for none, both, or no size."""
        if (budget is None) == (budget_total is None):
            one = "one" if budget is None else "only one"
            raise ValueError(f"{one} of --budget and --budget-total must be given")
        typed, total = budget or budget_total or "", budget is None
        return cls(typed, total, parse_bytes(typed, name=_option(total)))

    def __str__(self) -> str:
        return f"{_option(self.total)} {self.typed}"

    def of_a_step(self, bill: Bill) -> int:
        """The bytes that are left for a step. Raises ValueError if none are left."""
        if not self.total:
            return self.nbytes
        left = self.nbytes - bill.held_bytes
        if left < 1:
            raise ValueError(
                f"{self} leaves nothing for a step: parameters take {bill.parameters_bytes} bytes, the optimiser's "
                f"state {bill.optimizer_state_bytes} bytes and the data {bill.data_bytes} bytes"
            )
        return left


def _option(total: bool) -> str:
    return "--budget-total" if total else "--budget"


def table(columns: Columns, rows: Sequence[Row], *, width: int) -> str:
    """The rows as a table of at most `width` characters, between empty lines."""
    return f"\n{aligned(told_by(columns, rows), left=['schedule'], width=width)}\n"


def told_ratio(row: Row) -> str:
    """A measured ratio of times with its interval; nothing where none was measured."""
    if "time_ratio" not in row:
        return ""
    return "{time_ratio:.3f} [{time_ratio_low:.3f}, {time_ratio_high:.3f}]".format(**row)


def bill_line(bill: Mapping[str, Any]) -> str:
    """All bytes that a training holds, in a line."""
    size = {name: format_bytes(nbytes) for name, nbytes in bill.items() if name.endswith("_bytes")}
    return (
        f"the whole bill: parameters {size['parameters_bytes']}, state of {bill['optimizer']} "
        f"{size['optimizer_state_bytes']}, data {size['data_bytes']}, and the larger of step {size['step_bytes']} and "
        f"update {size['update_bytes']}; in all {in_full(bill['total_bytes'])}"
    )


def in_full(nbytes: int) -> str:
    """A number of bytes in a unit for people, and in full."""
    return f"{format_bytes(nbytes)} ({nbytes:,} bytes)"
