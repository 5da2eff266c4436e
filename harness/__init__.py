"""Measures the networks: experiment files in, tidy CSVs and figures out.

Python reads a results folder like this:

    import harness

    results = harness.open_results("results/growth")
    results.tables["memory"]  # a pandas DataFrame
    results.environment["machine"]  # of environment.json
    results.figure("growth")  # a matplotlib Figure

Workers import this package. So it imports only `networks` at once, which loads no library by itself. It imports
`harness.errors`, `harness.results`, `harness.plots` and `harness.execute` when they are needed. Its `__main__` imports
`harness.commands`.
"""

from functools import cached_property
from os import PathLike
from typing import TYPE_CHECKING, Any

from networks import __version__

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from harness.execute.models import profile_blocks
    from harness.results.folder import Results

__all__ = ["OpenedResults", "__version__", "open_results", "profile_blocks"]


def __getattr__(name: str) -> Any:
    if name == "profile_blocks":
        from harness.errors import naming_extras

        with naming_extras():
            from harness.execute.models import profile_blocks

        return profile_blocks
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class OpenedResults:
    """The results of one run in a folder, as they were when `open_results` read them."""

    def __init__(self, results: "Results"):
        self._results = results

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._results.folder}: {', '.join(self._results.contents)}>"

    @property
    def environment(self) -> dict[str, Any]:
        """The content of environment.json: experiment, machine, versions, code and commit."""
        return self._results.environment.model_dump(exclude_unset=True)

    @cached_property
    def tables(self) -> dict[str, "pd.DataFrame"]:
        """Every table by its name, such as `memory` or `time`, validated. Raises ValueError if one is damaged.

        Tables have one more column than their files: `chain`, the experiment's name for the layers. Empty if none.
        """
        return self._results.tables()

    @property
    def figures(self) -> tuple[str, ...]:
        """The names of the experiment's figures."""
        return tuple(self._results.environment.experiment.figures)

    def figure(self, name: str) -> "Figure":
        """Draw a figure: one of `figures`, or any other whose tables are there.

        Raises:
            ValueError: there is no such figure, or a table that it needs is missing or has no finished cell.
        """
        from harness.plots.draw import draw  # imports for seconds

        ((_, figure),) = draw(self.tables, [name])
        return figure


def open_results(folder: str | PathLike[str]) -> OpenedResults:
    """Read the results that a run has published in `folder`, such as results/growth.

    Raises:
        MissingExtraError: the extra `harness` is not installed. It is an ImportError.
        ValueError: the folder holds no complete results, or files that no run wrote.
    """
    from pathlib import Path

    from harness.errors import naming_extras

    with naming_extras():
        from harness.results.folder import read_results

    return OpenedResults(read_results(Path(folder)))
