"""Plans for a user's own model: budgets that hold, rows, advice, and profiles and plans as text."""

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest

from networks.planning.own_models import BlockPlan, BlockProfile, ProfiledBlock
from networks.schedules.blocks import plain, replay_blocks
from tests.support.blocks import naive_replay
from tests.support.profiles import MIB, block, profile

TWELVE = profile(
    *(block(f"layers.{number}", tape=(3 + number % 4) * MIB, seconds=0.1 * (1 + number % 3)) for number in range(12))
)


def plain_bytes(of: BlockProfile, gradients: str = "kept") -> int:
    chain = of.chain(gradients)
    return replay_blocks(chain, plain()(chain)).peak_bytes


@pytest.mark.parametrize("gradients", ["kept", "freed"])
def test_prediction_and_allowance_are_within_every_budget_and_work_never_rises(gradients):
    with pytest.raises(ValueError, match="no plan meets") as refusal:
        TWELVE.plan(budget_bytes=1, gradients=gradients)
    plans = []
    for share in np.linspace(0.25, 1.1, 8):
        budget = int(share * plain_bytes(TWELVE, gradients))
        plans.append(TWELVE.plan(budget_bytes=budget, gradients=gradients))
        peak_bytes, flops = naive_replay(plans[-1].chain, plans[-1].keep)
        assert peak_bytes == plans[-1].predicted_peak_bytes <= budget - plans[-1].allowance_bytes
        assert flops == round(plans[-1].work * sum(plans[-1].chain.forward_flops))
        assert f"{plans[-1].smallest_budget_bytes:,} bytes" in str(refusal.value)
    work = [plan.work for plan in plans]
    assert work == sorted(work, reverse=True)
    assert work[-1] == 1 < work[0]


def test_the_smallest_budget_is_met_and_a_byte_less_is_not():
    smallest = TWELVE.plan(budget_bytes=10**12).smallest_budget_bytes
    plan = TWELVE.plan(budget_bytes=smallest)
    assert plan.predicted_peak_bytes + plan.allowance_bytes == smallest
    with pytest.raises(ValueError, match=rf"the smallest that can be met is {smallest:,} bytes"):
        TWELVE.plan(budget_bytes=smallest - 1)


def test_the_best_row_does_the_least_work_of_those_that_fit():
    plan = TWELVE.plan(budget_bytes=plain_bytes(TWELVE) // 2)
    rows = {row.name: row for row in plan.rows}
    assert list(rows) == ["plain", "torch checkpoint", "revolve", "input-only optimal", "taped"]
    assert not rows["plain"].fits
    assert plan.best == rows["taped"]
    assert plan.work < rows["input-only optimal"].work == pytest.approx(2, abs=0.1)
    best = min((row for row in plan.checkpoints if row.fits), key=lambda row: (row.work, row.peak_bytes))
    assert (best.schedule, best.peak_bytes) == (rows["torch checkpoint"].schedule, rows["torch checkpoint"].peak_bytes)
    assert [row.schedule for row in plan.checkpoints] == [f"torch_checkpoint({every})" for every in range(1, 13)]


def test_the_time_of_a_step_follows_from_the_seconds_of_what_runs_again():
    """`torch.utils.checkpoint` runs each block twice; a backward pass takes twice as long as a run."""
    row = TWELVE.plan(budget_bytes=10**12).checkpoints[3]
    assert row.slow_down == pytest.approx(1 + 1 / 3)
    assert TWELVE.plan(budget_bytes=10**12).best.slow_down == 1


def test_freed_gradients_have_their_own_peaks_and_do_not_pile_up():
    chain = TWELVE.chain("freed")
    assert not chain.gradients_pile_up
    assert chain.loss_bytes == 5
    assert chain.blocks[0].backward_bytes == TWELVE.blocks[0].freed_backward_bytes


def advice(*blocks: ProfiledBlock, **others) -> str:
    return profile(*blocks, **others).plan(budget_bytes=10**12).advice


def test_advice_names_what_fills_the_smallest_peak_and_what_lowers_it():
    small = [block(f"layers.{number}") for number in range(8)]
    large = block("head", tape=40 * MIB)
    assert "are the backward pass of block head: cut it into smaller blocks" in advice(*small, large)
    heavy = [block(f"layers.{number}", gradient=30 * MIB, backward_bytes=8 * MIB) for number in range(8)]
    assert 'are gradients of parameters: gradients="freed" frees them as they come' in advice(*heavy)
    assert "are what runs outside of the blocks, the loss included" in advice(*small, loss_forward_bytes=100 * MIB)


def test_advice_says_where_checkpointing_saves_next_to_nothing():
    blocks = [block("body", tape=0), block("head", tape=400 * MIB)]
    assert advice(*blocks).startswith("no plan saves more than 0.")
    assert advice(*TWELVE.blocks).startswith("the smallest budget is")


def test_the_bill_has_what_a_training_holds_beside_its_steps():
    held = TWELVE.bill(optimizer="adam")
    assert (held.parameters_bytes, held.optimizer_state_bytes, held.data_bytes) == (5 * MIB, 8 * MIB, 96)
    assert held.update_bytes == 4 * MIB
    assert TWELVE.bill(gradients="freed", optimizer="sgd").update_bytes == 0
    with pytest.raises(ValueError, match=r"^optimizer must be one of sgd, momentum, adam, got 'adamw'"):
        TWELVE.bill(optimizer="adamw")


def test_copies_of_a_block_do_not_share_what_it_shares():
    shared = {"added_gradient_bytes": MIB // 8, "waiting_gradient_bytes": MIB // 2}
    three = profile(block("a"), block("b", **shared), block("c"))
    alone = profile(block("a"), block("b", **shared), block("b'", waiting_gradient_bytes=MIB // 2), block("c"))
    repeated = three.repeated("b", 2)
    assert repeated.trained_bytes == three.trained_bytes + MIB // 4
    for gradients in ("kept", "freed"):
        one, other = repeated.chain(gradients), alone.chain(gradients)
        assert one.gradients_above_bytes == other.gradients_above_bytes
    backward = [one.backward_bytes for one in three.blocks]
    assert [one.backward_bytes for one in repeated.chain().blocks] == [
        *backward[:2],
        backward[1] + MIB // 8,
        backward[2],
    ]


def test_gradients_that_wait_for_the_code_before_count_where_gradients_are_freed():
    waiting = profile(block("a"), before_backward_bytes=7, waiting_gradient_bytes=100)
    assert [waiting.chain(gradients).before_backward_bytes for gradients in ("kept", "freed")] == [7, 107]


def test_advice_names_shared_parameters_where_their_gradients_fill_the_peak():
    told = profile(block("a", waiting_gradient_bytes=100 * MIB), block("b"))
    with pytest.raises(
        ValueError, match="are gradients of parameters that are used again below: blocks with parameters"
    ):
        told.plan(budget_bytes=1, gradients="freed")


def test_profiles_and_plans_are_text_and_back():
    plan = TWELVE.plan(budget_bytes=plain_bytes(TWELVE) // 2, gradients="freed")
    assert BlockProfile.from_json(TWELVE.to_json()) == TWELVE
    assert BlockProfile.from_row(json.loads(TWELVE.to_json())) == TWELVE
    for again in (BlockPlan.from_json(plan.to_json()), pickle.loads(pickle.dumps(plan))):
        assert again == plan
        assert naive_replay(again.chain, again.keep) == naive_replay(plan.chain, plan.keep)


def test_each_is_shown_in_a_line():
    assert repr(TWELVE) == "<BlockProfile 12 blocks, inputs float32 (8, 3), torch 2.13.0>"
    plan = TWELVE.plan(budget_bytes=10**12)
    assert repr(plan) == (
        f"<BlockPlan plain(): peak {plain_bytes(TWELVE):,} bytes, allowance 28,672 bytes, work 1.000>"
    )


def changed(of: BlockProfile, *path, value) -> str:
    data = json.loads(of.to_json())
    inner = data
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    return json.dumps(data)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "profile is no JSON: Expecting value"),
        ("[" * 100_000, "profile is no JSON: maximum recursion depth"),
        ("[]", r"profile must be an object, got \[\]"),
        ("{}", "profile lacks blocks"),
        (changed(TWELVE, "blocks", value=[]), "blocks must be at least one, got none"),
        (
            changed(TWELVE, "blocks", 3, "tape_bytes", value="98 MB"),
            r"profile.blocks\[3\].tape_bytes must be an integer",
        ),
        (changed(TWELVE, "blocks", 3, "tape_bytes", value=True), r"profile.blocks\[3\].tape_bytes must be an integer"),
        (changed(TWELVE, "blocks", 3, "tape_bytes", value=-1), "block 'layers.3': tape_bytes must be an integer of at"),
        (changed(TWELVE, "blocks", 0, "random", value=1), r"profile.blocks\[0\].random must be true or false, got 1"),
        (
            changed(TWELVE, "blocks", 0, "buffers", value="mean"),
            r"profile.blocks\[0\].buffers must be a list, got 'mean'",
        ),
        (changed(TWELVE, "blocks", 0, "seconds", value=10**400), r"profile.blocks\[0\].seconds must be a number"),
        (changed(TWELVE, "blocks", 0, "seconds", value=float("nan")), r"profile.blocks\[0\].seconds must be a number"),
        (
            changed(TWELVE, "blocks", 0, "seconds", value=-1.0),
            "block 'layers.0': seconds must be a number of at least 0",
        ),
        (changed(TWELVE, "cut", value=3), "profile.cut must be text, got 3"),
        (changed(TWELVE, "thread", value=3), "profile has no 'thread'; did you mean threads?"),
    ],
    ids=str,
)
def test_what_is_no_profile_is_said_in_a_line(text, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        BlockProfile.from_json(text)


def test_a_plan_in_a_file_runs_nobodys_code():
    plan = TWELVE.plan(budget_bytes=10**12)
    for text in ("rules.py:mine()", "taped(budget_of='rules.py:mine()')"):
        with pytest.raises(ValueError, match=r"the schedule of a plan must be one of .*, got 'rules.py:mine'"):
            replace(plan, best=replace(plan.best, schedule=text))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budget_bytes": 1.5}, "budget_bytes must be an integer of at least 1, got 1.5"),
        ({"budget_bytes": 10**12, "gradients": "keep"}, "gradients must be one of kept, freed, got 'keep'"),
    ],
)
def test_wrong_questions_are_refused(options, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        TWELVE.plan(**options)
