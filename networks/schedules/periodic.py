"""Periodic checkpoints: keep every n-th after, recompute the segments between them."""

from collections.abc import Collection, Mapping

from networks.chain import Chain
from networks.checks import check_count
from networks.schedules.signature import Keep, Schedule
from networks.wording import shown

RECOMPUTE = ("segment", "each")
"""What is kept of a recomputed segment: all its activations until they are used, or nothing."""


def periodic(checkpoint_frequency: int, *, recompute: str = "segment") -> Schedule:
    """Keep every `checkpoint_frequency`-th after of the forward pass: 1 keeps all, L or more only the input.

    With `recompute="segment"` a recomputed activation is kept until it is used, so none is recomputed twice. Each layer
    in 1..L-2 that is not a multiple of n costs one more forward step. With `"each"` nothing is kept again: every
    request recomputes from the nearest checkpoint below. That takes less memory, and a number of steps quadratic in n.
    """
    n = check_count("checkpoint_frequency", checkpoint_frequency)
    if recompute not in RECOMPUTE:
        raise ValueError(f"recompute must be 'segment' or 'each', got {shown(recompute)}")

    def schedule(chain: Chain) -> Keep:
        def keep(cached: Mapping[int, int], start: int, stop: int) -> Collection[int]:
            if stop == chain.depth:
                return range(0, stop, n)
            if recompute == "segment":
                return cached.keys() | range(start + 1, stop + 1)
            return cached.keys()

        return keep

    schedule.__name__ = f"periodic({n}, recompute={recompute!r})"
    return schedule
