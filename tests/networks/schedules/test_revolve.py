"""Binomial checkpoints against the recurrence they are the solution of, and against published numbers."""

import time
from collections import Counter
from functools import cache
from math import comb

import numpy as np
import pytest

from networks import dry_run
from networks.chain import Chain
from networks.schedules import revolve, revolve_forward_steps
from networks.schedules.replay import replay


@cache
def fewest_advances(steps: int, slots: int) -> int:
    """P(n, s) by its definition: advance i steps to the next checkpoint, reverse what is above it, then below."""
    slots = min(slots, steps)
    if steps == 1:
        return 0
    if slots == 1:
        return steps * (steps - 1) // 2
    return min(i + fewest_advances(i, slots) + fewest_advances(steps - i, slots - 1) for i in range(1, steps))


@pytest.mark.parametrize("depth", range(1, 61))
def test_forward_steps_are_the_binomial_optimum(depth: int):
    """For every number of slots, up to more than there are afters; by counting and in closed form."""
    chain = Chain((3, *[4] * depth), batch=2, itemsize=4)
    for slots in range(1, depth + 3):
        expected = fewest_advances(depth, slots) + 1
        assert replay(chain, revolve(slots=slots)(chain)).forward_steps == expected
        assert revolve_forward_steps(depth, slots) == expected


@pytest.mark.parametrize(
    ("depth", "slots", "advances"),
    [(10, 3, 15), (20, 3, 45), (50, 5, 122), (100, 3, 490), (100, 5, 316), (100, 10, 222)],
)
def test_advances_are_the_published_ones(depth: int, slots: int, advances: int):
    """Griewank and Walther count the advances; the last layer is one forward step more."""
    step = dry_run([8] * (depth + 1), batch=4, schedule=revolve(slots=slots))
    assert step.forward_steps == advances + 1


@pytest.mark.parametrize(("depth", "slots"), [(10, 3), (37, 4), (100, 3), (100, 10)])
def test_no_layer_is_run_more_often_than_the_repetition_number(depth: int, slots: int):
    """And no more afters are held than there are slots, one of which is the input's."""
    step = dry_run([8] * (depth + 1), batch=4, schedule=revolve(slots=slots))
    runs = Counter(event.layer for event in step.timeline if event.action == "forward")
    repetitions = next(r for r in range(depth) if comb(slots + r, slots) >= depth)
    assert max(runs.values()) == repetitions
    assert step.peak_cached_layers == slots - 1


def test_three_slots_on_ten_layers_step_by_step():
    """10 = C(3+2, 3): two repetitions fill the tree, and every checkpoint's place is forced.

    Advances of 4 and 3 in the forward pass; then, from 7, one to after[8]; from 4, with the slot of 7 free again, one
    to a new checkpoint and one to after[6]; from 0, with all slots free, two new checkpoints on the way to after[3].
    """
    step = dry_run([8] * 11, batch=4, schedule=revolve(slots=3))
    letters = {"forward": "F", "keep": "K", "parameter_deltas": "B"}
    done = [f"{letters[event.action]}{event.layer}" for event in step.timeline if event.action in letters]
    assert " ".join(done) == (
        "F1 F2 F3 F4 K4 F5 F6 F7 K7 F8 F9 F10 B10 F8 B9 B8 F5 K5 F6 B7 B6 B5 F1 K1 F2 K2 F3 B4 B3 B2 B1"
    )


def test_ten_thousand_layers_take_under_three_seconds():
    """Of the processor, so that a busy machine does not fail the test."""
    started = time.process_time()
    step = dry_run([64] * 10_001, batch=32, schedule=revolve(slots=20))
    assert time.process_time() - started < 3
    assert step.forward_steps == revolve_forward_steps(10_000, 20)


@pytest.mark.parametrize(
    ("slots", "forward_steps"),
    [(1, 10**6 * (10**6 - 1) // 2 + 1), (2, 941_809_246), (20, 6_815_961), (10**6, 10**6), (10**9, 10**6)],
)
def test_a_million_layers_are_counted_in_closed_form(slots: int, forward_steps: int):
    """One slot: a triangle. As many as layers: store-all. Between them r = 1413 and 8, for C(2+1413, 2) and C(20+8, 20)
    are the first past a million, and P = r L - C(s+r, s+1)."""
    assert revolve_forward_steps(10**6, slots) == forward_steps
    assert revolve_forward_steps(np.int64(10**6), np.int64(slots)) == forward_steps


@pytest.mark.parametrize("slots", [0, -1, 2.0, True, "3", None])
def test_slots_are_an_integer_of_at_least_1(slots: object):
    with pytest.raises(ValueError, match="slots must be an integer of at least 1, got"):
        revolve(slots=slots)
    with pytest.raises(ValueError, match="slots must be an integer of at least 1, got"):
        revolve_forward_steps(10, slots)
