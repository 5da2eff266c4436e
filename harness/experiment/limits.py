"""Limits of a cell: seconds and bytes."""

from dataclasses import dataclass

LONGEST_SECONDS = 24 * 24 * 60 * 60
"""The longest time to wait for a worker: 24 days, because the system takes at most 2^31 milliseconds."""

SECONDS = f"a number of seconds above 0 and at most {LONGEST_SECONDS} (24 days)"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The limits of a cell. None is no limit.

    A limit can end a measurement, but it changes no number. So limits are no part of a job's name.

    Attributes:
        timeout: seconds. A worker of several cells has this time for each of them, and 24 days at most.
        memory_limit: bytes that the worker's process may reserve, including interpreter and libraries.
    """

    timeout: float | None = None
    memory_limit: int | None = None

    def __post_init__(self) -> None:
        if self.timeout is not None and not are_seconds(self.timeout):
            raise ValueError(f"timeout must be {SECONDS}, got {self.timeout}")

    def overridden(self, *, timeout: float | None, memory_limit: int | None) -> "Limits":
        """These limits, with the given ones in their place. None leaves a limit as it is."""
        return Limits(
            timeout=self.timeout if timeout is None else timeout,
            memory_limit=self.memory_limit if memory_limit is None else memory_limit,
        )

    def seconds(self, cells: int) -> float | None:
        """The time of a worker of so many cells. None is no limit. A worker without cells has none."""
        return min(self.timeout * cells, LONGEST_SECONDS) if self.timeout and cells else None

    def settle(self, status: str, earlier: "Limits") -> bool:
        """Whether the result of a cell that ended with `status` under `earlier` limits is final.

        It is not if a larger limit is given now.
        """
        if status == "timeout":
            return _within(self.timeout, earlier.timeout)
        if status == "out_of_memory":
            return _within(self.memory_limit, earlier.memory_limit)
        return status == "ok"


NO_LIMITS = Limits()


def are_seconds(value: float) -> bool:
    """Whether `value` can be a time limit."""
    return 0 < value <= LONGEST_SECONDS


def _within(limit: float | None, earlier: float | None) -> bool:
    return limit is not None and earlier is not None and limit <= earlier
