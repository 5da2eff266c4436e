"""Schedules of a dense network's chain, lifted to blocks: what they take, what their budgets bound, their names."""

import pickle
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from networks.chain import Chain
from networks.schedules import greedy, optimal, periodic, revolve, sqrt, store_all
from networks.schedules.blocks import block_schedule, lifted, plain, replay_blocks
from networks.schedules.blocks.schedule import OutputsChain
from networks.schedules.optimal import smallest_budget
from networks.schedules.replay import replay
from tests.support.blocks import random_block_chain

SCHEDULES = [store_all(), periodic(2), periodic(3, recompute="each"), sqrt(), revolve(slots=1), revolve(slots=2)]


@given(st.integers(0, 2**32), st.sampled_from(SCHEDULES), st.booleans())
def test_blocks_never_take_more_than_the_chain_that_a_lifted_schedule_reads(seed, schedule, passing):
    chain = random_block_chain(seed, most_blocks=9, passing=passing)
    view = replay(OutputsChain(chain), schedule(OutputsChain(chain)))
    cost = replay_blocks(chain, lifted(schedule)(chain))
    assert cost.peak_bytes <= view.peak_bytes
    assert cost.forward_flops == view.forward_flops + sum(chain.forward_flops[:-1])


@given(st.integers(0, 2**32), st.sampled_from(SCHEDULES))
def test_they_take_as_much_where_no_run_needs_scratch_and_nothing_stands(seed, schedule):
    chain = random_block_chain(seed, most_blocks=9)
    plain_runs = (replace(one, run_bytes=sum(one.made_bytes), graph_bytes=0) for one in chain.blocks)
    chain = replace(chain, blocks=tuple(plain_runs))
    view = replay(OutputsChain(chain), schedule(OutputsChain(chain)))
    assert replay_blocks(chain, lifted(schedule)(chain)).peak_bytes == view.peak_bytes


@given(st.integers(0, 2**32), st.floats(0.5, 2), st.booleans())
def test_a_lifted_budget_is_never_passed(seed, factor, passing):
    chain = random_block_chain(seed, most_blocks=9, passing=passing)
    budget = 1 + int(factor * replay_blocks(chain, block_schedule("revolve(slots=1)")(chain)).peak_bytes)
    for factory in (greedy, optimal):
        try:
            keep = lifted(factory(budget_bytes=budget))(chain)
        except ValueError:
            continue
        assert replay_blocks(chain, keep).peak_bytes <= budget


def test_a_lifted_schedule_holds_what_is_cached_where_it_is_asked_out_of_turn():
    """A second backward pass over a retained graph asks again, with nothing but the input cached."""
    chain = random_block_chain(7, most_blocks=9)
    keep = lifted(optimal(budget_bytes=smallest_budget(OutputsChain(chain))))(chain)
    asking = 2 * chain.depth - 3
    assert set(keep({0: 0}, 0, asking)) == {0, asking}


def test_a_schedule_of_blocks_is_its_text():
    for text in ("revolve(slots=3)", "plain()", "torch_checkpoint(4)", "periodic(2, recompute='segment')"):
        schedule = block_schedule(text)
        assert schedule.text == text
        assert pickle.loads(pickle.dumps(schedule)) is schedule


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: plain()(Chain((4, 3), 2, 4)), r"schedule plain\(\) is for the blocks of a PyTorch model, got Chain"),
        (lambda: block_schedule("plane()"), r"schedule must be one of store_all, .*torch_checkpoint.*, got 'plane'"),
        (lambda: block_schedule("torch_checkpoint()"), r"it is written torch_checkpoint\(every=\.\.\)"),
    ],
)
def test_what_does_not_fit_is_said_in_a_line(make, message):
    with pytest.raises(ValueError, match=message):
        make()
