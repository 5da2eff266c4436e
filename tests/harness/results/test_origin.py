"""Where a row comes from: what has changed between two origins."""

from dataclasses import FrozenInstanceError, replace

import pytest

from harness.results.origin import Origin

ORIGIN = Origin(
    code="a" * 64,
    schedules={"sqrt": "b" * 64, "rules.py": "c" * 64},
    machine={"cpu": "one", "blas": [{"threads": 1}], "torch": None},
    machine_id="m",
    variables={"A": "1"},
)


@pytest.mark.parametrize(
    ("changes", "lines"),
    [
        ({}, []),
        ({"code": "d" * 64}, ["the measured code has changed (was aaaaaaaa, is dddddddd)"]),
        (
            {"schedules": {"sqrt": "b" * 64, "rules.py": "d" * 64}},
            ["the code of rules.py has changed (was cccccccc, is dddddddd)"],
        ),
        ({"schedules": {}}, []),  # of what one alone runs nothing is known
        ({"machine": {"cpu": "two", "blas": [{"threads": 1}]}}, ["machine.cpu: one -> two"]),
        ({"machine": {"cpu": "one", "blas": []}}, ["machine.blas.0.threads: 1 -> nothing"]),
        ({"variables": {"A": "1", "B": "2"}}, ["variables.B: nothing -> 2"]),
        ({"machine_id": "n"}, ["another machine"]),
    ],
)
def test_each_difference_is_a_line(changes, lines):
    assert ORIGIN.differences(replace(ORIGIN, **changes)) == lines


def test_what_is_published_names_no_machine():
    assert ORIGIN.told().keys() == {"code", "schedules", "machine", "variables"}


def test_an_origin_does_not_change():
    with pytest.raises(FrozenInstanceError):
        ORIGIN.code = "e"
