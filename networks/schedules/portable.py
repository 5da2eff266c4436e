"""Schedules in copies and pickles, although they are closures."""

import pickle
from dataclasses import dataclass
from typing import Any

from networks.schedules import FACTORIES
from networks.schedules.signature import Schedule
from networks.schedules.spec import is_strange, parse_schedule


@dataclass(frozen=True)
class _Portable:
    """A schedule as a copy or a pickle holds it: itself in a copy, in a pickle its text, or the name of a function."""

    schedule: Schedule | None

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Portable":
        return self

    def __reduce__(self) -> tuple[Any, tuple[Any]]:
        name = schedule_name(self.schedule)
        if _is_made_by(name, self.schedule):
            return _parsed, (name,)
        try:
            pickle.dumps(self.schedule)
        except (pickle.PicklingError, AttributeError, TypeError):
            raise pickle.PicklingError(
                f"schedule {name} cannot be pickled: it is not one of {', '.join(FACTORIES)}, and its module has no "
                "function of that name. Define it at the top of its module, or save the parameters alone by save(path)"
            ) from None
        return _Portable, (self.schedule,)


def _parsed(text: str) -> _Portable:
    return _Portable(parse_schedule(text))


def _is_made_by(text: str, schedule: Schedule | None) -> bool:
    """Whether `text` makes this schedule, and not only one of its name; a stranger's code may be another tomorrow."""
    try:
        if is_strange(text):
            return False
        made = parse_schedule(text)
    except ValueError:
        return False
    return type(made) is type(schedule) and made.__qualname__ == schedule.__qualname__


def schedule_name(schedule: Schedule | None) -> str:
    """The text that makes a schedule of the registry; the name of any other."""
    return getattr(schedule, "__name__", repr(schedule))


class HasSchedule:
    """What has a `schedule` can be pickled, although schedules are closures, and copied. A copy shares the schedule."""

    schedule: Schedule | None

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()  # type: ignore[assignment]  # without slots it is one
        return state | {"schedule": _Portable(self.schedule)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, schedule=state["schedule"].schedule)
