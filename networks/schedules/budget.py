"""A budget in bytes: a number, or what a step by another schedule takes, times a factor.

`budget_of="revolve(slots=3)"` is the peak of that schedule's step on the same chain. It is found by replay when the
schedule is bound, so a schedule with such a budget is a function of its chain like any other, and the budget follows
the network and the batch. `budget_of="store_all()*0.5"` is half of store-all's peak, rounded down to a whole byte.
"""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from networks.chain import Chain
from networks.checks import check_count
from networks.schedules.replay import replay
from networks.schedules.signature import Keep
from networks.schedules.spec import parse_schedule, split_factor

BUDGETS = ("budget_bytes", "budget_of")
"""The arguments that give a schedule its budget, one or the other."""


@dataclass(frozen=True)
class Budget:
    """Either `nbytes`, or the peak of the schedule `of` times the `factor`.

    `str` gives the argument that makes it, such as `budget_bytes=4096` or `budget_of='sqrt()*0.5'`.
    """

    nbytes: int | None = None
    of: Callable[..., Keep] | None = None
    factor: str = "1"

    def on(self, chain: Chain) -> int:
        """The bytes that a step of `chain` may take.

        The replay's peak equals the dry run's, except for a batch in exactly two parts, where it may be larger. There
        each part counts the sums of all weight gradients, although only parts between the first and the last hold them
        all to the end.
        """
        return self.by(lambda schedule: replay(chain, schedule(chain)).peak_bytes)

    def by(self, peak_bytes_of: Callable[[Callable[..., Keep]], int]) -> int:
        """The bytes of a step, where the peak of a step by another schedule is what `peak_bytes_of` says."""
        if self.of is None:
            assert self.nbytes is not None  # one of the two is given
            return self.nbytes
        return int(peak_bytes_of(self.of) * Fraction(self.factor))

    def __str__(self) -> str:
        if self.of is None:
            return f"budget_bytes={self.nbytes}"
        times = "" if self.factor == "1" else f"*{self.factor}"
        return f"budget_of={self.of.__name__ + times!r}"


def budget(
    budget_bytes: int | None, budget_of: str | None, *, parse: Callable[[str], Callable[..., Keep]] = parse_schedule
) -> Budget:
    """The budget that one of these two arguments of a schedule says; the other is None. `parse` reads a schedule.

    Raises ValueError where both are given or neither, and where `budget_of` is not `SCHEDULE` or `SCHEDULE*FACTOR`.
    """
    if (budget_bytes is None) == (budget_of is None):
        raise ValueError(
            f"exactly one of budget_bytes and budget_of must be given, got {budget_bytes=} and {budget_of=}"
        )
    if budget_of is None:
        return Budget(check_count("budget_bytes", budget_bytes))
    if not isinstance(budget_of, str):
        raise ValueError(f"budget_of must be text such as 'revolve(slots=3)' or 'sqrt()*0.5', got {budget_of!r}")
    schedule, factor = split_factor(budget_of)
    whole, _, part = factor.partition(".")
    factor = f"{int(whole)}.{part}".rstrip("0").rstrip(".")
    if factor == "0":
        raise ValueError(f"budget_of={budget_of!r} is no bytes at all; the factor must be above 0")
    try:
        return Budget(of=parse(schedule), factor=factor)
    except ValueError as error:
        raise ValueError(f"budget_of={budget_of!r}: {error}; a factor may follow, as in 'sqrt()*0.5'") from None
