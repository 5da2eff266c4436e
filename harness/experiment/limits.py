"""What a cell may take: seconds, and bytes."""

from dataclasses import dataclass

LONGEST_SECONDS = 24 * 24 * 60 * 60
"""The longest that a worker is waited for, 24 days: the system takes at most 2^31 milliseconds."""

SECONDS = f"a number of seconds above 0 and at most {LONGEST_SECONDS} (24 days)"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The limits of a cell; None is none. They end a measurement but change none, so they are no part of its key.

    Attributes:
        timeout: seconds; a worker that measures several cells has this for each of them, and 24 days at most.
        memory_limit: bytes that the worker's process may reserve, touched or not, interpreter and libraries included.
    """

    timeout: float | None = None
    memory_limit: int | None = None

    def __post_init__(self) -> None:
        if self.timeout is not None and not are_seconds(self.timeout):
            raise ValueError(f"timeout must be {SECONDS}, got {self.timeout}")

    def seconds(self, cells: int) -> float | None:
        """What a worker of so many cells has; None is no limit, which a worker of none has as well."""
        return min(self.timeout * cells, LONGEST_SECONDS) if self.timeout and cells else None

    def settle(self, status: str, earlier: "Limits") -> bool:
        """Whether a cell that ended with `status` under `earlier` limits is done with: no laxer limit is given now."""
        if status == "timeout":
            return _within(self.timeout, earlier.timeout)
        if status == "out_of_memory":
            return _within(self.memory_limit, earlier.memory_limit)
        return status == "ok"


NO_LIMITS = Limits()


def are_seconds(value: float) -> bool:
    """Whether a time limit may be `value`."""
    return 0 < value <= LONGEST_SECONDS


def _within(limit: float | None, earlier: float | None) -> bool:
    return limit is not None and earlier is not None and limit <= earlier
