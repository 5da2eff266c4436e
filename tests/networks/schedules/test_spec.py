"""Schedules as text: what is none is one line that names it."""

import re

import pytest

from networks.chain import Chain
from networks.schedules.spec import MOST_CHARACTERS, parse_schedule

MALFORMED = "schedule must be written like revolve(slots=4) or rules.py:factory(), got "


def problem(text: str) -> str:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        parse_schedule(text)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500
    return str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "revolve",
        "revolve(slots=",
        "revolve(slots=4); sqrt()",
        "revolve(slots=nan)",
        "revolve(slots=2**3)",
        "revolve(*[4])",
        "revolve(**{})",
        "revolve(**{'slots': 4})",
        "a.revolve(slots=4)",
        "revolve(slots={[]})",
        "evicting(budget_bytes=9, heuristic='\\d')",
        "revolve(slots=4\0)",
        "revolve(slots=\udc80)",
        "[" * 199,
        "-" * 199 + "1",
    ],
)
def test_what_is_no_call_with_literals_is_shown(text):
    assert problem(text).startswith(MALFORMED)


@pytest.mark.parametrize(
    "text",
    [
        f"revolve(slots={'1+' * 50_000}1)",
        f"revolve(slots={'[' * 50_000})",
        f"revolve(slots={'9' * 5_000})",
        f"revolve(slots=0x{'f' * 5_000})",
        f"revolve({'slots=1, ' * 50_000})",
    ],
)
def test_a_long_text_is_refused_before_it_is_parsed(text):
    told = problem(text)
    assert told.startswith(f"schedule must have at most {MOST_CHARACTERS} characters, got {len(text):,}: 'revolve(")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("revolve(slots=1, slots=2)", "schedule 'revolve(slots=1, slots=2)': slots is given twice"),
        (
            "periodic(3, checkpoint_frequency=4)",
            "got multiple values for argument 'checkpoint_frequency'; it is written",
        ),
        ("revolve(4)", "it is written revolve(slots=..)"),
        ("revolv(slots=4)", "got 'revolv'; did you mean revolve?"),
        ("evicting(budget_bytes=9, heuristic='lry')", "heuristic must be one of dtr, lru, largest, got 'lry'; did you"),
        ("evicting(budget_bytes=9, heuristic=[])", "heuristic must be one of dtr, lru, largest, got []"),
        ("periodic(3, recompute={})", "recompute must be 'segment' or 'each', got {}"),
        ("revolve(slots=1e999)", "slots must be an integer of at least 1, got inf"),
        ("revolve(slots=True)", "slots must be an integer of at least 1, got True"),
        (f"revolve(slots={2**63})", f"slots must be an integer of at most {2**63 - 1}, got {2**63}"),
        (f"greedy(budget_bytes=0x{'f' * 150})", f"budget_bytes must be an integer of at most {2**63 - 1}, got "),
        (f"periodic({2**63})", f"checkpoint_frequency must be an integer of at most {2**63 - 1}, got {2**63}"),
    ],
)
def test_a_call_that_makes_no_schedule_says_why(text, said):
    assert said in problem(text)


@pytest.mark.parametrize(
    "written", ["revolve(slots={})", "periodic({})", "greedy(budget_bytes={})", "optimal(budget_bytes={})"]
)
def test_the_largest_argument_serves_as_any_does(written):
    chain = Chain((4, 5, 3), 2, 4)
    keep = parse_schedule(written.format(2**63 - 1))(chain)
    assert 0 in keep({0: 0}, 0, 2)


def test_one_text_is_one_schedule():
    assert parse_schedule("sqrt()") is parse_schedule("sqrt()")
    assert re.fullmatch(r"revolve\(slots=4\)", parse_schedule(" revolve ( slots = 4, ) # four").__name__)
