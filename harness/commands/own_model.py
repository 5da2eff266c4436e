"""Options that name a PyTorch model of the user's own."""

from typing import Annotated

import typer

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
    str | None, typer.Option("--device", help="Of a model: cpu, the default, or cuda, which was not measured here.")
]
