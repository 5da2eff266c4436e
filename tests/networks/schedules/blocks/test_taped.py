"""`taped` against an exhaustive oracle, other schedules and its own budget, on chains of blocks."""

import pickle
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from networks.block_chain import BlockChain
from networks.schedules.blocks import block_schedule, plain, replay_blocks, taped, torch_checkpoint
from networks.schedules.blocks.taped import MOST_BLOCKS, smallest_budget
from tests.slow.optimality import compare_blocks, compare_passing_blocks
from tests.support.blocks import block_pareto_front, deep_block_chain, naive_replay, random_block_chain

DEARER = {1: 1, 66: 1, 84: 1, 197: 1, 264: 1}
"""Seeds of chains with budgets, and how many, within which no persistent schedule does the least work."""

PASSING_DEARER = {84: 1}
"""The same of chains whose blocks pass storages on."""


def peaks(chain: BlockChain) -> tuple[int, int]:
    """The smallest budget, and what plain autograd takes."""
    return smallest_budget(chain), replay_blocks(chain, plain()(chain)).peak_bytes


def answer(chain: BlockChain, budget_bytes: int):
    return replay_blocks(chain, taped(budget_bytes=budget_bytes)(chain))


@pytest.mark.parametrize("seed", range(300))
def test_taped_does_the_least_work_within_each_budget(seed):
    cases = compare_blocks(seed)
    assert all((passed, ratio) == (False, 1) for passed, ratio, _ in cases)
    assert all(persistent >= 1 for _, _, persistent in cases)
    assert sum(persistent > 1 for _, _, persistent in cases) == DEARER.get(seed, 0)


@pytest.mark.parametrize("seed", range(100))
def test_so_it_does_where_blocks_pass_storages_on(seed):
    cases = compare_passing_blocks(seed)
    assert all((passed, ratio) == (False, 1) for passed, ratio, _ in cases)
    assert all(persistent >= 1 for _, _, persistent in cases)
    assert sum(persistent > 1 for _, _, persistent in cases) == PASSING_DEARER.get(seed, 0)


def u_shaped_chain(half: int) -> BlockChain:
    """Each block of the first half passes on all that it is given; the others take a skip each, and do not save it."""
    down = deep_block_chain(half).blocks
    skips = (replace(one, passed_on=tuple(range(number))) for number, one in enumerate(down))
    up = (
        replace(one, passed_on=tuple(range(2, number)))
        for number, one in zip(range(half, 1, -1), deep_block_chain(half, seed=1).blocks, strict=False)
    )
    return replace(deep_block_chain(half), blocks=(*skips, *up))


def dense_chain(depth: int) -> BlockChain:
    """Each block passes on all that it is given, and its tape holds every other one of these."""
    blocks = (
        replace(one, passed_on=tuple(range(number)), tape_inputs=tuple(range(0, number, 2)))
        for number, one in enumerate(deep_block_chain(depth).blocks)
    )
    return replace(deep_block_chain(depth), blocks=tuple(blocks))


@pytest.mark.parametrize("chain", [u_shaped_chain(8), dense_chain(16)], ids=["U-shaped", "dense"])
def test_budgets_are_kept_and_work_falls_where_storages_are_passed_far(chain):
    budgets = np.linspace(*peaks(chain), 8).astype(int).tolist()
    answers = [naive_replay(chain, taped(budget_bytes=budget)(chain)) for budget in budgets]
    assert all(peak_bytes <= budget for (peak_bytes, _), budget in zip(answers, budgets, strict=True))
    work = [flops for _, flops in answers]
    assert work == sorted(work, reverse=True)
    assert work[0] > 1.2 * work[-1] == 1.2 * sum(chain.forward_flops)


@pytest.mark.parametrize("depth", [8, 20, 40])
def test_work_never_rises_with_the_budget_which_is_never_passed(depth):
    chain = deep_block_chain(depth)
    budgets = np.linspace(*peaks(chain), 12).astype(int).tolist()
    answers = [answer(chain, budget) for budget in budgets]
    work = [one.forward_flops for one in answers]
    assert all(one.peak_bytes <= budget for one, budget in zip(answers, budgets, strict=True))
    assert work == sorted(work, reverse=True)
    assert work[-1] == sum(chain.forward_flops)
    assert work[0] > 1.2 * work[-1]


@pytest.mark.parametrize("gradients_pile_up", [True, False])
def test_no_other_schedule_does_less_work_within_its_own_peak(gradients_pile_up):
    chain = replace(deep_block_chain(24), gradients_pile_up=gradients_pile_up)
    others = [f"torch_checkpoint({every})" for every in range(1, 25)]
    others += [f"revolve(slots={slots})" for slots in range(1, 25)] + ["sqrt()", "periodic(3, recompute='each')"]
    for text in others:
        rival = replay_blocks(chain, block_schedule(text)(chain))
        assert answer(chain, rival.peak_bytes).forward_flops <= 1.002 * rival.forward_flops  # sizes are rounded


def test_tapes_that_are_held_save_half_of_the_recomputation_or_more():
    chain = deep_block_chain(24)
    budget = replay_blocks(chain, torch_checkpoint(4)(chain)).peak_bytes
    outputs_only = replay_blocks(chain, block_schedule(f"optimal(budget_bytes={budget})")(chain)).forward_flops
    once = sum(chain.forward_flops)
    assert answer(chain, budget).forward_flops - once < 0.7 * (outputs_only - once)


def test_equal_blocks_lose_nothing_to_rounding():
    one = deep_block_chain(1).blocks[0]
    sizes = {"made_bytes": (3 * 999_983,), "tape_bytes": 17 * 999_983}
    chain = replace(deep_block_chain(1), blocks=(replace(one, **sizes, tape_outputs=()),) * 40)
    least, most = peaks(chain)
    for budget in np.linspace(least, most, 9).astype(int).tolist():
        more = answer(chain, budget)
        assert more.peak_bytes <= budget
        assert answer(chain, more.peak_bytes).forward_flops == more.forward_flops


@given(st.integers(0, 2**32), st.floats(0, 1), st.booleans())
@settings(max_examples=60)
def test_a_naive_replay_of_its_answers_keeps_the_budget(seed, share, passing):
    chain = random_block_chain(seed, most_blocks=12, passing=passing)
    least, most = peaks(chain)
    budget = least + int(share * max(0, most - least))
    peak_bytes, flops = naive_replay(chain, taped(budget_bytes=budget)(chain))
    assert peak_bytes <= budget
    assert flops == answer(chain, budget).forward_flops


def test_the_smallest_budget_is_met_and_a_byte_less_is_refused_with_it():
    chain = deep_block_chain(12)
    least = smallest_budget(chain)
    assert answer(chain, least).peak_bytes == least
    with pytest.raises(ValueError, match=rf"^budget_bytes={least - 1} is too small .* can meet is {least} bytes$"):
        taped(budget_bytes=least - 1)(chain)


def test_a_budget_can_be_what_another_schedule_of_blocks_takes():
    chain = deep_block_chain(12)
    assert answer_of(chain, "taped(budget_of='torch_checkpoint(3)')") == answer_of(
        chain, f"taped(budget_bytes={answer_of(chain, 'torch_checkpoint(3)').peak_bytes})"
    )
    half = answer_of(chain, "plain()").peak_bytes * 3 // 4
    assert answer_of(chain, "taped(budget_of='plain()*0.75')") == answer(chain, half)


def answer_of(chain: BlockChain, text: str):
    return replay_blocks(chain, block_schedule(text)(chain))


def test_a_question_out_of_turn_is_answered_with_what_is_cached():
    """As a second backward pass over a retained graph asks."""
    chain = deep_block_chain(12)
    keep = taped(budget_bytes=smallest_budget(chain))(chain)
    assert set(keep({0: 5, 2: 3, 5: 1, 22: 1}, 2, 7)) == {0, 2, 5}


def test_it_is_pickled_by_its_text_and_solved_once_for_each_chain():
    schedule = block_schedule("taped(budget_bytes=50_000_000)")
    assert pickle.loads(pickle.dumps(schedule)).text == schedule.text == "taped(budget_bytes=50000000)"
    chain = deep_block_chain(12)
    assert schedule(chain) is schedule(replace(chain))


def test_a_schedule_that_lives_on_holds_its_answers_and_none_of_the_tables():
    chain = deep_block_chain(40)
    schedule = taped(budget_bytes=smallest_budget(chain) * 6 // 5)
    tracemalloc.start()
    try:
        keep = schedule(chain)
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 300_000 < 10_000_000 < peak
    assert schedule(chain) is keep


def test_a_chain_that_is_too_deep_for_the_tables_is_refused():
    chain = replace(deep_block_chain(1), blocks=deep_block_chain(1).blocks * (MOST_BLOCKS + 1))
    with pytest.raises(ValueError, match="up to 1,000 blocks, got 1,001; give several layers as one block"):
        taped(budget_bytes=2**40)(chain)


@pytest.mark.parametrize("seed", [0, 3, 11])
def test_the_oracle_finds_plain_autograd_and_nothing_below_it(seed):
    chain = random_block_chain(seed)
    assert min(flops for _, flops in block_pareto_front(chain)) == sum(chain.forward_flops)
