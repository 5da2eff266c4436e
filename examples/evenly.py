"""A schedule of one's own that has a budget."""

from networks.schedules import periodic
from networks.schedules.replay import replay


def evenly(*, budget_bytes):
    """Keep every n-th activation, with the least n whose step takes no more than the budget.

    Paper: Chen et al. 2016, arXiv:1604.06174, an idea of theirs.
    """

    def schedule(chain):
        for n in range(1, chain.depth + 1):
            keep = periodic(n)(chain)
            if replay(chain, keep).peak_bytes <= budget_bytes:
                return keep
        raise ValueError(f"budget_bytes={budget_bytes} is too small for {chain.depth} layers")

    return schedule
