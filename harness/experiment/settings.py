"""The sections of an experiment file with settings of measures, and checks of their values."""

from collections.abc import Callable, Collection, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, PlainValidator

from harness.experiment.limits import SECONDS, are_seconds
from harness.sizes import parse_bytes
from networks.chain import LARGEST
from networks.wording import one_of, shown


def checked(description: str, accepts: Callable[[Any], bool]) -> PlainValidator:
    """A validator of values that `accepts` is true for. Its message has `description` and the value."""

    def check(value: Any) -> Any:
        if not accepts(value):
            raise ValueError(f"must be {description}, got {shown(value)}")
        return value

    return PlainValidator(check)


def word(known: Collection[str]) -> PlainValidator:
    """A validator of `known` words."""

    def check(value: Any) -> str:
        if not isinstance(value, str) or value not in known:
            raise ValueError(f"must be {one_of(value, known)}")
        return value

    return PlainValidator(check)


def integer(minimum: int, maximum: int = LARGEST) -> PlainValidator:
    """A validator of integers from `minimum` to `maximum`."""

    def check(value: Any) -> int:
        if type(value) is not int or value < minimum:
            raise ValueError(f"must be an integer of at least {minimum}, got {shown(value)}")
        if value > maximum:
            raise ValueError(f"must be an integer of at most {maximum}, got {shown(value)}")
        return value

    return PlainValidator(check)


def number(description: str, accepts: Callable[[float], bool]) -> PlainValidator:
    """A validator of numbers that `accepts` is true for."""
    return checked(description, lambda value: type(value) in (int, float) and accepts(value))


Size = Annotated[int, integer(1)]
Seed = Annotated[int, integer(0)]


class StrictTable(BaseModel):
    """A table of an experiment file: no unknown keys, no conversions, no changes."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


MOST_REPEATS = 1_000_000
"""Most rows of a cell in a table of times, resident memory or epochs."""

MOST_RATE = 1e30
"""The highest learning rate. float32 can hold it."""


def _size(value: Any) -> int:
    if not isinstance(value, str):
        raise ValueError(f"must be a string like '2GiB', got {shown(value)}")
    return parse_bytes(value)


Seconds = Annotated[float, number(SECONDS, are_seconds)]
SizeText = Annotated[int, PlainValidator(_size)]


class TimeSettings(StrictTable):
    """Settings of step times. A bootstrap interval of a median needs the 15 repeats: with 7 it covers 88 %."""

    repeats: Annotated[int, integer(15, MOST_REPEATS)] = 15
    order_seed: Seed = 0


class PeersTimeSettings(TimeSettings):
    """A cell stops after `seconds` if it has five repeats. A column has the number of repeats."""

    seconds: Seconds = 30.0


class ModelsTimeSettings(StrictTable):
    """The variants of a model take turns. A model stops after `seconds` if it has five rounds."""

    repeats: Annotated[int, integer(5, MOST_REPEATS)] = 15
    seconds: Seconds = 60.0
    order_seed: Seed = 0


class ResidentSettings(StrictTable):
    """Resident memory varies, so a process measures it several times."""

    repeats: Annotated[int, integer(1, MOST_REPEATS)] = 3


class TrainingSettings(StrictTable):
    """Settings of learning the digits by SGD with momentum. The grid's `batch` is the mini-batch."""

    epochs: Annotated[int, integer(1, MOST_REPEATS)] = 20
    learning_rate: Annotated[float, number("a number above 0", lambda value: 0 < value <= MOST_RATE)] = 0.1
    momentum: Annotated[float, number("a number from 0 to below 1", lambda value: 0 <= value < 1)] = 0.0
    order_seed: Seed = 0


class LimitSettings(StrictTable):
    """Limits of a cell. Limits of the command line replace them. None is no limit."""

    timeout: Seconds | None = None
    memory_limit: SizeText | None = None


SECTIONS: Mapping[str, type[StrictTable]] = {
    "time": TimeSettings,
    "peers_time": PeersTimeSettings,
    "models_time": ModelsTimeSettings,
    "resident": ResidentSettings,
    "training": TrainingSettings,
}
"""The measures with settings. The section has the name of the measure."""
