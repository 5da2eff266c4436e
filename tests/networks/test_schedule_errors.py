"""A schedule that answers nonsense is named with what it was asked and what it answered."""

import re
from collections.abc import Callable

import pytest

from networks import NetworkWithCheckpointing, dry_run
from networks.schedules import periodic, revolve, sqrt
from networks.schedules.spec import parse_schedule
from tests.support.errors import (
    LAYERS,
    NO_FORWARD_PASS,
    Y,
    expect_error,
    expect_to_work_as_new,
    gradients,
)


def saving(first: list[int], *later: list[int]) -> Callable:
    """A schedule that gives these answers one after the other."""

    def stubborn(chain):
        answers = iter([first, *later])
        return lambda cached, start, stop: next(answers)

    return stubborn


FAULTS = [
    pytest.param(
        saving([0, 7]),
        "schedule stubborn holds [7], neither cached nor in the stretch: "
        "asked for layers 1..4 with [0] cached, it answered [0, 7]",
        id="above the outputs",
    ),
    pytest.param(
        saving([0, -1, 2]),
        "schedule stubborn holds [-1], neither cached nor in the stretch: "
        "asked for layers 1..4 with [0] cached, it answered [-1, 0, 2]",
        id="below the input",
    ),
    pytest.param(
        saving([1, 2]),
        "schedule stubborn drops 0, the input: asked for layers 1..4 with [0] cached, it answered [1, 2]",
        id="without the input",
    ),
    pytest.param(
        saving([]),
        "schedule stubborn drops 0, the input: asked for layers 1..4 with [0] cached, it answered []",
        id="nothing",
    ),
    pytest.param(
        saving([0, "1"]),
        "schedule stubborn holds ['1'], neither cached nor in the stretch: "
        "asked for layers 1..4 with [0] cached, it answered [0, '1']",
        id="not an integer",
    ),
    pytest.param(
        saving([0, 2], [0, 1, 2]),
        "schedule stubborn holds [2], neither cached nor in the stretch: "
        "asked for layers 1..1 with [0] cached, it answered [0, 1, 2]",
        id="used up by backward",
    ),
    pytest.param(
        saving([0], [0, 3]),
        "schedule stubborn holds [3], neither cached nor in the stretch: "
        "asked for layers 1..2 with [0] cached, it answered [0, 3]",
        id="above the stretch",
    ),
    pytest.param(
        saving([0], [1, 2]),
        "schedule stubborn drops 0, the input: asked for layers 1..2 with [0] cached, it answered [1, 2]",
        id="without the input in backward",
    ),
]


@pytest.mark.parametrize(("schedule", "message"), FAULTS)
def test_a_schedule_holds_what_is_there_and_the_input(schedule: Callable, message: str):
    """The step is lost with its schedule; the next one, with a better schedule, is not."""
    network = NetworkWithCheckpointing(LAYERS, checkpoint_frequency=2)
    network.schedule = schedule
    expect_error(message, gradients, network)
    expect_error(NO_FORWARD_PASS, network.backward, Y, kind=RuntimeError)
    network.schedule = periodic(2)
    expect_to_work_as_new(network)


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (sqrt, "schedule must be what its factory makes, sqrt(..), got the factory sqrt itself"),
        (revolve, "schedule must be what its factory makes, revolve(..), got the factory revolve itself"),
        (lambda chain: None, "schedule <lambda> must return a function keep(cached, start, stop), got None"),
        (
            lambda chain: lambda *stretch: None,
            "<lambda> must answer with the positions to keep, such as {0, 4}, got None",
        ),
        (lambda chain: lambda *stretch: 3, "<lambda> must answer with the positions to keep, such as {0, 4}, got 3"),
        (lambda chain: lambda *stretch: [0, True], "with the positions to keep, such as {0, 4}, got [0, True]"),
    ],
)
def test_what_is_no_schedule_is_named_with_the_way_out(schedule, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        dry_run([4, 5, 3], batch=2, schedule=schedule)


def test_a_schedule_written_without_its_options_is_answered_with_them():
    with pytest.raises(ValueError, match=re.escape("it is written revolve(slots=..)")):
        parse_schedule("revolve(3)")
