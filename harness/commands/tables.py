"""Tables for people: no table is wider than its page, and no name is broken."""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from textwrap import fill
from typing import Any

LEAST_NAME = 11
"""No name is cut below so many characters: `periodic[1]` has as many."""

GAP = 2
"""Spaces between two columns."""

TextRow = Mapping[str, str]

Columns = Mapping[str, Callable[[Any], str]]
"""For each column of a table, its title and its text of a thing. A column without any text is left out."""


class Key:
    """Numbers that stand in tables for names too long for them. The names are told beneath."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def short(self, name: str, characters: int) -> str:
        """The name if it has at most so many characters. If not, a number, after what it calls if that fits, too."""
        if len(name) <= characters:
            return name
        number = f"[{self._numbers.setdefault(name, len(self._numbers) + 1)}]"
        called = name.partition("(")[0].rpartition(":")[2]
        return f"{called}{number}" if len(called) + len(number) <= characters else number

    def lines(self, width: int) -> list[str]:
        """What each number stands for, in lines that are broken between words."""
        return [wrapped(name, width, start=f"[{number}] ") for name, number in self._numbers.items()]


def wrapped(text: str, width: int, *, start: str = "") -> str:
    """The text after `start` in lines of at most `width` characters, broken between words; the others are indented."""
    return fill(
        text,
        width,
        initial_indent=start,
        subsequent_indent="    ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def folded(text: str, width: int) -> str:
    """A text with a list of layers. If it is too long, it is broken between widths as well, and has blanks there."""
    return text if len(text) <= width else fill(re.sub(r",(?=\S)", ", ", text), width, break_on_hyphens=False)


def aligned(rows: Sequence[TextRow], *, left: Collection[str], width: int, key: Key | None = None) -> str:
    """The rows under the names of their columns, in at most `width` characters; the columns of `left` are flush left.

    There must be a row and a column.

    A table that is too wide has its headings in several lines. If it is still too wide, long names of `left` are
    numbers of the key. If that does not do, columns go to further tables, each with the first column again. The key
    stands beneath the tables, unless it is the caller's.

    A rich table looks the same and takes half a millisecond a row, which counts where there are ten thousand.
    """
    headings = {column: [column.replace("_", " ")] for column in rows[0]}
    if _lacking(_widths(rows, headings), width) > (1, 0):
        headings = {column: heading.split() for column, (heading,) in headings.items()}
    names, most = key or Key(), _most_characters(rows, headings, left, width)
    short = [{c: names.short(cell, most) if c in left else cell for c, cell in row.items()} for row in rows]
    widths = _widths(short, headings)
    tables = [
        "\n".join(_lines(short, headings, {column: widths[column] for column in part}, left))
        for part in _parts(widths, width)
    ]
    if key is None and names.lines(width):
        tables.append("\n".join(names.lines(width)))
    return "\n\n".join(tables)


def told_by(columns: Columns, things: Sequence[Any]) -> list[TextRow]:
    """A row of `columns` for each of the things."""
    filled = {name: cell for name, cell in columns.items() if any(map(cell, things))}
    return [{name: cell(thing) for name, cell in filled.items()} for thing in things]


def _widths(rows: Sequence[TextRow], headings: Mapping[str, Sequence[str]]) -> dict[str, int]:
    return {
        column: max(*map(len, heading), *(len(row[column]) for row in rows)) for column, heading in headings.items()
    }


def _most_characters(
    rows: Sequence[TextRow], headings: Mapping[str, Sequence[str]], left: Collection[str], width: int
) -> int:
    """The most characters of a name with which tables are as few as with the shortest names."""
    whole = _widths(rows, headings)

    def lacking(most: int) -> tuple[int, int]:
        return _lacking({column: min(w, most) if column in left else w for column, w in whole.items()}, width)

    longest, least = max((whole[column] for column in left if column in whole), default=0), lacking(LEAST_NAME)
    return next((most for most in range(longest, LEAST_NAME, -1) if lacking(most) == least), LEAST_NAME)


def _parts(widths: Mapping[str, int], width: int) -> list[list[str]]:
    """The columns of each table: as many as `width` has room for, after the first column."""
    first, *others = widths
    parts = [[first]]
    for column in others:
        if _taken(widths, [*parts[-1], column]) > width and parts[-1] != [first]:
            parts.append([first])
        parts[-1].append(column)
    return parts


def _taken(widths: Mapping[str, int], columns: Collection[str]) -> int:
    return sum(widths[column] for column in columns) + GAP * (len(columns) - 1)


def _lacking(widths: Mapping[str, int], width: int) -> tuple[int, int]:
    """How many tables there are, and the most characters that one of them is too wide."""
    parts = _parts(widths, width)
    return len(parts), max(0, *(_taken(widths, part) - width for part in parts))


def _lines(
    rows: Sequence[TextRow], headings: Mapping[str, Sequence[str]], widths: Mapping[str, int], left: Collection[str]
) -> Iterator[str]:
    def line(row: TextRow) -> str:
        cells = (row[column].ljust(w) if column in left else row[column].rjust(w) for column, w in widths.items())
        return (GAP * " ").join(cells).rstrip()

    depth = max(len(headings[column]) for column in widths)
    for level in range(depth, 0, -1):
        words = {column: headings[column][-level] if level <= len(headings[column]) else "" for column in widths}
        yield line(words)
    yield "─" * _taken(widths, widths)
    yield from map(line, rows)
