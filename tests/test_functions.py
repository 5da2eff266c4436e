"""Functions stay short: each can be read without scrolling."""

import ast
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).resolve().parent.parent
LONGEST, MEDIAN = 60, 7


def lengths(package: str) -> Iterator[tuple[str, int]]:
    """Each function of a package and how many lines it has, its docstring included."""
    for path in sorted((ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                yield f"{path.relative_to(ROOT)}:{node.name}", node.end_lineno - node.lineno + 1


@pytest.mark.parametrize("package", ["networks", "harness"])
def test_functions_are_short(package: str):
    found = list(lengths(package))
    assert [function for function in found if function[1] > LONGEST] == []
    assert median(lines for _, lines in found) <= MEDIAN
