"""Options that name a PyTorch model of the user's own."""

from pathlib import Path
from typing import Annotated

import typer

from harness.commands.names import refuse
from harness.execute.models import OwnModel
from networks.planning.own_models import BlockProfile

ModelFile = Annotated[
    str, typer.Argument(metavar="FILE.py:FUNCTION", help="The file of a model and what makes it: my_model.py:make.")
]
BlocksOption = Annotated[
    str | None,
    typer.Option(
        "--blocks",
        metavar="PATH",
        help="Of a model: a list of modules in it, such as encoder.layers, or auto; else a Sequential's children.",
    ),
]
DeviceOption = Annotated[
    str | None,
    typer.Option(
        "--device",
        help="Of a model: cpu, the default, cuda, which was not measured here, or meta, which allocates nothing.",
    ),
]
GradientsOption = Annotated[
    str | None,
    typer.Option("--gradients", help="Of a model: kept to the end of the step, the default, or freed as they come."),
]


def read_profile(path: Path) -> BlockProfile:
    """The profile in a file. Raises ValueError, in a line, for any other file."""
    if path.suffix == ".py" or ".py:" in path.name:
        raise ValueError(f"{path}: give a profile, which python -m harness profile {path} --save profile.json writes")
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file")
    try:
        return BlockProfile.from_json(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def named_model(text: str, blocks: str | None, device: str | None) -> OwnModel | BlockProfile:
    """The model that a `FILE.py:FUNCTION` makes, or the profile in a .json file. Raises ValueError for any other."""
    if text.endswith(".json"):
        refuse({"--blocks": blocks, "--device": device}, "a profile in a file")
        return read_profile(Path(text))
    return OwnModel.in_file(text, blocks, device or "cpu")
