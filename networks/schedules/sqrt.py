"""Square-root checkpoints: segments as long as there are checkpoints (Chen et al. 2016, section 4.1)."""

import math

from networks.chain import Chain
from networks.schedules.periodic import periodic
from networks.schedules.signature import Keep, Schedule


def sqrt() -> Schedule:
    """Keep what `periodic(n)` keeps, with n = round(sqrt(L)).

    O(sqrt(L)) activations are held, and a layer is run at most once more.

    Chen, Xu, Zhang, Guestrin, "Training deep nets with sublinear memory cost", arXiv:1604.06174. It counts activations
    as if all were of one size; `greedy` weighs them.
    """

    def schedule(chain: Chain) -> Keep:
        return periodic(round(math.sqrt(chain.depth)))(chain)

    schedule.__name__ = "sqrt()"
    return schedule
