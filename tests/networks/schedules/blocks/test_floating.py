"""Schedules of short chains, persistent and not: by hand, and against the exhaustive oracle."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from networks.block_chain import Block, BlockChain
from networks.schedules.blocks import replay_blocks, taped
from networks.schedules.blocks._persistent import least_peak, least_work
from networks.schedules.blocks.taped import MOST_SEARCHED, smallest_budget
from tests.support.blocks import block_pareto_front, naive_replay, random_block_chain


def bare(output: int, tape: int = 0, *, gradient: int = 0, taped_scratch: int = 0) -> Block:
    """A block of these bytes and no others; its tape holds its input."""
    return Block(
        name="block",
        made_bytes=(output,),
        tape_bytes=tape,
        run_bytes=output,
        taped_run_bytes=output + tape + taped_scratch,
        backward_bytes=tape + gradient,
        gradient_bytes=gradient,
        delta_bytes=0,
        forward_flops=1,
    )


def chain_of(*blocks: Block) -> BlockChain:
    return BlockChain(blocks=blocks, loss_forward_bytes=0, loss_backward_bytes=0)


def test_an_output_is_given_up_at_the_question_that_it_serves_last():
    """x[1], of 3 bytes, stays in the forward pass. The tape of block 3 is made of it: 6 + 2 + 4 bytes without x[1]."""
    chain = chain_of(bare(3, 1), bare(6), bare(2, 4), bare(5))
    keep = taped(budget_bytes=12)(chain)
    assert set(keep({0: 0}, 0, 8)) == {0, 2, 7}
    assert set(keep({0: 4, 2: 3}, 2, 5)) == {0, 5}
    cost = replay_blocks(chain, keep)
    assert (cost.peak_bytes, cost.runs) == (12, (0, 2, 3, 2, 1))
    assert replay_blocks(chain, least_work(chain, 12)).forward_flops == 9


def test_a_tape_is_made_before_gradients_pile_up_and_the_output_made_again():
    """The run of block 1 with its tape takes 11 bytes, and no room is left for them beside 3 bytes of gradients."""
    chain = chain_of(bare(4, taped_scratch=7), bare(3), bare(4, 4, gradient=3))
    keep = taped(budget_bytes=11)(chain)
    assert set(keep({0: 0}, 0, 6)) == {0, 1, 5}
    cost = replay_blocks(chain, keep)
    assert (cost.peak_bytes, cost.runs) == (11, (0, 2, 2, 1))
    assert smallest_budget(chain) == 11
    assert least_peak(chain)[1].peak_bytes == 14


def test_the_last_tape_is_made_after_a_loss_that_takes_much():
    """The loss takes 9 bytes beside x[1] and x[2]; the tape of block 2 takes 10."""
    chain = replace(chain_of(bare(1), bare(1, 10)), loss_forward_bytes=9)
    keep = taped(budget_bytes=12)(chain)
    assert set(keep({0: 0}, 0, 4)) == {0, 1, 2}
    assert set(keep({0: 2, 1: 1, 2: 1}, 2, 3)) == {0, 1, 3}
    cost = replay_blocks(chain, keep)
    assert (cost.peak_bytes, cost.runs) == (12, (0, 1, 2))
    assert smallest_budget(chain) == least_peak(chain)[1].peak_bytes == 12


@given(st.integers(0, 2**32), st.floats(0, 1), st.booleans())
@settings(max_examples=50)
def test_answers_are_the_oracles_within_any_budget(seed, share, passing):
    chain = random_block_chain(seed, most_blocks=4, passing=passing)
    front = block_pareto_front(chain)
    least, most = front[-1][0], front[0][0]
    assert smallest_budget(chain) == least
    budget = least + int(share * (most - least))
    best = next(cost for cost in front if cost[0] <= budget)
    assert naive_replay(chain, taped(budget_bytes=budget)(chain)) == best


@given(st.integers(0, 2**32), st.floats(0, 1), st.booleans())
@settings(max_examples=30)
def test_no_persistent_schedule_does_less_work_or_takes_less(seed, share, passing):
    chain = random_block_chain(seed, most_blocks=MOST_SEARCHED, passing=passing)
    least = least_peak(chain)[1].peak_bytes
    assert smallest_budget(chain) <= least
    budget = int(least * (1 + share))
    persistent = replay_blocks(chain, least_work(chain, budget))
    assert replay_blocks(chain, taped(budget_bytes=budget)(chain)).forward_flops <= persistent.forward_flops
