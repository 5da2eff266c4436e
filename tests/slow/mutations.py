"""Inputs that are nearly right: valid ones, changed at a few places drawn from a seed."""

import random
import re
from collections.abc import Callable, Sequence

NUMBERS = (
    *("0", "-1", "1", "2", "1.5", "1e9", "1e400", "nan", "inf", "-inf", "true", "0x7f", "1_000", "1979-05-27"),
    *(str(2**power + offset) for power in (15, 31, 32, 53, 62, 63, 64, 200) for offset in (-1, 0, 1)),
    *("9" * 5_000, "0x" + "f" * 5_000, "0." + "0" * 5_000 + "1", "٣", "-" * 300 + "1"),
)
"""What stands in place of a number: the edges of what 8 to 64 bits hold, and what is no number there."""

MARKS = (
    *(
        '"',
        "'",
        '"""',
        "[",
        "]",
        "{",
        "}",
        "[[",
        "]]",
        "(",
        ")",
        ",",
        "=",
        ":",
        "#",
        "\\",
        ".",
        "..",
        "/",
        "\n",
        "\r",
        "",
    ),
    *("\0", "\x1b[31m", "\x7f", "\u202e", "\ufeff", "\ud7ff", "→", "é", "*", "**", "_", "%s", "{0}", "null", "None"),
    *("[" * 50, "{a=" * 50, "(" * 250, "[" * 100_000, '{"a":' * 100_000, "{a=" * 100_000, "a." * 50_000, "1+" * 50_000),
)
"""What is put in: brackets and quotes, controls, and what is deep or long."""

_TOKEN = re.compile(rb"\w+|\s+|.", re.DOTALL)
_NUMBER = re.compile(rb"-?[0-9][0-9_.]*")

Mutation = Callable[[random.Random, bytes], bytes]


def mutated(generator: random.Random, valid: Sequence[bytes]) -> bytes:
    """One of `valid` after one to four changes."""
    content = generator.choice(valid)
    for _ in range(generator.choice((1, 1, 1, 1, 2, 3, 4))):
        content = generator.choice(_MUTATIONS)(generator, content)
    return content


def _span(generator: random.Random, content: bytes) -> tuple[int, int]:
    start = generator.randint(0, len(content))
    return start, min(len(content), start + int(generator.expovariate(1 / 8)))


def _byte(generator: random.Random, content: bytes) -> bytes:
    at = generator.randint(0, len(content))
    return content[:at] + bytes([generator.randrange(256)]) + content[at + 1 :]


def _left_out(generator: random.Random, content: bytes) -> bytes:
    start, stop = _span(generator, content)
    return content[:start] + content[stop:]


def _doubled(generator: random.Random, content: bytes) -> bytes:
    start, stop = _span(generator, content)
    return content[:stop] + content[start:stop] + content[stop:]


def _cut_short(generator: random.Random, content: bytes) -> bytes:
    return content[: generator.randint(0, len(content))]


def _number(generator: random.Random, content: bytes) -> bytes:
    numbers = list(_NUMBER.finditer(content))
    if not numbers:
        return content
    chosen = generator.choice(numbers)
    return content[: chosen.start()] + generator.choice(NUMBERS).encode() + content[chosen.end() :]


def _mark(generator: random.Random, content: bytes) -> bytes:
    start, stop = _span(generator, content)
    # What is deep or long is rare, because it takes long to read.
    marks = MARKS if generator.random() < 0.1 else MARKS[:-8]
    return content[:start] + generator.choice(marks).encode() + content[generator.choice((start, stop)) :]


def _tokens(generator: random.Random, content: bytes) -> bytes:
    """One token in the place of another, which may stay or come in exchange."""
    tokens = _TOKEN.findall(content)
    if not tokens:
        return content
    one, other = (generator.randrange(len(tokens)) for _ in range(2))
    tokens[one], tokens[other] = tokens[other], generator.choice((tokens[one], tokens[other], b""))
    return b"".join(tokens)


def _line(generator: random.Random, content: bytes) -> bytes:
    lines = content.splitlines(keepends=True) or [b""]
    at, to = (generator.randrange(len(lines)) for _ in range(2))
    line = lines[at] if generator.random() < 0.5 else lines.pop(at)
    return b"".join([*lines[:to], line, *lines[to:]])


def _encoded(generator: random.Random, content: bytes) -> bytes:
    encoding = generator.choice(("utf-8-sig", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"))
    return content.decode(errors="replace").encode(encoding)


_MUTATIONS: tuple[Mutation, ...] = (
    *(_byte, _left_out, _doubled, _cut_short, _line),
    *(2 * (_mark, _tokens)),
    *(3 * (_number,)),
    _encoded,
)
