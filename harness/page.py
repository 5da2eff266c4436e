"""Where text is printed: the terminal, or where there is none a page wide enough for tables."""

import sys

from rich.console import Console

PAGE_COLUMNS = 160


def page() -> Console:
    """A console on standard output: text comes as it is, without markup or line breaks, and tables fit the width."""
    width = None if sys.stdout.isatty() else PAGE_COLUMNS
    return Console(highlight=False, markup=False, soft_wrap=True, width=width)
