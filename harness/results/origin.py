"""The origin of a row: what it depends on beside the parameters of its cell."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Origin:
    """The origin of rows. An environment.json has the origin of a whole set.

    Attributes:
        code: a hash of the code that every row depends on.
        schedules: for each schedule that the cells run, a hash of its own code, by name.
        machine: the machine, as in `provenance.machine`.
        machine_id: tells machines of one kind apart. Empty if it is unknown.
        variables: environment variables of the measuring process. For a set, by measure.
    """

    code: str
    schedules: Mapping[str, str]
    machine: Mapping[str, Any]
    machine_id: str = ""
    variables: Mapping[str, Any]

    def differences(self, other: "Origin") -> list[str]:
        """A line for each change from this origin to another.

        Only schedules in both origins are compared.
        """
        lines = []
        if self.code != other.code:
            lines.append(_changed("the measured code", self.code, other.code))
        for name in self.schedules:
            if name in other.schedules and self.schedules[name] != other.schedules[name]:
                lines.append(_changed(f"the code of {name}", self.schedules[name], other.schedules[name]))
        for part in ("machine", "variables"):
            before, after = (dict(_leaves(part, getattr(origin, part))) for origin in (self, other))
            names = (name for name in {**before, **after} if before.get(name) != after.get(name))
            lines += [f"{name}: {before.get(name, 'nothing')} -> {after.get(name, 'nothing')}" for name in names]
        if self.machine_id != other.machine_id:
            lines.append("another machine")
        return lines

    def told(self) -> dict[str, Any]:
        """The published part of the origin, without the machine's own name."""
        return {part: value for part, value in asdict(self).items() if part != "machine_id"}


def _changed(what: str, was: str, now: str) -> str:
    return f"{what} has changed (was {was[:8]}, is {now[:8]})"


def _leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    match value:
        case dict():
            for key, inner in value.items():
                yield from _leaves(f"{name}.{key}", inner)
        case list():
            for number, inner in enumerate(value):
                yield from _leaves(f"{name}.{number}", inner)
        case None:  # the same as a missing value
            pass
        case _:
            yield name, value
