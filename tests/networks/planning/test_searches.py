"""What a plan searches follows from what a factory takes."""

import re

import pytest

from networks.chain import Chain
from networks.planning.searches import SEARCHES, search_of
from networks.schedules import REGISTERED, periodic, revolve, sqrt
from networks.schedules.registry import Registered
from networks.schedules.replay import replay

CHAIN = Chain((64, *[128] * 15, 10), 256, 4)
ROOM = 1_400_000


def found(factory, room=ROOM, **fixed) -> str:
    """What is found of an entry whose factory is given, and needs no module."""
    entry = Registered(name="strange")
    vars(entry)["factory"] = factory
    return search_of(entry, fixed)(CHAIN, room).__name__


def test_every_kind_of_every_schedule_is_searched():
    assert list(SEARCHES) == [name for one in REGISTERED.values() if one.planned for name in one.by_name]
    assert {"store_all", "evicting dtr", "evicting lru", "evicting largest"} <= SEARCHES.keys()


def test_what_needs_no_argument_is_taken_as_it_is():
    assert found(sqrt) == found(lambda *, recompute="segment": sqrt()) == "sqrt()"


def test_of_an_integer_the_number_of_least_work_within_the_room_is_taken():
    def strange(*, some: int, mode: str = "segment"):
        return periodic(some, recompute=mode)

    fitting = {
        n: cost.forward_flops for n in range(1, 17) if (cost := replay(CHAIN, periodic(n)(CHAIN))).peak_bytes <= ROOM
    }
    assert 0 < len(fitting) < 16
    number = int(re.search(r"\d+", found(strange))[0])
    assert fitting[number] == min(fitting.values())
    assert found(strange, mode="each").endswith("recompute='each')")


def test_numbers_that_a_factory_refuses_are_left_out():
    def even(*, slots: int):
        if slots % 2:
            raise ValueError(f"slots must be even, got {slots}")
        return revolve(slots=slots)

    assert int(re.search(r"\d+", found(even))[0]) % 2 == 0

    def none(*, slots: int):
        raise ValueError(f"slots must be none, got {slots}")

    with pytest.raises(ValueError, match="slots must be none, got 16"):
        found(none)


def test_a_budget_is_the_room_that_is_left():
    def strange(*, budget_bytes: int, slots: int = 3):
        schedule = revolve(slots=slots)
        schedule.__name__ = f"strange(budget_bytes={budget_bytes})"
        return schedule

    assert found(strange) == f"strange(budget_bytes={ROOM})"
    assert found(strange, room=0) == "strange(budget_bytes=1)"


def test_what_cannot_be_searched_says_so():
    with pytest.raises(ValueError, match=r"^strange takes part and offset, which the planner does not search"):
        found(lambda *, part, offset: sqrt())
