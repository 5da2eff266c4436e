"""Chains are called by their shape, and by as much more as tells them apart."""

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
    assert name_chains([*lists, lists[0]]) == dict(zip(lists, names, strict=True))
