"""Inputs that are nearly right are accepted, or refused in lines that can be read: a short pass of `make fuzz`."""

import pytest

from tests.slow.fuzz import SHARES, Tally, fuzz

INPUTS = {"experiment": 500, "schedule": 3_000, "record": 500, "environment": 500, "package": 500, "table": 100}


@pytest.mark.parametrize("reader", SHARES)
def test_no_input_ends_in_a_traceback(reader):
    tally = fuzz({reader: INPUTS[reader]}, seed=1)[reader]
    assert tally.failures == {}
    assert min(tally.accepted, tally.refused) >= INPUTS[reader] / 50
    assert tally.accepted + tally.refused == INPUTS[reader]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (KeyError("a"), "KeyError: 'a', from "),
        (UnicodeError("bytes"), "UnicodeError: bytes, from "),
        (ValueError("a\x1b[31m"), "a message of 1 lines that nobody reads: 'a\\x1b[31m', from "),
        (ValueError("a" * 2_000), "a message of 1 lines that nobody reads: 'aaa"),
        (ValueError("a\n" * 100), "a message of 101 lines that nobody reads: 'a\\na"),
    ],
)
def test_what_is_no_answer_to_a_bad_input_is_told_with_it(error, told):
    def read(content):
        raise error

    tally = Tally()
    tally.feed(read, b"input")
    ((how, content),) = tally.failures.items()
    assert how.startswith(told)
    assert content == "b'input'"


def test_one_seed_draws_the_same_inputs():
    assert fuzz({"schedule": 200}, seed=3) == fuzz({"schedule": 200}, seed=3) != fuzz({"schedule": 200}, seed=4)
