"""Counts and layer lists: the widths `[64, 128, 128, 10]` of a network and their short form `64,128x2,10`."""

import itertools
import numbers
import re
from collections.abc import Iterable
from functools import lru_cache

from networks.wording import shown

MOST_LAYERS = 1_000_000
"""Most layers that a text may name, so that a slip of the finger does not fill the memory."""

_TERM = re.compile(r"([1-9][0-9]{0,99})(?:x([1-9][0-9]{0,99}))?")

LARGEST = 2**63 - 1
"""The largest integer that arrays, tables and experiment files hold."""


def check_count(name: str, value: object, *, least: int = 1) -> int:
    """Return `value`, an integer of at least `least`."""
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} must be an integer of at least {least}, got {shown(value)}")
    if value > LARGEST:
        raise ValueError(f"{name} must be an integer of at most {LARGEST}, got {shown(value)}")
    return int(value)


def check_layers(layers: Iterable[int]) -> tuple[int, ...]:
    """Return `layers` as a tuple of at least two positive ints; ValueError names what is wrong."""
    if isinstance(layers, str):
        raise ValueError(f"layers must be a list of widths such as [64, 128, 10], got the text {shown(layers)}")
    try:
        widths = list(layers)
    except TypeError:
        raise ValueError(f"layers must be a list of widths such as [64, 128, 10], got {shown(layers)}") from None
    if len(widths) < 2:
        raise ValueError(f"layers needs at least two widths, the inputs and the outputs, got {widths!r}")
    return tuple(check_count(f"layers[{position}]", width) for position, width in enumerate(widths))


@lru_cache(maxsize=8)
def parse_layers(text: str) -> tuple[int, ...]:
    """Read `"64,128x32,10"`: widths separated by commas, `WIDTHxTIMES` for a run of equal ones."""
    widths: list[int] = []
    for term in text.split(","):
        match = _TERM.fullmatch(term.strip())
        if not match:
            raise ValueError(
                f"layers {shown(text)}: {shown(term.strip())} is not a width such as 128 or a run such as 128x32"
            )
        times = int(match[2] or 1)
        if len(widths) + times > MOST_LAYERS + 1:
            raise ValueError(f"layers {shown(text)}: at most {MOST_LAYERS:,} layers can be named")
        widths += [int(match[1])] * times
    return check_layers(widths)


def format_layers(layers: Iterable[int]) -> str:
    """Write a layer list in its short form, the inverse of `parse_layers`."""
    runs = ((width, len(list(run))) for width, run in itertools.groupby(check_layers(layers)))
    return ",".join(f"{width}x{times}" if times > 1 else f"{width}" for width, times in runs)
