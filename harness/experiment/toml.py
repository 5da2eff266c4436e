"""Reads a TOML file. An error is one line with the file, the place and the way out."""

import re
import tomllib
from pathlib import Path
from typing import Any

from harness.files import is_utf16, open_regular
from networks.chain import LARGEST
from networks.wording import cut

MOST_BYTES, MOST_DOTS = 2**17, 1000
"""Most bytes of a file, forty times the longest here, and most dots in a line, as in a long key. The time of parsing
grows with the square of either."""


def read_bytes(path: Path) -> bytes:
    """The content of `path`, a regular file of at most `MOST_BYTES`."""
    try:
        with open_regular(path) as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}; save the experiment in one") from None
    if len(content) > MOST_BYTES:
        raise ValueError(f"{path}: is not an experiment: it has more than {MOST_BYTES:,} bytes")
    return content


def parse(path: Path, content: bytes) -> dict[str, Any]:
    """The table in `content`, which was read from `path`."""
    if is_utf16(content):
        raise ValueError(f"{path}: is not TOML: it is written in UTF-16; save it as UTF-8")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{path}: is not TOML: line {line}: byte 0x{content[error.start]:02x} is not UTF-8; save it as UTF-8"
        ) from None
    dotted = [line.count(".") > MOST_DOTS for line in text.split("\n")]
    if any(dotted):
        raise ValueError(
            f"{path}: is not an experiment: line {dotted.index(True) + 1} has more than {MOST_DOTS:,} dots"
        )
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path}: is not TOML: {cut(str(error))}") from None
    except RecursionError:
        raise ValueError(f"{path}: is not TOML: it is nested too deeply") from None
    except ValueError:  # Python's limit on the digits of an integer; its message has no place
        digits = max(re.finditer("[0-9][0-9_]*", text), key=lambda match: len(match[0]))
        line = text.count("\n", 0, digits.start()) + 1
        raise ValueError(f"{path}: line {line}: an integer is at most {LARGEST}, got {cut(digits[0])}") from None
