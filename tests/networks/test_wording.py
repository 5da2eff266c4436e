"""Messages show what was given in a line of some length, and name the word that is near to it."""

import datetime
import sys

import pytest

from networks.wording import cut, did_you_mean, one_of, shown

NESTED: list = []
for _ in range(2 * sys.getrecursionlimit()):
    NESTED = [NESTED]


@pytest.mark.parametrize("value", ["sqrt()", -3, 4.5, True, None, [1, "a"], {"a": 1}, datetime.date(2000, 1, 2)])
def test_what_is_short_is_shown_as_it_is(value):
    assert shown(value) == repr(value)


@pytest.mark.parametrize(
    "value", ["x" * 10**6, 2**20_000, -(2**20_000), list(range(10**5)), NESTED, [NESTED] * 10**5], ids=range(6)
)
def test_what_is_long_or_deep_is_shown_in_part(value):
    assert len(shown(value)) < 200


def test_an_integer_too_long_to_write_is_told_by_its_bits():
    assert shown(2**20_000) == "one of 20,001 bits"


def test_control_characters_are_never_shown_raw():
    assert shown("\x1b[31m\nred" * 100).isprintable()


def test_a_long_text_loses_its_middle():
    assert cut("a" * 200) == "a" * 200
    assert cut("a" * 1000 + "end") == "a" * 120 + "..." + "a" * 57 + "end"


def test_the_nearest_word_is_named_where_there_is_one():
    words = ("memory", "time", "timeline")
    assert did_you_mean("memroy", words) == "; did you mean memory?"
    for far in ("speed", "", "memory" * 10**5, 3, ["memory"]):
        assert did_you_mean(far, words) == ""
    assert one_of("tim", words) == "one of memory, time, timeline, got 'tim'; did you mean time?"
