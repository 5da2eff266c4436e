"""The command line: registers the commands, and turns errors into messages and exit codes."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from harness.commands.console import console, errors, prepare_streams
from harness.errors import BAD_INPUT, CELL_FAILED, Interrupted, RunAbortedError
from networks import __version__

SCRIPT = "checkpointing-lab"
"""The name of the command that an installation has."""

PROGRAM = SCRIPT if Path(sys.argv[0]).name == SCRIPT else "python -m harness"
"""The name by which this process was called. A shell completes words only for `SCRIPT`."""

COMMANDS: Mapping[str, str] = {
    "run": "Measure an experiment and write its CSVs.",
    "plot": "Draw an experiment's figures from its CSVs.",
    "report": "Write results as one HTML page that needs no network.",
    "show": "Show an experiment's cells: the predicted cost of each, and the status of those that were run.",
    "list": "List the experiments of a folder, or all schedules.",
    "rank": "Rank an experiment's schedules by their work within each budget.",
    "compare": "Compare two results folders of one experiment, cell by cell.",
    "verify": "Measure the memory cells of a results folder again on this machine, and compare every byte.",
    "flamegraph": "Measure one cell again and write memray's flame graph of its peak, as an HTML page.",
    "trace": "Print and draw what a schedule does in a training step.",
    "plan": "Find the schedule that trains a network with the least work within a budget of bytes.",
    "profile": "Measure the memory and time of each block of your own PyTorch model.",
    "peers": "Print the memory and time of every framework's step, one row for each variant.",
}
"""Each command and its help line. A command's module in harness/commands/ is imported when it is called."""

OPTIONS = {"help_option_names": ["-h", "--help"]}


class Commands(TyperGroup):
    """The commands. Each is imported alone, so that no command waits for the libraries of another."""

    def list_commands(self, context: Any) -> list[str]:
        """Return the commands' names in the order of `COMMANDS`."""
        return list(COMMANDS)

    def get_command(self, context: Any, name: str) -> Any:
        """Import the command of this name. None if there is no such command."""
        if name not in COMMANDS:
            return None
        one = typer.Typer(add_completion=False, rich_markup_mode=None)
        command = import_module(f"harness.commands.{name}").command
        one.command(name=name, context_settings=OPTIONS)(_complaints()(command))
        return typer.main.get_command(one)

    def format_commands(self, context: Any, formatter: Any) -> None:
        """Write the help line of each command."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def shell_complete(self, context: Any, incomplete: str) -> list[Any]:
        """Complete the name of a command or an option, without importing a command."""
        commands: dict[str, Any] = {name: TyperCommand(name, help=told) for name, told in COMMANDS.items()}
        group = TyperGroup(commands=commands, params=self.params)
        return group.shell_complete(typer.Context(group), incomplete)


app = typer.Typer(
    cls=Commands,
    help="Measure what activation checkpointing saves and what it costs: experiments in, CSVs and figures out.",
    no_args_is_help=True,
    add_completion=PROGRAM == SCRIPT,
    rich_markup_mode=None,  # plain help starts a fifth faster
    context_settings=OPTIONS,
)


def _tell_version(asked: bool) -> None:
    if asked:
        console.print(f"{SCRIPT} {__version__}")
        raise typer.Exit


@app.callback()
def _group(
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Options of all commands together."""


@contextmanager
def _complaints() -> Iterator[None]:
    """Turn an error of the input, the folder or the machine into a message and an exit code."""
    try:
        yield
    except Interrupted as error:
        with suppress(OSError):  # the terminal may be what has gone
            errors.print(_told("interrupted", error))
        raise
    except (ValueError, RunAbortedError) as error:
        message = str(error)
    except BrokenPipeError:
        raise  # the reader of the output has closed it: typer ends silently
    except OSError as error:
        message = _told(f"{error.filename or 'results'}: {error.strerror}", error)
    else:
        return
    errors.print(message)
    raise typer.Exit(BAD_INPUT)


def _told(message: str, error: BaseException) -> str:
    """The message, and the notes that the command has added to the error."""
    return "; ".join([message, *getattr(error, "__notes__", [])])


def main() -> None:
    """The command line in a process of its own."""
    os.environ.pop("MPLBACKEND", None)  # a notebook sets it to a module that may be missing here; figures go to files
    try:
        prepare_streams()
        try:
            app(prog_name=PROGRAM)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        sys.exit(CELL_FAILED)
    except (OSError, ValueError) as error:
        told = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else str(error)
        errors.print(told)
        sys.exit(BAD_INPUT)
