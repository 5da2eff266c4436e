"""Options that name a user's own PyTorch model."""

from pathlib import Path
from typing import Annotated

import typer

from harness.commands.names import refuse
from harness.execute.models import OwnModel
from networks.planning.own_models import BlockProfile

ModelFile = Annotated[
    str,
    typer.Argument(
        metavar="FILE.py:FUNCTION", help="A file, and the function in it that makes the model: my_model.py:make."
    ),
]
BlocksOption = Annotated[
    str | None,
    typer.Option(
        "--blocks",
        metavar="PATH",
        help="For a model: a list of its modules, such as encoder.layers, or auto. Default: a Sequential's children.",
    ),
]
DeviceOption = Annotated[
    str | None,
    typer.Option(
        "--device",
        help="For a model: cpu (default), cuda (not measured here) or meta (allocates nothing).",
    ),
]
GradientsOption = Annotated[
    str | None,
    typer.Option(
        "--gradients",
        help="For a model: kept (default, until the step ends) or freed (each as soon as it is complete).",
    ),
]


def read_profile(path: Path) -> BlockProfile:
    """The profile in a file. Raises ValueError for any other file."""
    if path.suffix == ".py" or ".py:" in path.name:
        raise ValueError(f"{path}: give a profile, which python -m harness profile {path} --save profile.json writes")
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file")
    try:
        return BlockProfile.from_json(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def named_model(text: str, blocks: str | None, device: str | None) -> OwnModel | BlockProfile:
    """The model of a `FILE.py:FUNCTION`, or the profile in a .json file. Raises ValueError for any other text."""
    if text.endswith(".json"):
        refuse({"--blocks": blocks, "--device": device}, "a profile in a file")
        return read_profile(Path(text))
    return OwnModel.in_file(text, blocks, device or "cpu")
