"""What each schedule costs on a chain of blocks, the best of each within a budget, and what fills a peak."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

from networks.block_chain import BlockChain
from networks.chain import Chain
from networks.schedules.blocks import BlockCost, Moment, block_schedule, replay_blocks
from networks.schedules.blocks.schedule import OutputsChain
from networks.schedules.blocks.taped import smallest_budget
from networks.schedules.candidates import searched
from networks.schedules.optimal import smallest_budget as smallest_budget_of_outputs

ROWS = PLAIN, CHECKPOINT, REVOLVE, INPUT_ONLY, TAPED = (
    *("plain", "torch checkpoint", "revolve", "input-only optimal", "taped"),
)
"""The rows of a plan. A schedule that is input-only holds no tapes."""

BACKWARD_TIMES = 2
"""The time of a block's backward pass over that of its run, where a time is predicted."""


@dataclass(frozen=True)
class BlockRow:
    """What one schedule costs.

    Attributes:
        name: of `ROWS`.
        schedule: its text.
        peak_bytes: the predicted peak of a step.
        work: forward work of a step over that of plain autograd.
        slow_down: predicted time of a step over that of plain autograd.
        fits: whether peak and allowance are within the budget.
    """

    name: str
    schedule: str
    peak_bytes: int
    work: float
    slow_down: float
    fits: bool


@lru_cache(maxsize=1024)  # rows of one schedule are asked for within several budgets
def cost_of(chain: BlockChain, text: str) -> BlockCost:
    """What a step of `chain` by a schedule costs."""
    return replay_blocks(chain, block_schedule(text)(chain))


def rows_within(chain: BlockChain, seconds: Sequence[float], room: int) -> tuple[BlockRow, ...]:
    """A row for each of `ROWS`: the least work with a peak of `room` bytes, or else the least peak.

    `seconds` are those of a run of each block.
    """
    taped_least = smallest_budget(chain)  # first, because it refuses chains that are too long
    outputs_least = smallest_budget_of_outputs(cast(Chain, OutputsChain(chain)))
    found = {
        PLAIN: "plain()",
        CHECKPOINT: _cheapest(chain, "torch_checkpoint({})", room),
        REVOLVE: _cheapest(chain, "revolve(slots={})", room),
        INPUT_ONLY: f"optimal(budget_bytes={max(room, outputs_least)})",
        TAPED: f"taped(budget_bytes={max(room, taped_least)})",
    }
    return tuple(_row(chain, seconds, name, text, room) for name, text in found.items())


def checkpoint_rows(chain: BlockChain, seconds: Sequence[float], room: int) -> tuple[BlockRow, ...]:
    """A row for `torch.utils.checkpoint` around every n blocks, for each n that makes a difference."""
    texts = map("torch_checkpoint({})".format, searched(chain.depth))
    return tuple(_row(chain, seconds, CHECKPOINT, text, room) for text in texts)


def _row(chain: BlockChain, seconds: Sequence[float], name: str, text: str, room: int) -> BlockRow:
    cost = cost_of(chain, text)
    again = sum((times - 1) * each for times, each in zip(cost.runs[1:], seconds, strict=True))
    return BlockRow(
        name=name,
        schedule=text,
        peak_bytes=cost.peak_bytes,
        work=cost.forward_flops / max(1, sum(chain.forward_flops)),
        slow_down=1 + again / ((1 + BACKWARD_TIMES) * (sum(seconds) or 1)),
        fits=cost.peak_bytes <= room,
    )


def _cheapest(chain: BlockChain, form: str, room: int) -> str:
    """The text with the number that does the least work within `room`. If no peak fits, the one with the least peak."""

    def rank(text: str) -> tuple[int, int, int]:
        cost = cost_of(chain, text)
        return max(0, cost.peak_bytes - room), cost.forward_flops, cost.peak_bytes

    return min(map(form.format, searched(chain.depth)), key=rank)


def filling(chain: BlockChain, moment: Moment) -> str:
    """What a peak is mostly made of, and what lowers it, in a sentence."""
    name = chain.blocks[moment.block - 1].name
    remedies = {
        "outputs_bytes": ("the outputs that are alive", "a smaller batch lowers them"),
        "tapes_bytes": ("the tapes that are held", "a smaller batch or finer blocks lower them"),
        "own_bytes": {
            "run": (f"a run of block {name}", "cut it into smaller blocks"),
            "taped run": (f"a run of block {name} with its tape", "cut it into smaller blocks"),
            "backward": (f"the backward pass of block {name}", "cut it into smaller blocks"),
        }.get(moment.phase, ("what runs outside of the blocks, the loss included", "a smaller batch lowers it")),
        "gradients_bytes": ("gradients of parameters", 'gradients="freed" frees them as they come')
        if chain.gradients_pile_up
        else ("gradients of parameters that are used again below", "blocks with parameters of their own lower them"),
        "beside_bytes": (
            "the output gradients, the graph and what stands beside the blocks",
            "a smaller batch lowers most of it",
        ),
    }
    part = max(remedies, key=lambda part: getattr(moment, part))
    what, remedy = remedies[part]
    nbytes = getattr(moment, part)
    return f"{nbytes:,} bytes of it, {nbytes / max(1, moment.live_bytes):.0%}, are {what}: {remedy}"
