"""A training step of a model of blocks as sweeps, from a replay over integers."""

from collections.abc import Collection, Iterator, Mapping
from itertools import groupby
from typing import NamedTuple

from harness.analysis.trace import StepTold, Sweep
from networks.block_chain import BlockChain
from networks.schedules.blocks import BlockSchedule, Moment, cost_of_moments, moments
from networks.schedules.blocks.replay import BACKWARD, BEFORE_BACKWARD, RUN, TAPED_RUN
from networks.schedules.signature import Keep


class _Answer(NamedTuple):
    """The positions that a schedule held when it was asked, and the positions that it answered."""

    before: frozenset[int]
    after: frozenset[int]


def told_blocks(chain: BlockChain, schedule: BlockSchedule, of: str) -> StepTold:
    """The step of `chain` by `schedule`. `of` describes the model in a few words. Raises ValueError if it cannot."""
    answers: list[_Answer] = []
    step = list(moments(chain, _recorded(schedule(chain), answers)))
    cost = cost_of_moments(chain, step)
    highest = cost.highest
    return StepTold(
        name=schedule.__name__,
        of=of,
        part="block",
        reference="plain",
        depth=chain.depth,
        sweeps=tuple(_sweeps(step, answers)),
        forward_flops=cost.forward_flops,
        peak_bytes=cost.peak_bytes,
        peak_bytes_by_kind={
            "outputs": highest.outputs_bytes,
            "tapes": highest.tapes_bytes,
            f"{highest.phase} itself": highest.own_bytes,
            "weight gradients": highest.gradients_bytes,
            "output gradients, graph and the rest": highest.beside_bytes,
        },
    )


def _recorded(keep: Keep, answers: list[_Answer]) -> Keep:
    def recording(cached: Mapping[int, int], start: int, stop: int) -> Collection[int]:
        answer = frozenset(keep(cached, start, stop))
        tape = {stop} if stop % 2 else set()  # of the block that asks
        answers.append(_Answer(frozenset(cached), answer | tape))
        return answer

    return recording


def _sweeps(step: list[Moment], answers: list[_Answer]) -> Iterator[Sweep]:
    """A sweep of runs for each answer, and the backward passes after it."""
    asked = iter(answers)
    held: frozenset[int] = frozenset()
    for (backward, _), group in groupby(step, _sweep_of):
        blocks, live = _done(group)
        kept: frozenset[int] = frozenset()
        dropped: frozenset[int] = frozenset()
        if backward:
            held = frozenset(position for position in held if position < 2 * blocks[-1] - 2)
        else:
            answer = next(asked)
            made = range(2 * blocks[0] - 1, 2 * blocks[-1])  # the output of the last block is used at once
            kept = answer.after & frozenset(made) - answer.before
            dropped = answer.before - answer.after
            held = answer.before & answer.after | kept
        yield Sweep(
            backward,
            blocks,
            kept=_outputs(kept),
            dropped=_outputs(dropped),
            held=frozenset(_outputs(held)),
            live_bytes=live,
            kept_tapes=_tapes(kept),
            dropped_tapes=_tapes(dropped),
            held_tapes=frozenset(_tapes(held)),
        )


def _sweep_of(moment: Moment) -> tuple[bool, int]:
    """Whether the moment is in a backward pass, and if not, the block for which it runs."""
    backward = moment.phase in (BACKWARD, BEFORE_BACKWARD)
    return backward, 0 if backward else moment.asking


def _done(group: Iterator[Moment]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Blocks and their live bytes. Work before the blocks counts for the first block, and the loss for the last."""
    blocks: list[int] = []
    live: list[int] = []
    waiting = 0
    for moment in group:
        if moment.phase in (RUN, TAPED_RUN, BACKWARD):
            blocks.append(moment.block)
            live.append(max(waiting, moment.live_bytes))
        elif live:
            live[-1] = max(live[-1], moment.live_bytes)
        else:
            waiting = moment.live_bytes
    return tuple(blocks), tuple(live)


def _outputs(positions: frozenset[int]) -> tuple[int, ...]:
    return tuple(sorted(position // 2 for position in positions if position > 0 and position % 2 == 0))


def _tapes(positions: frozenset[int]) -> tuple[int, ...]:
    return tuple(sorted((position + 1) // 2 for position in positions if position % 2 == 1))
