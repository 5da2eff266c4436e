"""Names as people type them: an experiment, a folder of results, an option."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path

import typer

from harness.sizes import retold

EXPERIMENTS, RESULTS = Path("experiments"), Path("results")

STEP_OPTIONS = ("layers", "batch", "dtype", "step", "micro_batch")
"""Arguments of a step that are also options of commands."""

LISTED = 12
"""How many names are listed at most if no name is close."""


def find_experiment(path: Path) -> Path:
    """`path` if it exists. If not, and if it is a bare name, the file of that name in experiments/."""
    return _found(path, EXPERIMENTS, what="experiment file", ending=".toml")


def find_results(path: Path) -> Path:
    """`path` if it exists. If not, and if it is a bare name, the folder of that name in results/."""
    try:
        return _found(path, RESULTS, what="folder of results")
    except ValueError:
        experiment = EXPERIMENTS / f"{path.name}.toml"
        if os.path.exists(experiment):
            raise ValueError(
                f"{path}: there is no such folder of results; python -m harness run {experiment} makes it"
            ) from None
        raise


def find_folder(path: Path) -> Path:
    """`path`, which must be a folder."""
    found = _found(path, Path(), what="folder")
    if not found.is_dir():
        raise ValueError(f"{path}: is not a folder")
    return found


def _found(path: Path, home: Path, *, what: str, ending: str = "") -> Path:
    bare = path.parent == Path()
    named = home / f"{path.name.removesuffix(ending)}{ending}"
    for candidate in (path, named) if bare else (path,):
        if os.path.exists(candidate):  # unlike Path.exists, False for a name that no file can have
            return candidate
    folder = home if bare else path.parent
    raise ValueError(f"{path}: there is no such {what}; {_meant(path.name, _there(folder, ending))}")


def _there(folder: Path, ending: str) -> list[Path]:
    if not os.path.isdir(folder):
        return []
    wanted = (one for one in folder.iterdir() if one.suffix == ending and one.is_dir() == (not ending))
    return sorted(path for path in wanted if not path.name.startswith("."))


def _meant(name: str, paths: list[Path]) -> str:
    """Which of `paths` may be meant by `name`. If none is close, the first of them."""
    stems = {path.stem: str(path) for path in paths}
    close = get_close_matches(Path(name[:100]).stem, stems, n=3)
    if close:
        return f"did you mean {' or '.join(stems[stem] for stem in close)}?"
    if not paths:
        return "none is there"
    more = f", .. ({len(paths)} in all)" if len(paths) > LISTED else ""
    return f"there are {', '.join(list(stems.values())[:LISTED])}{more}"


def option_name(name: str) -> str:
    """The option of an argument on the command line."""
    return "--" + name.removesuffix("_bytes").replace("_", "-")


def refuse(given: Mapping[str, object], beside: str) -> None:
    """Raise ValueError for the first option that was given, because none of them goes with `beside`."""
    for option, value in given.items():
        if value is not None:
            raise ValueError(f"{option} does not go with {beside}")


def as_options(message: str, names: Iterable[str]) -> str:
    """A message about arguments, with the arguments in `names` written as options.

    `name=value` becomes `--name value` anywhere. A name alone becomes `--name` if it is the message's first word.
    """
    alternatives = "|".join(names)
    spelt = re.sub(
        rf"\b({alternatives})=('?)([^\s',;:()]+)\2", lambda told: f"{option_name(told[1])} {told[3]}", message
    )
    return re.sub(rf"^({alternatives})(?=[ \[])", lambda told: option_name(told[1]), spelt)


@contextmanager
def as_typed(options: Iterable[str], *, size: str | None = None) -> Iterator[None]:
    """Rewrite a ValueError raised within this context: `options` as they were typed, bytes in the unit of `size`.

    `size` is the budget as it was typed.
    """
    try:
        yield
    except ValueError as error:
        message = as_options(str(error), options)
        if size is not None:
            message = retold(re.sub(r"^--budget [0-9]+ ", f"--budget {size} ", message), typed=size)
        raise ValueError(message) from None


def path_given(text: str | Path) -> Path:
    """A path as it was typed. An empty one is refused, because it would mean the current folder."""
    if text == "":
        raise typer.BadParameter("must not be empty; name a file or folder, such as . for this one")
    return Path(text)
