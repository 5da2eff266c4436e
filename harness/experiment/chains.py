"""Layers as an experiment file tells them: as widths, or by a name from its table `[chains]`."""

import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, StrictStr

from networks.layer_lists import format_layers, parse_layers
from networks.wording import did_you_mean, shown

_NAME = re.compile("[A-Za-z][A-Za-z0-9_-]{0,29}")


def layers_of(text: str, chains: Mapping[str, str]) -> str:
    """The layers that `text` tells: its own widths, or those of the chain of this name.

    Raises:
        ValueError: it is a name that no chain has.
    """
    if not _NAME.fullmatch(text):
        return text
    if text not in chains:
        names = ", ".join(chains) or "none"
        raise ValueError(
            f"layers must be widths such as 64,128x5,10 or a name from [chains], which has {names}; "
            f"got {shown(text)}{did_you_mean(text, chains)}"
        )
    return chains[text]


def _in_short_form(text: str) -> str:
    return format_layers(parse_layers(text))


def _named_once(chains: dict[str, str]) -> dict[str, str]:
    names: dict[str, str] = {}
    for name, layers in chains.items():
        if not _NAME.fullmatch(name):
            raise ValueError(
                "a name must begin with a letter and have letters, digits, dashes and underscores alone, at most 30, "
                f"got {shown(name)}"
            )
        if layers in names:
            raise ValueError(f"{names[layers]} and {name} have the same layers; leave one of them out")
        names[layers] = name
    return chains


Layers = Annotated[StrictStr, AfterValidator(_in_short_form)]
LayersOrName = Annotated[
    StrictStr, AfterValidator(lambda text: text if _NAME.fullmatch(text) else _in_short_form(text))
]
Chains = Annotated[dict[str, Layers], AfterValidator(_named_once)]
