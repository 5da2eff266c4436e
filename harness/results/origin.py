"""Where a row comes from: what it depends on beside the settings of its cell."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where rows come from. An environment.json tells the same of a whole set.

    Attributes:
        code: a hash of the code that every row comes from.
        schedules: by name, a hash of the own code of each schedule that the cells run.
        machine: as `provenance.machine` tells it.
        machine_id: which one of its kind the machine is; empty where that is not told.
        variables: of the process that measured; of a set, by measure.
    """

    code: str
    schedules: Mapping[str, str]
    machine: Mapping[str, Any]
    machine_id: str = ""
    variables: Mapping[str, Any]

    def differences(self, other: "Origin") -> list[str]:
        """What has changed from this origin to another, a line each, for people.

        Only schedules that both run are compared.
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
        """What is published of it: never the machine's own name."""
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
        case None:  # as good as not there
            pass
        case _:
            yield name, value
