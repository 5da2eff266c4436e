"""Layer lists as text: `64,128x32,10`."""

import itertools
import re
from collections.abc import Iterable
from functools import lru_cache

from networks.checks import MOST_LAYERS, check_layers
from networks.wording import shown

_TERM = re.compile(r"([1-9][0-9]{0,99})(?:x([1-9][0-9]{0,99}))?")


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
