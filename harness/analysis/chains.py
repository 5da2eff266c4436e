"""What a chain of layers is called: by the shape of its hidden widths, and by as much more as tells it from others."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

from networks.layer_lists import parse_layers


def name_chains(lists: Iterable[str]) -> dict[str, str]:
    """A short name for each list of layers, no two the same: `hourglass`, or `equal, 8 layers`.

    All have names of one style: the shape alone if that tells them apart, else with the depth, else with the width as
    well, and else the lists themselves.
    """
    lists = list(dict.fromkeys(lists))
    widths = [parse_layers(layers) for layers in lists]
    shapes = [shape(one[1:-1]) for one in widths]
    deep = [f"{name}, {len(one) - 1} layers" for name, one in zip(shapes, widths, strict=True)]
    wide = [f"{name} of {max(one[1:-1], default=0)}" for name, one in zip(deep, widths, strict=True)]
    names = next((names for names in (shapes, deep, wide) if len(set(names)) == len(lists)), lists)
    return dict(zip(lists, names, strict=True))


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
