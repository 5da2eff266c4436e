"""Where text is printed, the terminal or a page wide enough for tables, and what a cell is called there."""

import sys
from collections.abc import Collection, Mapping, Sequence

from rich.console import Console

from harness.cell import Cell

PAGE_COLUMNS = 160


def page() -> Console:
    """A console on standard output: text comes as it is, without markup or line breaks, and tables fit the width."""
    width = None if sys.stdout.isatty() else PAGE_COLUMNS
    return Console(highlight=False, markup=False, soft_wrap=True, width=width)


def aligned(rows: Sequence[Mapping[str, str]], *, left: Collection[str]) -> str:
    """The rows under the names of their columns, those in `left` flush left.

    A rich table looks the same and takes half a millisecond a row, which counts where there are ten thousand.
    """
    names = {column: column.replace("_", " ") for column in rows[0]}
    widths = {column: max(len(name), *(len(row[column]) for row in rows)) for column, name in names.items()}

    def line(row: Mapping[str, str]) -> str:
        cells = (row[column].ljust(w) if column in left else row[column].rjust(w) for column, w in widths.items())
        return "  ".join(cells).rstrip()

    rule = "─" * (sum(widths.values()) + 2 * (len(widths) - 1))
    return "\n".join([line(names), rule, *map(line, rows)])


def named(*cells: Cell) -> str:
    """What cells of one comparison group are called: what they share, and each one's variant; one alone has its id."""
    variants = ", ".join(cell.variant if cell.peer is None else f"{cell.framework} {cell.variant}" for cell in cells)
    cell, *others = cells
    name = f"{cell.layers}, batch {cell.batch}, {cell.dtype}, {variants}"
    return name if others else f"{name} ({cell.cell_id})"
