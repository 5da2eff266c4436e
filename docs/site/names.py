"""The public names of this project, read from the source: what the reference shows, and which lack a docstring.

A name is public if neither it nor the module or class that has it begins with an underscore. Modules, classes,
functions and methods are told of, and whatever else a package exports. Nothing is imported.
"""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PACKAGES = ("networks", "harness")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def packages() -> dict[str, list[str]]:
    """Every package, those within others too, with its own public modules."""
    found: dict[str, list[str]] = {}
    for init in sorted(path for package in PACKAGES for path in (ROOT / package).rglob("__init__.py")):
        name = ".".join(init.parent.relative_to(ROOT).parts)
        modules = sorted(path.stem for path in init.parent.glob("*.py") if not path.stem.startswith("_"))
        found[name] = [f"{name}.{module}" for module in modules]
    return dict(sorted(found.items(), key=lambda item: (PACKAGES.index(item[0].split(".")[0]), item[0])))


def exports(package: str) -> dict[str, tuple[str, str]]:
    """The public names that a package takes from its modules, each with its module and its name there.

    A name that is imported only when it is needed counts if `__all__` has it.
    """
    tree = _tree(package)
    listed = {name.value for node in tree.body if _is_all(node) for name in node.value.elts}
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    named = [
        (alias.asname or alias.name, (node.module, alias.name))
        for node in imports
        for alias in node.names
        if node in tree.body or alias.name in listed
    ]
    ours = {name: home for name, home in named if home[0].split(".")[0] in PACKAGES and not name.startswith("_")}
    return {name: _home(*home) for name, home in ours.items() if not _path(".".join(home)).exists()}


def _is_all(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) == "__all__"


def own(package: str) -> list[str]:
    """The public classes and functions that a package's `__init__` itself defines."""
    return [node.name for node in _public(_tree(package))]


def _home(module: str, name: str) -> tuple[str, str]:
    """Where a name is defined that may have come through other packages."""
    through = exports(module) if _path(module).name == "__init__.py" else {}
    return through.get(name, (module, name))


def is_documented(module: str, name: str) -> bool:
    """Whether the module's class, function or constant `name` has a docstring; a constant's follows it."""
    body = _tree(module).body
    for node, after in zip(body, [*body[1:], None], strict=True):
        if getattr(node, "name", None) == name:
            return bool(ast.get_docstring(node))
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(getattr(target, "id", None) == name for target in targets):
            return isinstance(after, ast.Expr) and isinstance(getattr(after.value, "value", None), str)
    return False


def undocumented() -> list[str]:
    """The path of every public name without a docstring.

    A method that overrides a documented one of a class of this project needs none of its own.
    """
    modules = [module for package, own in packages().items() for module in (package, *own)]
    trees = {module: _tree(module) for module in modules}
    classes = {node.name: node for tree in trees.values() for node in tree.body if isinstance(node, ast.ClassDef)}
    missing = [(module, "") for module, tree in trees.items() if not ast.get_docstring(tree)]
    missing += [(module, name) for module, tree in trees.items() for name in _undocumented_in(tree, classes)]
    missing += [home for package in packages() for home in exports(package).values() if not is_documented(*home)]
    return [f"{module}.{name}".strip(".") for module, name in dict.fromkeys(missing)]


def _undocumented_in(tree: ast.Module, classes: Mapping[str, ast.ClassDef]) -> Iterator[str]:
    for node in _public(tree):
        if not ast.get_docstring(node):
            yield node.name
        if isinstance(node, ast.ClassDef):
            yield from (f"{node.name}.{method.name}" for method in _public(node) if not _told(method, node, classes))


def _told(method: ast.AST, owner: ast.ClassDef, classes: Mapping[str, ast.ClassDef]) -> bool:
    """Whether the method has a docstring, or overrides one that has."""
    bases = [classes[base.id] for base in owner.bases if isinstance(base, ast.Name) and base.id in classes]
    above = [(same, base) for base in bases for same in base.body if getattr(same, "name", None) == method.name]
    return bool(ast.get_docstring(method)) or any(_told(same, base, classes) for same, base in above)


def _public(node: ast.Module | ast.ClassDef) -> list[ast.ClassDef | Function]:
    named = [child for child in node.body if isinstance(child, ast.ClassDef | Function)]
    return [child for child in named if not child.name.startswith("_") and not _is_property(child)]


def _is_property(node: ast.ClassDef | Function) -> bool:
    """A property may go without, because it is named like the value it returns."""
    return any(getattr(decorator, "id", "") in ("property", "cached_property") for decorator in node.decorator_list)


def _tree(module: str) -> ast.Module:
    return ast.parse(_path(module).read_text())


def _path(module: str) -> Path:
    path = ROOT.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
