"""The replay of a step of blocks against a naive statement of the rules, by hand and for any schedule."""

import random
from collections.abc import Collection, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from networks.block_chain import Block, BlockChain
from networks.schedules import Keep
from networks.schedules.blocks import moments, plain, replay_blocks, torch_checkpoint
from tests.support.blocks import naive_replay, random_block_chain


def whimsical(seed: int) -> Keep:
    """Any answer, but always the same to the same question."""

    def keep(cached: Mapping[int, int], start: int, stop: int) -> Collection[int]:
        choice = random.Random(f"{seed}: {sorted(cached.items())}, {start}, {stop}")
        return [0, *(one for one in [*sorted(cached), *range(start + 1, stop)] if choice.random() < 0.6)]

    return keep


@given(st.integers(0, 2**32), st.integers(0, 2**32), st.booleans())
def test_a_replay_equals_the_rules_for_any_schedule(seed, whim, passing):
    chain = random_block_chain(seed, most_blocks=9, passing=passing)
    cost = replay_blocks(chain, whimsical(whim))
    assert (cost.peak_bytes, cost.forward_flops) == naive_replay(chain, whimsical(whim))


def block(name: str, **numbers: int) -> Block:
    small = {"made_bytes": (10,), "tape_bytes": 4, "run_bytes": 11, "taped_run_bytes": 15, "backward_bytes": 30}
    rest = {"gradient_bytes": 5, "delta_bytes": 10, "graph_bytes": 2, "husk_bytes": 1, "standing_bytes": 3}
    return Block(name=name, **{**small, **rest, "forward_flops": 7, **numbers})


TWO = BlockChain(
    blocks=(block("first"), block("second")),
    loss_forward_bytes=6,
    loss_backward_bytes=20,
    loss_bytes=2,
    engine_bytes=4,
    before_bytes=1,
    before_run_bytes=21,
    before_backward_bytes=8,
)


def test_every_moment_of_two_blocks_by_hand():
    """Bytes of outputs, tapes, the thing itself, gradients, and what stands beside: deltas, graph, maps, standing."""
    assert [tuple(moment) for moment in moments(TWO, torch_checkpoint(2)(TWO))] == [
        ("before", 0, 0, 0, 0, 21, 0, 0),
        ("run", 1, 0, 0, 0, 11, 0, 6),
        ("taped run", 2, 0, 10, 0, 15, 0, 11),
        ("loss forward", 2, 0, 20, 4, 6, 0, 10),
        ("loss backward", 2, 0, 20, 4, 20, 0, 14),
        ("backward", 2, 2, 10, 0, 30, 0, 16),
        ("taped run", 1, 1, 0, 0, 15, 5, 25),
        ("backward", 1, 1, 0, 0, 30, 5, 15),
        ("before backward", 0, 0, 0, 0, 8, 10, 14),
    ]


def test_plain_runs_each_block_once_and_a_checkpointed_segment_twice():
    chain = BlockChain(blocks=tuple(block(str(n)) for n in range(6)), loss_forward_bytes=0, loss_backward_bytes=0)
    assert replay_blocks(chain, plain()(chain)).runs == (0, 1, 1, 1, 1, 1, 1)
    assert replay_blocks(chain, torch_checkpoint(3)(chain)).runs == (0, 2, 2, 2, 2, 2, 1)
    assert replay_blocks(chain, torch_checkpoint(6)(chain)).forward_flops == 11 * 7


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: block("head", tape_bytes=-1), "block 'head': tape_bytes must be an integer of at least 0, got -1"),
        (
            lambda: block("head", forward_flops=1.5),
            "block 'head': forward_flops must be an integer of at least 0, got 1.5",
        ),
        (
            lambda: BlockChain(blocks=(), loss_forward_bytes=0, loss_backward_bytes=0),
            "blocks must be at least one",
        ),
        (lambda: torch_checkpoint(0), "every must be an integer of at least 1, got 0"),
    ],
)
def test_what_is_no_chain_is_refused(make, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        make()
