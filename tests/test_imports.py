"""Imports run one way, and each process loads what it needs and no more. Read from the source: nothing is run."""

import ast
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("networks", "harness")


def modules() -> dict[str, Path]:
    """The project's modules by name, a package's `__init__` by the name of the package."""
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for room in ROOMS
        for path in sorted((ROOT / room).rglob("*.py"))
    }


MODULES = modules()


@cache
def imports(module: str) -> frozenset[str]:
    """The names a module imports when it runs, e.g. `networks.cache`, `numpy.random` or `networks.Network`."""
    tree = ast.parse(MODULES[module].read_text())
    return frozenset(name for node in executed(tree) for name in imported(node))


def executed(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node but those of `if TYPE_CHECKING:`, which only a type checker reads."""
    yield tree
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            yield from executed(node)


def imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, f"a relative import: {ast.unparse(node)}"
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


def module_of(name: str) -> str:
    """The module an imported name lies in: itself if it is one of the project's, or else what stands before it."""
    return name if name in MODULES else name.rpartition(".")[0]


def direct(module: str) -> set[str]:
    """The project's modules that a module imports from."""
    return {module_of(name) for name in imports(module) if name.split(".")[0] in ROOMS}


def reachable(module: str) -> set[str]:
    """The module, and the harness's modules that come with it."""
    found, waiting = set(), [module]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += [other for other in direct(name) if other.startswith("harness")]
    return found


def top_level(module: str) -> set[str]:
    return {name.split(".")[0] for name in imports(module)}


def in_room(*prefixes: str) -> list[str]:
    return [name for name in MODULES if any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)]


def test_the_modules_are_found():
    assert {"networks", "networks.cache", "networks.schedules.periodic", "harness.worker"} <= MODULES.keys()
    assert "networks.perceptron" in direct("networks.network")
    assert "numpy" in top_level("networks.network")
    assert {"harness.worker", "harness.probes", "harness.cell"} <= reachable("harness.worker")


def test_imports_never_run_in_a_circle():
    """Packages aside, whose `__init__` gathers what lies in them."""
    packages = {name for name, path in MODULES.items() if path.name == "__init__.py"}
    graph = {name: direct(name) - packages for name in MODULES.keys() - packages}
    assert list(TopologicalSorter(graph).static_order())  # raises CycleError


OPTIONAL = {"networks.schedules.adapter": {"checkpoint_schedules"}}
"""What a module imports only when it is called, where it is installed."""


@pytest.mark.parametrize("module", in_room("networks"))
def test_networks_import_numpy_and_the_standard_library_only(module: str):
    allowed = {"networks", "numpy", *sys.stdlib_module_names}
    assert top_level(module) <= allowed | OPTIONAL.get(module, set())


FOUNDATIONS = {"networks.chain", "networks.wording", "networks.layer_lists", "networks.buffers"}

MAY_IMPORT = {
    "networks.chain": set(),
    "networks.wording": set(),
    "networks.layer_lists": {"networks.wording"},
    "networks.buffers": {"networks.chain"},
    "networks.cache": FOUNDATIONS,
    "networks.losses": FOUNDATIONS,
    "networks.activations": FOUNDATIONS,
    "networks.optimizers": FOUNDATIONS,
    "networks.layers": {*FOUNDATIONS, "networks.activations", "networks.cache", "networks.optimizers"},
    "networks.schedules": {*FOUNDATIONS, "networks.cache", *in_room("networks.schedules")},
}
"""The rooms at the bottom, and what each may import of the project; none of them knows a network."""


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_the_rooms_below_the_networks_know_no_network(room: str):
    for module in in_room(room):
        assert direct(module) <= MAY_IMPORT[room], module


def test_store_all_knows_nothing_of_schedules():
    """`Network` is the plain control flow that the other is compared with."""
    for module in ("networks.network", "networks.perceptron"):
        assert not direct(module) & {"networks.checkpointing", *in_room("networks.schedules")}, module


def test_networks_know_neither_their_dry_run_nor_the_harness():
    for module in in_room("networks"):
        assert not any(name.startswith("harness") for name in direct(module)), module
    for module in ("networks.perceptron", "networks.network", "networks.checkpointing", "networks.training"):
        assert "networks.dry_run" not in direct(module), module


WORKERS = {"harness.worker", "harness.steps", "harness.probes", *in_room("harness.peers")} - {"harness.peers"}
"""What runs in a worker's process alone; every other module of the harness belongs to the parent's as well."""

PARENT_MAY_IMPORT = {
    "networks.chain",
    "networks.wording",
    "networks.layer_lists",
    "networks.dry_run",
    "networks.planner",
    "networks.validation",
    "networks.Trace",
    "networks.cache.KINDS",
    *in_room("networks.schedules"),
}


def test_a_framework_is_imported_by_its_own_module_alone():
    for framework in ("torch", "jax", "sklearn"):
        importing = {module for module in in_room("harness.peers") if framework in top_level(module)}
        assert importing == {f"harness.peers.{framework}"}


def test_all_of_memray_is_in_one_module():
    assert [module for module in MODULES if "memray" in top_level(module)] == ["harness.probes"]


@pytest.mark.parametrize("module", sorted(set(in_room("harness")) - WORKERS))
def test_the_parent_process_measures_nothing_and_runs_no_network(module: str):
    assert not reachable(module) & WORKERS
    for name in imports(module):
        if name.split(".")[0] == "networks":
            assert name in PARENT_MAY_IMPORT or module_of(name) in PARENT_MAY_IMPORT, name


def test_the_worker_loads_no_plotting_and_no_tables():
    """They take over a second to import, and their allocations would be the measured process's."""
    for module in reachable("harness.worker"):
        assert not top_level(module) & {"pandas", "seaborn", "matplotlib", "pydantic", "typer", "rich"}, module


def test_plots_and_analysis_read_and_write_no_results():
    """Tables in, figures out: the store and the runs are others' business."""
    for module in in_room("harness.plots", "harness.analysis", "harness.comparison", "harness.variants"):
        assert not direct(module) & {"harness.store", "harness.runner", "harness.executors", "harness.drawing"}, module
