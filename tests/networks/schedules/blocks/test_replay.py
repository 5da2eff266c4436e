"""The replay of a step of blocks against a naive statement of the rules, by hand and for any schedule."""

import random
from collections.abc import Collection, Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from networks.block_chain import Block, BlockChain
from networks.schedules import Keep
from networks.schedules.blocks import moments, plain, replay_blocks, torch_checkpoint
from tests.support.blocks import naive_replay, random_block_chain, sharing


def whimsical(seed: int) -> Keep:
    """Any answer, but always the same to the same question."""

    def keep(cached: Mapping[int, int], start: int, stop: int) -> Collection[int]:
        choice = random.Random(f"{seed}: {sorted(cached.items())}, {start}, {stop}")
        return [0, *(one for one in [*sorted(cached), *range(start + 1, stop)] if choice.random() < 0.6)]

    return keep


@given(st.integers(0, 2**32), st.integers(0, 2**32), st.booleans(), st.booleans())
def test_a_replay_equals_the_rules_for_any_schedule(seed, whim, passing, shared):
    chain = random_block_chain(seed, most_blocks=9, passing=passing)
    chain = sharing(chain, seed) if shared else chain
    cost = replay_blocks(chain, whimsical(whim))
    assert (cost.peak_bytes, cost.forward_flops) == naive_replay(chain, whimsical(whim))


def block(name: str, **numbers: int | tuple[int, ...]) -> Block:
    small = {"made_bytes": (10,), "tape_bytes": 4, "run_bytes": 11, "taped_run_bytes": 15, "backward_bytes": 30}
    rest = {"gradient_bytes": 5, "delta_bytes": 10, "graph_bytes": 2, "husk_bytes": 1}
    return Block(name=name, **{**small, **rest, "forward_flops": 7, **numbers})


LOSS = {"loss_forward_bytes": 0, "loss_backward_bytes": 0}
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
    """Bytes of outputs, tapes, the thing itself, gradients, and what stands beside: deltas, graph, maps, husks."""
    assert [tuple(moment) for moment in moments(TWO, torch_checkpoint(2)(TWO))] == [
        ("before", 0, 0, 0, 0, 21, 0, 0),
        ("run", 1, 0, 0, 0, 11, 0, 3),
        ("run", 2, 0, 10, 0, 11, 0, 5),
        ("loss forward", 2, 0, 10, 0, 6, 0, 4),
        ("loss backward", 2, 0, 10, 0, 20, 0, 8),
        ("taped run", 1, 2, 0, 0, 15, 0, 20),
        ("taped run", 2, 2, 10, 4, 15, 0, 20),
        ("backward", 2, 2, 10, 4, 30, 0, 10),
        ("backward", 1, 1, 0, 0, 30, 5, 9),
        ("before backward", 0, 0, 0, 0, 8, 10, 8),
    ]


U_SHAPED = replace(
    TWO,
    blocks=(
        block("first", tape_outputs=(0,)),
        block("down", made_bytes=(100,), passed_on=(0,)),
        block("up", made_bytes=(1000,), tape_inputs=(0, 1)),
    ),
)
"""x[2] has a new tensor of 100 bytes, and the skip of 10 that is x[1]."""


def outputs_of(keep: Keep) -> list[tuple[str, int, int]]:
    return [(moment.phase, moment.block, moment.outputs_bytes) for moment in moments(U_SHAPED, keep)][1:-1]


def test_a_skip_is_counted_once_however_many_hold_it():
    """Block 1's tape, x[1], x[2] and the tapes of blocks 2 and 3 all have the skip."""
    assert outputs_of(lambda cached, start, stop: range(stop)) == [
        ("taped run", 1, 0),
        ("taped run", 2, 10),
        ("taped run", 3, 110),
        ("loss forward", 3, 1110),
        ("loss backward", 3, 1110),
        ("backward", 3, 110),
        ("backward", 2, 10),
        ("backward", 1, 0),
    ]


def test_a_rerun_makes_a_skip_again_where_its_maker_runs_again():
    """The tape of block 1 keeps the first skip alive, and x[1] is not held: block 2 reads a second one."""
    assert outputs_of(lambda cached, start, stop: (0, 1, 5)) == [
        ("taped run", 1, 0),
        ("run", 2, 10),
        ("taped run", 3, 110),
        ("loss forward", 3, 1110),
        ("loss backward", 3, 1110),
        ("backward", 3, 110),
        ("run", 1, 10),
        ("taped run", 2, 20),
        ("backward", 2, 20),
        ("backward", 1, 0),
    ]


def test_plain_runs_each_block_once_and_a_checkpointed_segment_twice():
    chain = BlockChain(blocks=tuple(block(str(n)) for n in range(6)), **LOSS)
    assert replay_blocks(chain, plain()(chain)).runs == (0, 1, 1, 1, 1, 1, 1)
    assert replay_blocks(chain, torch_checkpoint(3)(chain)).runs == (0, 2, 2, 2, 2, 2, 2)
    assert replay_blocks(chain, torch_checkpoint(6)(chain)).forward_flops == 12 * 7


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: block("head", tape_bytes=-1), "block 'head': tape_bytes must be an integer of at least 0, got -1"),
        (
            lambda: block("head", forward_flops=1.5),
            "block 'head': forward_flops must be an integer of at least 0, got 1.5",
        ),
        (
            lambda: BlockChain(blocks=(), **LOSS),
            "blocks must be at least one",
        ),
        (
            lambda: BlockChain(blocks=(block("a"), block("b", passed_on=(1,))), **LOSS),
            r"block 'b': passed_on must be places in x\[1\], below 1, got 1",
        ),
        (
            lambda: BlockChain(blocks=(block("a"), block("b", tape_inputs=(0, 2))), **LOSS),
            r"block 'b': tape_inputs must be places in x\[1\], below 1, got 2",
        ),
        (
            lambda: block("a", tape_outputs=(1,)),
            "block 'a': tape_outputs must be places in what it makes, below 1, got 1",
        ),
        (
            lambda: block("a", added_gradient_bytes=6),
            "block 'a': added_gradient_bytes must be at most gradient_bytes, 5, got 6",
        ),
        (lambda: block("a", made_bytes=(1, -1)), "block 'a': made_bytes must be an integer of at least 0, got -1"),
        (lambda: torch_checkpoint(0), "every must be an integer of at least 1, got 0"),
    ],
)
def test_what_is_no_chain_is_refused(make, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        make()
