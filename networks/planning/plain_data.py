"""Dataclasses as JSON, and back: a mistake in the text is one line that names the place and the value."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from networks.wording import did_you_mean, shown

Made = TypeVar("Made")

_WORDS = {bool: "true or false", int: "an integer", float: "a number", str: "text", NoneType: "null"}


def to_json(value: Any) -> str:
    """A dataclass of numbers, texts, tuples and dataclasses as JSON."""
    return json.dumps(asdict(value), indent=1)


def from_json(kind: type[Made], text: str | bytes, name: str) -> Made:
    """What `to_json` wrote; raises ValueError, which calls the whole of it `name`."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name} is no JSON: {error}") from None
    return made_from(kind, data, name)


def made_from(kind: type[Made], data: Any, name: str) -> Made:
    """A dataclass from plain data: mappings, sequences, numbers, texts and None. Raises ValueError."""
    made: Made = _made(kind, data, name)
    return made


def _made(kind: Any, data: Any, place: str) -> Any:
    if isinstance(kind, UnionType):
        data_kind = NoneType if data is None else next(one for one in get_args(kind) if one is not NoneType)
        return _made(data_kind, data, place)
    if get_origin(kind) is tuple:
        _require(isinstance(data, Sequence) and not isinstance(data, str), place, "a list", data)
        return tuple(_made(get_args(kind)[0], item, f"{place}[{index}]") for index, item in enumerate(data))
    if is_dataclass(kind):
        return _dataclass(kind, data, place)
    right = isinstance(data, int | float if kind is float else kind) and (kind is bool or not isinstance(data, bool))
    _require(right and (kind is not float or abs(data) <= sys.float_info.max), place, _WORDS[kind], data)
    return float(data) if kind is float else data


def _dataclass(kind: Any, data: Any, place: str) -> Any:
    _require(isinstance(data, Mapping), place, "an object", data)
    kinds = get_type_hints(kind)
    for name in data:
        if name not in kinds:
            raise ValueError(f"{place} has no {shown(name)}{did_you_mean(name, kinds)}")
    for field in fields(kind):
        if field.name not in data and field.default is MISSING:
            raise ValueError(f"{place} lacks {field.name}")
    return kind(**{name: _made(kinds[name], value, f"{place}.{name}") for name, value in data.items()})


def _require(right: bool, place: str, word: str, data: Any) -> None:
    if not right:
        raise ValueError(f"{place} must be {word}, got {shown(data)}")
