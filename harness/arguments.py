"""What the arguments of several commands have in common."""

from pathlib import Path

import typer


def path_given(text: str | Path) -> Path:
    """A path as it is typed; an empty one would be the folder that the command is run in, which nobody asked for."""
    if text == "":
        raise typer.BadParameter("must not be empty; name a file or folder, such as . for this one")
    return Path(text)
