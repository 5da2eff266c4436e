"""Layer lists are read and written in their short form, and bad ones are refused in one line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from networks.layer_lists import format_layers, parse_layers


@pytest.mark.parametrize(
    ("text", "layers"),
    [
        ("64,128,64,10", (64, 128, 64, 10)),
        ("64,128x3,10", (64, 128, 128, 128, 10)),
        ("8x4", (8, 8, 8, 8)),
        ("8x2,9x2", (8, 8, 9, 9)),
    ],
)
def test_the_short_form_names_each_run_of_equal_widths(text: str, layers: tuple[int, ...]):
    assert parse_layers(text) == layers
    assert format_layers(layers) == text


def test_spaces_and_split_runs_are_read_as_well():
    assert parse_layers(" 64, 128x2 ,128x1,10") == (64, 128, 128, 128, 10)


def test_a_million_layers_can_be_named():
    assert len(parse_layers("64,8x1000000")) == 1_000_001


@given(st.lists(st.tuples(st.integers(1, 10**6), st.integers(1, 300)), min_size=1, max_size=5))
def test_what_is_written_is_read_back(runs: list[tuple[int, int]]):
    layers = (8, *(width for width, times in runs for _ in range(times)))
    assert parse_layers(format_layers(layers)) == layers


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("64,,10", "layers '64,,10': '' is not a width such as 128 or a run such as 128x32"),
        ("", "layers '': '' is not a width such as 128 or a run such as 128x32"),
        ("64,ten", "layers '64,ten': 'ten' is not a width such as 128 or a run such as 128x32"),
        ("64,-5", "layers '64,-5': '-5' is not a width such as 128 or a run such as 128x32"),
        ("64,1.5", "layers '64,1.5': '1.5' is not a width such as 128 or a run such as 128x32"),
        ("64,128x", "layers '64,128x': '128x' is not a width such as 128 or a run such as 128x32"),
        ("64,128x0,10", "layers '64,128x0,10': '128x0' is not a width such as 128 or a run such as 128x32"),
        ("64,128x00,10", "layers '64,128x00,10': '128x00' is not a width such as 128 or a run such as 128x32"),
        ("64,8x1000001", "layers '64,8x1000001': at most 1,000,000 layers can be named"),
        ("8x500000,9x500002", "layers '8x500000,9x500002': at most 1,000,000 layers can be named"),
        ("8,9x99999999999999", "layers '8,9x99999999999999': at most 1,000,000 layers can be named"),
        ("64x2x2", "layers '64x2x2': '64x2x2' is not a width such as 128 or a run such as 128x32"),
        ("64;10", "layers '64;10': '64;10' is not a width such as 128 or a run such as 128x32"),
        ("64,0", "layers '64,0': '0' is not a width such as 128 or a run such as 128x32"),
        ("64", "layers needs at least two widths, the inputs and the outputs, got [64]"),
    ],
)
def test_a_bad_text_is_an_error_that_names_the_part(text: str, message: str):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        parse_layers(text)
    assert str(caught.value) == message
