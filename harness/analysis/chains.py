"""What a chain of layers is called: by the name that its experiment gives it, or by the shape of its hidden widths."""

from collections.abc import Sequence
from itertools import pairwise

import pandas as pd

from networks.layer_lists import parse_layers


def name_chains(table: pd.DataFrame) -> dict[str, str]:
    """A short name for each list of layers in a table: `hourglass`, or `equal, 8 layers`.

    A name in its column `chain` is taken. The others are named by shape, all in one style: the shape alone if every
    name is different then, else with the depth, else with the width as well, and else they are the lists themselves.
    """
    given = {layers: chain for layers, chain in zip(table["layers"], table["chain"], strict=True) if chain}
    lists = list(dict.fromkeys(table["layers"]))
    widths = [parse_layers(layers) for layers in lists]
    shapes = [shape(one[1:-1]) for one in widths]
    deep = [f"{name}, {len(one) - 1} layers" for name, one in zip(shapes, widths, strict=True)]
    wide = [f"{name} of {max(one[1:-1], default=0)}" for name, one in zip(deep, widths, strict=True)]
    styles = [dict(zip(lists, names, strict=True)) | given for names in (shapes, deep, wide, lists)]
    return next((names for names in styles if len(set(names.values())) == len(lists)), styles[-1])


def shape(hidden: Sequence[int]) -> str:
    """How the hidden widths go from the first to the last: equal, widening, narrowing, hourglass, barrel or mixed."""
    steps = [right > left for left, right in pairwise(hidden) if left != right]
    turns = sum(before != after for before, after in pairwise(steps))
    if not steps:
        return "equal"
    if turns > 1:
        return "mixed"
    return {(True, 0): "widening", (False, 0): "narrowing", (False, 1): "hourglass", (True, 1): "barrel"}[
        steps[0], turns
    ]
