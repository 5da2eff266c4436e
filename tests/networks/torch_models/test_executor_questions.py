"""The executor asks a schedule exactly what the replay over integers asks it."""

import random

import pytest

torch = pytest.importorskip("torch")

from networks.schedules.blocks import block_schedule, replay_blocks
from networks.torch_models.executor import Facts, execute
from tests.support.torch_chains import SCHEDULES, by_chance, chain_of

DEPTH = 9


def test_a_loss_on_the_inside_of_a_block_asks_about_nothing_above_it():
    """The delta at the block's output never comes, so no hook there drops what is held above."""
    questions, inside = [], []
    weight = torch.full((2, 2), 0.5, requires_grad=True)

    def step(border):
        inside.append(torch.tanh(border[0] @ weight))
        return (inside[-1].sin(),)

    keep = recorded(lambda cached, start, stop: {*cached, 2, 4, 6} & {*range(stop)}, questions)
    execute([step] * 4, [Facts(str(number)) for number in range(4)], keep, (torch.ones(1, 2),))
    inside[1].sum().backward()
    assert [([*cached], stop) for cached, _, stop in questions] == [([(0, 0)], 8), ([(0, 4), (2, 3)], 3), ([(0, 5)], 1)]
    assert weight.grad is not None


def asked_by_replay(chain, keep):
    questions = []
    replay_blocks(chain, recorded(keep, questions))
    return questions


def asked_by_executor(chain, keep):
    """And how often each block was run."""
    questions, runs = [], [0] * (chain.depth + 1)
    weights = [torch.full((2, 2), 0.5, requires_grad=True) for _ in range(chain.depth)]

    def step(number, border):
        runs[number] += 1
        return (torch.tanh(border[0] @ weights[number - 1]),)

    steps = [lambda border, number=number: step(number, border) for number in range(1, chain.depth + 1)]
    facts = [Facts(str(number), flops=flops) for number, flops in enumerate(chain.forward_flops[1:], 1)]
    (output,) = execute(steps, facts, recorded(keep, questions), (torch.ones(1, 2),))
    output.sum().backward()
    assert all(weight.grad is not None for weight in weights)
    return questions, tuple(runs)


def recorded(keep, questions):
    def asked(cached, start, stop):
        questions.append((list(cached.items()), start, stop))
        return keep(cached, start, stop)

    return asked


def flops(seed):
    chance = random.Random(seed)
    return [chance.randint(1, 9) for _ in range(DEPTH)]


def assert_asks_the_same(chain, keep):
    questions, runs = asked_by_executor(chain, keep)
    expected = asked_by_replay(chain, keep)
    assert [(sorted(cached), *rest) for cached, *rest in questions] == [
        (sorted(cached), *rest) for cached, *rest in expected
    ]
    assert runs == replay_blocks(chain, keep).runs


@pytest.mark.parametrize("schedule", [name for name in SCHEDULES if name != "chance, drops"])  # autograd keeps tapes
def test_the_same_questions_in_the_same_order(schedule):
    assert_asks_the_same(chain_of(DEPTH, flops(schedule)), SCHEDULES[schedule](DEPTH))


@pytest.mark.parametrize("seed", range(60))
def test_the_same_questions_for_schedules_by_chance(seed):
    assert_asks_the_same(chain_of(DEPTH, flops(seed)), by_chance(seed, seed % 10 / 10)(DEPTH))


@pytest.mark.parametrize("peak", range(9, 40, 3))
def test_the_same_questions_for_the_best_plan_within_a_budget(peak):
    chain = chain_of(DEPTH, flops(peak))
    assert_asks_the_same(chain, block_schedule(f"taped(budget_bytes={peak})")(chain))
