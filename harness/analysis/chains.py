"""Names of chains of layers: the experiment's name, or the shape of the hidden widths."""

from collections.abc import Sequence
from itertools import pairwise

import pandas as pd

from networks.layer_lists import parse_layers


def name_chains(table: pd.DataFrame) -> dict[str, str]:
    """A short name for each list of layers in a table: `hourglass`, or `equal, 8 layers`.

    A name in the column `chain` is used. All other names are shapes, in one style. It is the first of these in which
    all names differ: the shape, the shape and the depth, the shape, the depth and the width, or the lists themselves.
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
    """The shape of the hidden widths: equal, widening, narrowing, hourglass, barrel or mixed."""
    steps = [right > left for left, right in pairwise(hidden) if left != right]
    turns = sum(before != after for before, after in pairwise(steps))
    if not steps:
        return "equal"
    if turns > 1:
        return "mixed"
    return {(True, 0): "widening", (False, 0): "narrowing", (False, 1): "hourglass", (True, 1): "barrel"}[
        steps[0], turns
    ]
