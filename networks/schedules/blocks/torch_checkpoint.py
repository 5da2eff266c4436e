"""What PyTorch does by itself: plain autograd, and `torch.utils.checkpoint` around every few blocks."""

from collections.abc import Collection, Iterator, Mapping

from networks.block_chain import BlockChain
from networks.checks import check_count
from networks.schedules.blocks.schedule import BlockSchedule
from networks.schedules.signature import Keep


def plain() -> BlockSchedule:
    """Hold every tape, as autograd does: each block is run once."""

    def bind(chain: BlockChain) -> Keep:
        def keep(cached: Mapping[int, int], start: int, stop: int) -> Collection[int]:
            return {*_below(cached, stop), *range(start + 1, stop, 2)}

        return keep

    return BlockSchedule("plain()", bind)


def torch_checkpoint(every: int) -> BlockSchedule:
    """Hold what is between segments of `every` blocks, and run a whole segment with its tapes when one is asked for.

    Every block is run twice, those of the last segment as well.
    """
    every = check_count("every", every)

    def bind(chain: BlockChain) -> Keep:
        def keep(cached: Mapping[int, int], start: int, stop: int) -> Collection[int]:
            if stop % 2 == 0:
                return range(0, stop, 2 * every)
            return {*_below(cached, stop), *range(start + 1, stop, 2)}

        return keep

    return BlockSchedule(f"torch_checkpoint({every})", bind)


def _below(cached: Mapping[int, int], stop: int) -> Iterator[int]:
    """What of `cached` serves the blocks up to the one that asks."""
    return (position for position in cached if position < stop)
