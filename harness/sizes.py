"""Sizes in bytes as people write them: `24MiB`, `1.5GB`, `1e9`, `65536`."""

import re
from fractions import Fraction

from networks.chain import LARGEST
from networks.rounding import ceil_div

KIB, MIB = 2**10, 2**20

UNITS = {
    "": 1,
    "B": 1,
    **{f"{prefix}iB": 2 ** (10 * power) for power, prefix in enumerate("KMGT", start=1)},
    **{f"{prefix}B": 10 ** (3 * power) for power, prefix in enumerate("kMGT", start=1)},
}

_SIZE = re.compile(r"((?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e\+?[0-9]+)?)\s*([a-z]*)", re.IGNORECASE)
_MOST_CHARACTERS = 40
"""The longest size that is read. A longer one may have digits or an exponent that take for ever."""
_MOST_EXPONENT = 99
_UNITS_BY_LOWER_CASE = {unit.lower(): unit for unit in UNITS}


def parse_bytes(text: str, *, name: str = "a size") -> int:
    """Read a number of bytes from 1 to `LARGEST`. A fraction of a byte is rounded down.

    `KiB` is 1024 bytes and `kB` is 1000. `K`, `M`, `G` and `T` alone are refused, because they can mean either. `name`
    is the name of the size in an error, such as `--budget`.
    """
    number, unit = _read(text, name)
    exponent = int(number.lower().partition("e")[2] or 0)
    if exponent > _MOST_EXPONENT:
        raise ValueError(f"{name} must be at most {LARGEST} bytes, got {text!r}")
    nbytes = int(Fraction(number) * UNITS[unit])
    if nbytes < 1:
        raise ValueError(f"{name} must be at least 1 byte, got {text!r}")
    if nbytes > LARGEST:
        raise ValueError(f"{name} must be at most {LARGEST} bytes, got {text!r}")
    return nbytes


def _read(text: str, name: str) -> tuple[str, str]:
    """The number and the unit in `text`."""
    if len(text) > _MOST_CHARACTERS:
        raise ValueError(
            f"{name} must be written in at most {_MOST_CHARACTERS} characters, like 24MiB, got {len(text)}: "
            f"{text[:_MOST_CHARACTERS]!r}.."
        )
    match, unit = _SIZE.fullmatch(text.strip()), _unit(text)
    if match and match[2].lower() in ("k", "m", "g", "t"):
        decimal, binary = (match[1] + _UNITS_BY_LOWER_CASE[match[2].lower() + ending] for ending in ("b", "ib"))
        raise ValueError(f"{name} must be written as {decimal} (of 1000) or {binary} (of 1024), got {text!r}")
    if match is None or unit is None:
        raise ValueError(f"{name} must be written like 24MiB, 1.5GB or 65536 (bytes), got {text!r}")
    return match[1], unit


def _unit(text: str) -> str | None:
    """The unit of a size. None if the text is no size."""
    match = _SIZE.fullmatch(text.strip())
    return _UNITS_BY_LOWER_CASE.get(match[2].lower()) if match else None


def format_bytes(nbytes: int, *, like: int | None = None) -> str:
    """Write a number of bytes for people, in the largest binary unit that it fills, or that `like` fills."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if (nbytes if like is None else like) >= UNITS[unit]:
            return f"{nbytes / UNITS[unit]:.2f} {unit}"
    return f"{nbytes} B"


def format_apart(nbytes: int, other: int) -> tuple[str, str]:
    """Write two numbers of bytes, in full if two digits do not tell them apart."""
    written = format_bytes(nbytes), format_bytes(other)
    if written[0] == written[1] and nbytes != other:
        return f"{nbytes:,} bytes", f"{other:,} bytes"
    return written


def retold(message: str, *, typed: str) -> str:
    """Add to each `N bytes` of a message the same size in the unit of the size that was `typed`, with two digits.

    It is rounded up, because the message often names the smallest size that is enough.
    """
    unit = _unit(typed)
    if unit is None or UNITS[unit] == 1:
        return message

    def both(match: re.Match[str]) -> str:
        nbytes = int(match[1].replace(",", ""))
        hundredths = ceil_div(nbytes * 100, UNITS[unit])
        return f"{hundredths // 100}.{hundredths % 100:02} {unit} ({nbytes:,} bytes)"

    return re.sub(r"\b([0-9][0-9,]*) bytes\b", both, message)
