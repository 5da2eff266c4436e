"""Numbers of bytes as people write them: `24MiB`, `1.5GB`, `65536`."""

import re
from fractions import Fraction

from networks.layer_lists import LARGEST
from networks.wording import shown

UNITS = {
    "": 1,
    "B": 1,
    **{f"{prefix}iB": 2 ** (10 * power) for power, prefix in enumerate("KMGT", start=1)},
    **{f"{prefix}B": 10 ** (3 * power) for power, prefix in enumerate("kMGT", start=1)},
}

_SIZE = re.compile(r"(\d{1,99}(?:\.\d{1,99})?)\s*([a-z]*)", re.IGNORECASE)
_UNITS_BY_LOWER_CASE = {unit.lower(): factor for unit, factor in UNITS.items()}


def parse_bytes(text: str) -> int:
    """Read a number of bytes, at least 1, rounded down to a whole one; `KiB` is 1024 and `kB` 1000 of them."""
    match = _SIZE.fullmatch(text.strip())
    factor = _UNITS_BY_LOWER_CASE.get(match[2].lower()) if match else None
    if factor is None:
        raise ValueError(f"a size must be written like 24MiB, 1.5GB or 65536 (bytes), got {shown(text)}")
    nbytes = int(Fraction(match[1]) * factor)
    if nbytes < 1:
        raise ValueError(f"a size must be at least 1 byte, got {shown(text)}")
    if nbytes > LARGEST:
        raise ValueError(f"a size must be at most {LARGEST} bytes, got {shown(text)}")
    return nbytes


def format_bytes(nbytes: int, *, like: int | None = None) -> str:
    """Write a number of bytes for people, in the largest binary unit it fills, or the one that `like` does."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if (nbytes if like is None else like) >= UNITS[unit]:
            return f"{nbytes / UNITS[unit]:.2f} {unit}"
    return f"{nbytes} B"
