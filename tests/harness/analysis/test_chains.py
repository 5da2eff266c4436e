"""Chains are called by the name that they are given, else by their shape and as much more as tells them apart."""

import pandas as pd
import pytest

from harness.analysis.chains import name_chains, shape


@pytest.mark.parametrize(
    ("hidden", "name"),
    [
        ((), "equal"),
        ((8, 8, 8), "equal"),
        ((8, 8, 16, 32), "widening"),
        ((32, 16, 16), "narrowing"),
        ((32, 8, 8, 32), "hourglass"),
        ((8, 32, 16), "barrel"),
        ((8, 32, 16, 32), "mixed"),
    ],
)
def test_the_shape_is_that_of_the_hidden_widths(hidden, name):
    assert shape(hidden) == name


@pytest.mark.parametrize(
    ("lists", "names"),
    [
        (["64x49,10", "64,32,16,10"], ["equal", "narrowing"]),
        (["64x8,10", "64x9,10"], ["equal, 8 layers", "equal, 9 layers"]),
        (["64,8x3,10", "64,9x3,10"], ["equal, 4 layers of 8", "equal, 4 layers of 9"]),
        (["64,8x3,10", "32,8x3,10"], ["64,8x3,10", "32,8x3,10"]),
    ],
)
def test_a_name_is_as_long_as_it_must_be(lists, names):
    table = pd.DataFrame({"layers": [*lists, lists[0]], "chain": ""})
    assert name_chains(table) == dict(zip(lists, names, strict=True))


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (["", "", "mine"], ["equal", "narrowing", "mine"]),
        (["", "", "equal"], ["equal, 49 layers", "narrowing, 4 layers", "equal"]),
        (["a", "b", "c"], ["a", "b", "c"]),
    ],
)
def test_a_given_name_is_taken_and_no_other_has_it(given, names):
    lists = ["64x49,10", "64,32,16,8,10", "64,32x3,10"]
    assert list(name_chains(pd.DataFrame({"layers": lists, "chain": given})).values()) == names
