"""Schedules of the blocks of a PyTorch model, which hold outputs and tapes.

It imports what `networks.schedules` may import, and no PyTorch.

    schedule(block_chain)      -> keep
    keep(cached, start, stop)  -> the positions to hold from now on

`keep` is the function that `networks.schedules.signature` describes, over the positions of a `BlockChain`. For the
forward pass it is asked keep({0: ..}, 0, 2L). Each block l whose tape is held then runs with it. When the backward pass
comes to a block l whose tape is not held, it is asked keep(cached, 2i, 2l-1), from the highest x[i] held below; blocks
i+1..l-1 run, with their tapes where these are to be held, and then block l with its tape.
"""

from networks.schedules.blocks.replay import BlockCost, Moment, cost_of_moments, moments, replay_blocks
from networks.schedules.blocks.schedule import BLOCK_FACTORIES, BlockSchedule, block_schedule, lifted
from networks.schedules.blocks.taped import taped
from networks.schedules.blocks.torch_checkpoint import plain, torch_checkpoint

BLOCK_FACTORIES.update((factory.__name__, factory) for factory in (plain, torch_checkpoint, taped))

__all__ = [
    "BLOCK_FACTORIES",
    "BlockCost",
    "BlockSchedule",
    "Moment",
    "block_schedule",
    "cost_of_moments",
    "lifted",
    "moments",
    "plain",
    "replay_blocks",
    "taped",
    "torch_checkpoint",
]
