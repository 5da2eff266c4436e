"""Text that shows what it holds and does nothing: a control character of it moves no cursor and hides no words."""

import unicodedata

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
