"""The own code of a schedule: its file, and the modules of its package that the file imports.

Only cells that run the schedule depend on this code.
"""

import ast
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from harness import provenance
from networks.schedules import REGISTERED
from networks.schedules.foreign import Source

SCHEDULES = "networks.schedules"


def schedules_sha256(names: Iterable[str], sources: Iterable[Source] = ()) -> dict[str, str]:
    """For each name, a hash of its own code. A name is a schedule of the registry, a file or a module.

    `sources` are the files. A module that is not installed has the hash of no code.
    """
    texts = {source.path: source.text for source in sources}
    return {name: _sha256(name, texts.get(name)) for name in names}


def _sha256(name: str, text: str | None) -> str:
    roots = {SCHEDULES: provenance.ROOT / "networks/schedules"}
    if text is not None:
        files, beside = imported(_names_in(text, ""), roots), text
    elif name in REGISTERED:
        package = REGISTERED[name].package
        files, beside = imported([f"{SCHEDULES}.{name}"], roots), str(provenance.versions([package] if package else []))
    else:
        files, beside = imported([name], roots | _package_of(name)), ""
    shared = {provenance.ROOT / file for file in provenance.OF_ALL_SCHEDULES}
    own = {module: file for module, file in files.items() if file not in shared}
    return hashlib.sha256(f"{provenance.sha256_of(own)}\0{beside}".encode()).hexdigest()


def _package_of(module: str) -> dict[str, Path]:
    """The package of a module, or the module itself, with its path without `.py`. Empty if it has no path."""
    name = module.partition(".")[0]
    spec = find_spec(name)
    if spec is None:
        return {}
    if spec.submodule_search_locations:
        return {name: Path(spec.submodule_search_locations[0])}
    return {name: Path(spec.origin).with_suffix("")} if spec.has_location and spec.origin else {}


def imported(modules: Iterable[str], roots: Mapping[str, Path]) -> dict[str, Path]:
    """The files of modules, and of all that they import within `roots`, in the order of the modules' names.

    `roots` are packages or modules by name, each with its path without `.py`. No code is run, so an import by a
    computed name is not found.
    """
    found: dict[str, Path] = {}
    waiting = list(modules)
    while waiting:
        name, file = _file_of(waiting.pop(), roots)
        if file is not None and name not in found:
            found[name] = file
            stat = file.stat()
            waiting += _names(file, name, stat.st_mtime_ns, stat.st_size)
    return dict(sorted(found.items()))


def _file_of(name: str, roots: Mapping[str, Path]) -> tuple[str, Path | None]:
    """The module of a dotted name, and its file if that is in `roots`. The name may be of something in the module."""
    for root, path in roots.items():
        inner = name
        while f"{inner}.".startswith(f"{root}."):
            place = path.joinpath(*inner.removeprefix(root).split(".")[1:])
            for file in (place.with_name(f"{place.name}.py"), place / "__init__.py"):
                if file.is_file():
                    return inner, file
            inner = inner.rpartition(".")[0]
    return name, None


@lru_cache(maxsize=256)
def _names(file: Path, module: str, mtime_ns: int, size: int) -> tuple[str, ...]:
    """The dotted names that a file imports. A changed time or size makes it read again."""
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    return tuple(_names_in(file.read_bytes(), package))


def _names_in(code: str | bytes, package: str) -> Iterator[str]:
    """The dotted names that code imports. None if it is not Python: running it tells that error."""
    try:
        nodes = list(ast.walk(ast.parse(code)))
    except (SyntaxError, ValueError, RecursionError):
        return
    for node in nodes:
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                parts = package.split(".")
                above = parts[: len(parts) + 1 - level] if level else []
                inner = ".".join([*above, *([module] if module else [])])
                yield from (f"{inner}.{alias.name}" for alias in names)
