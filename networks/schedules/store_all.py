"""Store-all: keep every activation, recompute nothing."""

from collections.abc import Collection, Mapping

from networks.chain import Chain
from networks.schedules.signature import Keep, Schedule


def store_all() -> Schedule:
    """Keep every activation: L forward steps, the fewest there are, and most often the highest peak."""

    def schedule(chain: Chain) -> Keep:
        def keep(cached: Mapping[int, int], start: int, stop: int) -> Collection[int]:
            return range(stop)

        return keep

    schedule.__name__ = "store_all()"
    return schedule
