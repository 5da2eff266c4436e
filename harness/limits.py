"""What a cell may take: seconds, and bytes."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The limits of a cell; None is none. They end a measurement but change none, so they are no part of its key.

    Attributes:
        timeout: seconds; a worker that measures several cells has this for each of them.
        memory_limit: bytes that the worker's process may reserve, touched or not, interpreter and libraries included.
    """

    timeout: float | None = None
    memory_limit: int | None = None

    def __post_init__(self) -> None:
        if self.timeout is not None and not 0 < self.timeout < float("inf"):
            raise ValueError(f"timeout must be a number of seconds above 0, got {self.timeout}")

    def settle(self, status: str, earlier: "Limits") -> bool:
        """Whether a cell that ended with `status` under `earlier` limits is done with: no laxer limit is given now."""
        if status == "timeout":
            return _within(self.timeout, earlier.timeout)
        if status == "out_of_memory":
            return _within(self.memory_limit, earlier.memory_limit)
        return status == "ok"


NO_LIMITS = Limits()


def _within(limit: float | None, earlier: float | None) -> bool:
    return None not in (limit, earlier) and limit <= earlier
