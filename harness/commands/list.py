"""The list command: the experiments of a folder, or the schedules that have names."""

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table

from harness.commands.console import new_console
from harness.commands.names import find_folder, path_given
from harness.commands.tables import wrapped
from harness.experiment.file import Experiment
from networks.schedules import REGISTERED
from networks.schedules.foreign import announced, function_in


def command(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", parser=path_given, help="A folder of experiments.")
    ] = Path("experiments"),
    schedules: Annotated[
        bool, typer.Option("--schedules", help="List schedules instead: ours, and those of installed packages.")
    ] = False,
) -> None:
    """List the experiments of a folder, or with --schedules every schedule that has a name.

    A schedule is called by its name and arguments. An installed package announces its schedules by the entry point
    group checkpointing_lab.schedules. Listing imports those packages. Any other schedule is called by its file or
    module: 'rules.py:factory()', 'package.module:factory()'.
    """
    console = new_console()
    if schedules:
        for call, *about in (*_own(), *_announced()):
            lines = (wrapped(line, console.width, start="    ") for line in about if line)
            console.print(wrapped(call, console.width), *lines, sep="\n")
        return
    paths = sorted(find_folder(folder).glob("[!.]*.toml"))
    experiments = [Experiment.load(path, bind=False) for path in paths]
    if not experiments:
        raise ValueError(f"{folder}: holds no experiment (*.toml)")
    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("experiment", "title", "cells", "measures"):
        table.add_column(heading, no_wrap=heading in ("experiment", "cells"))
    for experiment in experiments:
        cells = str(len(experiment.cells()))
        table.add_row(experiment.name, experiment.title, cells, ", ".join(experiment.measure))
    console.print(table)


def _own() -> Iterator[tuple[str, str, str]]:
    for entry in REGISTERED.values():
        source = f"{entry.factory.__module__}, {entry.package}" if entry.package else entry.factory.__module__
        yield _call(entry.name, entry.factory), source, entry.paper


def _announced() -> Iterator[tuple[str, str, str]]:
    """Schedules of installed packages, or why one cannot be imported. One with a name of ours is called by module."""
    for name, point in announced().items():
        source = point.value if point.dist is None else f"{point.value}, {point.dist.name} {point.dist.version}"
        called = point.value if name in REGISTERED else name
        try:
            factory = function_in(point.module, point.attr, ())
        except ValueError as error:
            yield called, source, str(error)
        else:
            yield _call(called, factory), source, _paper(factory)


def _call(name: str, factory: Callable[..., Any]) -> str:
    """The call of a factory: `revolve(*, slots)`, without the types of its arguments."""
    parameters = inspect.signature(factory).parameters.values()
    plain = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in parameters]
    return f"{name}{inspect.Signature(plain)}"


def _paper(factory: Callable[..., Any]) -> str:
    """The text of the docstring's line that begins with `Paper:`. Empty if there is none."""
    lines = (line.strip() for line in (factory.__doc__ or "").splitlines())
    return next((line.removeprefix("Paper:").strip() for line in lines if line.startswith("Paper:")), "")
