"""Sizes as people write them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.sizes import format_apart, format_bytes, parse_bytes, retold


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
        ("1e9", 10**9),
        ("1.5E+3kB", 1_500_000),
        (".5GB", 500_000_000),
        ("5.GB", 5_000_000_000),
        ("9223372036854775807", 2**63 - 1),
        ("9007199254740993.9", 2**53 + 1),  # no float has it
    ],
)
def test_a_size_is_read(text: str, nbytes: int):
    assert parse_bytes(text) == nbytes


@pytest.mark.parametrize(
    "text", ["", "MiB", "-1MiB", "1e", "1e-3GB", ".", "e9", "٣", "24Mb ps", "3QiB", "1.5.2MB", "1,5GB"]
)
def test_what_is_no_size_is_named(text: str):
    message = f"a size must be written like 24MiB, 1.5GB or 65536 (bytes), got {text!r}"
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_bytes(text)


@pytest.mark.parametrize(
    ("text", "decimal", "binary"),
    [("24M", "24MB", "24MiB"), ("24 g", "24GB", "24GiB"), (".5k", ".5kB", ".5KiB"), ("1e3T", "1e3TB", "1e3TiB")],
)
def test_a_unit_that_means_two_sizes_is_refused_with_both(text: str, decimal: str, binary: str):
    message = f"--budget must be written as {decimal} (of 1000) or {binary} (of 1024), got {text!r}"
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_bytes(text, name="--budget")


@pytest.mark.parametrize("text", ["8e18TB", "9223372036854775808", "1e19", "1e999999999", "9" * 40])
def test_a_size_has_64_bits(text: str):
    with pytest.raises(ValueError, match=re.escape(f"a size must be at most {2**63 - 1} bytes, got {text!r}")):
        parse_bytes(text)


@pytest.mark.parametrize("text", ["9" * 5000, "0." + "1" * 5000, "1e" + "9" * 5000, " " * 5000 + "1"])
def test_a_size_of_thousands_of_characters_is_not_read(text: str):
    with pytest.raises(ValueError, match=r"a size must be written in at most 40 characters, like 24MiB, got 500[0-9]"):
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


@given(st.integers(1, 2**50), st.integers(1, 2**50) | st.just(1))
def test_two_sizes_that_differ_are_written_so(nbytes: int, more: int):
    for other in (nbytes + more, nbytes + 1):
        assert len(set(format_apart(nbytes, other))) == 2
    assert len(set(format_apart(nbytes, nbytes))) == 1


def test_sizes_that_two_digits_do_not_tell_apart_are_written_in_full():
    assert format_apart(2**29 + 1, 2**29) == ("536,870,913 bytes", "536,870,912 bytes")
    assert format_apart(2**30, 2**29) == ("1.00 GiB", "512.00 MiB")


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("24MiB", "at least 1.01 MiB (1,048,577 bytes), of 0.00 MiB (0 bytes)"),
        ("1.5 gb", "at least 0.01 GB (1,048,577 bytes), of 0.00 GB (0 bytes)"),
        ("65536", "at least 1048577 bytes, of 0 bytes"),
        ("12 parsecs", "at least 1048577 bytes, of 0 bytes"),
    ],
)
def test_sizes_of_a_message_are_told_in_the_unit_typed_and_rounded_up(typed: str, told: str):
    assert retold("at least 1048577 bytes, of 0 bytes", typed=typed) == told
