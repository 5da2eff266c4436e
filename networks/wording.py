"""Words of messages: a value as it was given, however large, and what may have been meant."""

import reprlib
import unicodedata
from collections.abc import Collection

UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Categories of characters that are not seen but do something: escapes, direction marks, halves of pairs, line ends."""


def visible(text: str) -> str:
    """The text with a replacement character in place of each of these, line feeds excepted."""
    return text if text.isprintable() else "".join(map(_visible, text))


def is_visible(text: str) -> bool:
    """Whether it is one line of text without any such character."""
    return "\n" not in text and visible(text) == text


def _visible(character: str) -> str:
    seen = character == "\n" or unicodedata.category(character) not in UNSEEN
    return character if seen else "\N{REPLACEMENT CHARACTER}"


class _Shortened(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = 100

    def repr_int(self, value: int, level: int) -> str:
        # Python refuses to write integers of thousands of digits.
        return super().repr_int(value, level) if value.bit_length() <= 1024 else f"one of {value.bit_length():,} bits"


shown = _Shortened().repr
"""Write a value as `repr` does, in about a hundred characters: what is long is shortened in its middle."""


def cut(text: str) -> str:
    """Leave out the middle of a long `text`."""
    return text if len(text) <= 200 else f"{text[:120]}...{text[-60:]}"


def in_a_line(text: str) -> str:
    """A `text` of anybody's as it is, or as `repr` writes it where it does not print; a long one is cut."""
    return cut(text if text.isprintable() else repr(text))


def one_of(value: object, known: Collection[str]) -> str:
    """What a message says after "must be": the words that are `known`, the `value` received, and the nearest word."""
    return f"one of {', '.join(known)}, got {shown(value)}{did_you_mean(value, known)}"


def did_you_mean(value: object, known: Collection[str]) -> str:
    """Name the word of `known` that is nearest to `value`; empty where none is near."""
    import difflib  # takes a millisecond, and most processes have nothing to say

    # A longer text resembles no word, and takes long to compare.
    near = difflib.get_close_matches(value[:100], known, n=1) if isinstance(value, str) else []
    return f"; did you mean {near[0]}?" if near else ""
