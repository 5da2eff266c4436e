"""The command line, `python -m harness`: registers the commands, and turns complaints into exit codes."""

from harness.errors import BAD_INPUT, CELL_FAILED, Interrupted, RunAbortedError, end_at_once, run_in_order

if __name__ == "__main__":
    end_at_once()  # the other imports take a second

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module

import click
import typer
from typer.core import TyperGroup

from harness.commands.console import errors, prepare_streams

COMMANDS: Mapping[str, str] = {
    "run": "Measure an experiment and write its CSVs.",
    "plot": "Draw an experiment's figures from its CSVs.",
    "show": "Show an experiment's cells, what each would cost, and what has become of those that were run.",
    "list": "List the experiments of a folder.",
    "compare": "Compare two results folders of one experiment, cell by cell.",
    "verify": "Measure the memory cells of a results folder again, here, and compare every byte.",
    "flamegraph": "Measure one cell again and write memray's flame graph of its peak, as an HTML page.",
    "trace": "Print and draw what a schedule does in a training step.",
    "plan": "Find the schedule that trains a network with the least work within a budget of bytes.",
    "peers": "Print what every framework's step needs in memory and time, a row a variant.",
}
"""Each command and its help in a line. Its module in harness/commands/ is imported when it is called."""

OPTIONS = {"help_option_names": ["-h", "--help"]}


class Commands(TyperGroup):
    """The commands, each imported alone: a command waits for no other's libraries."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        one = typer.Typer(add_completion=False, rich_markup_mode=None)
        command = import_module(f"harness.commands.{name}").command
        one.command(name=name, context_settings=OPTIONS)(_complaints()(command))
        return typer.main.get_command(one)

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


app = typer.Typer(
    cls=Commands,
    help="Measure what activation checkpointing saves and what it costs: experiments in, CSVs and figures out.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # plain help starts a fifth faster
    context_settings=OPTIONS,
)


@app.callback()
def _group() -> None:
    """Nothing is common to all commands."""


@contextmanager
def _complaints() -> Iterator[None]:
    """Turn what is wrong with the input, the folder or the machine into its message and an exit code."""
    try:
        yield
    except Interrupted as error:
        with suppress(OSError):  # the terminal may be what has gone
            errors.print(_told("interrupted", error))
        raise
    except (ValueError, RunAbortedError) as error:
        message = str(error)
    except BrokenPipeError:
        raise  # who reads the output has seen enough: typer ends without a word
    except OSError as error:
        message = _told(f"{error.filename or 'results'}: {error.strerror}", error)
    else:
        return
    errors.print(message)
    raise typer.Exit(BAD_INPUT)


def _told(message: str, error: BaseException) -> str:
    """The message, and what the command has noted of how things stand."""
    return "; ".join([message, *getattr(error, "__notes__", [])])


def main() -> None:
    """The command line in a process of its own."""
    os.environ.pop("MPLBACKEND", None)  # a notebook's, whose module may not be installed here; figures go to files
    try:
        prepare_streams()
        try:
            app(prog_name="python -m harness")
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        sys.exit(CELL_FAILED)
    except (OSError, ValueError) as error:
        told = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else str(error)
        errors.print(told)
        sys.exit(BAD_INPUT)


if __name__ == "__main__":
    run_in_order(main)
