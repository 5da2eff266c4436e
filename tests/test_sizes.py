"""Sizes as people write them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.sizes import format_bytes, parse_bytes


@pytest.mark.parametrize(
    ("text", "nbytes"),
    [
        ("65536", 65_536),
        ("1B", 1),
        ("24MiB", 24 * 2**20),
        (" 24 mib ", 24 * 2**20),
        ("1.5GB", 1_500_000_000),
        ("0.1kB", 100),
        ("64KB", 64_000),
        ("1.1KiB", 1126),  # 1126.4
        ("2TiB", 2 * 2**40),
    ],
)
def test_a_size_is_read(text: str, nbytes: int):
    assert parse_bytes(text) == nbytes


@pytest.mark.parametrize("text", ["", "MiB", "-1MiB", "1e6", "24Mb ps", "3QiB", "1.5.2MB", "٣x", "1,5GB"])
def test_what_is_no_size_is_named(text: str):
    message = f"a size must be written like 24MiB, 1.5GB or 65536 (bytes), got {text!r}"
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_bytes(text)


@pytest.mark.parametrize("text", ["0", "0.0GiB", "0.5B"])
def test_a_size_is_at_least_a_byte(text: str):
    with pytest.raises(ValueError, match=re.escape(f"a size must be at least 1 byte, got {text!r}")):
        parse_bytes(text)


@pytest.mark.parametrize(
    ("nbytes", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.00 KiB"), (5 * 2**20 // 2, "2.50 MiB"), (10**12, "931.32 GiB")],
)
def test_a_size_is_written_in_the_largest_unit_it_fills(nbytes: int, text: str):
    assert format_bytes(nbytes) == text


def test_sizes_of_a_column_are_written_in_one_unit():
    assert [format_bytes(nbytes, like=3 * 2**20) for nbytes in (2**10, 2**19, 3 * 2**20)] == [
        "0.00 MiB",
        "0.50 MiB",
        "3.00 MiB",
    ]


@given(st.integers(1, 2**50))
def test_what_is_written_is_read_as_about_the_same(nbytes: int):
    assert parse_bytes(format_bytes(nbytes)) == pytest.approx(nbytes, rel=0.005)
