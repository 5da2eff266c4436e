"""Imports run one way, and each process loads what it needs and no more. Read from the source: nothing is run."""

import ast
import re
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("networks", "harness")

FACADE = "networks.__init__"
"""The room of `networks/__init__.py`, which gathers what users import. So it is above the modules beside it."""

GROUND = {"harness.errors", "harness.files", "harness.provenance", "harness.sizes"}
"""What docstrings call the ground."""


def modules() -> dict[str, Path]:
    """The project's modules by name, a package's `__init__` by the name of the package."""
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for room in ROOMS
        for path in sorted((ROOT / room).rglob("*.py"))
    }


MODULES = modules()
PACKAGES = [name for name, path in MODULES.items() if path.name == "__init__.py"]


@cache
def imports(module: str) -> frozenset[str]:
    """The names a module imports, e.g. `networks.cache` or `numpy.random`; for type checkers, too."""
    return frozenset(name for node in ast.walk(ast.parse(MODULES[module].read_text())) for name in imported(node))


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


MAY_IMPORT: dict[str, set[str]] = {
    "networks.chain": {"networks.rounding"},
    "networks.rounding": set(),
    "networks.wording": set(),
    "networks.checks": {"networks.chain", "networks.wording"},
    "networks.block_chain": {"networks.checks"},
    "networks.layer_lists": {"networks.checks", "networks.wording"},
    "networks.buffers": {"networks.chain"},
    "networks.cache": set(),
    "networks.tracker": {"networks.chain"},
    "networks.positions": {"networks.cache"},
    "networks.losses": set(),
    "networks.optimizers": {"networks.buffers", "networks.chain"},
    "networks.workspace": {"networks.buffers", "networks.chain"},
    "networks.activations": {"networks.chain", "networks.workspace"},
    "networks.layers": {
        *("networks.activations", "networks.buffers", "networks.chain", "networks.optimizers", "networks.tracker"),
        "networks.workspace",
    },
    "networks.schedules": {
        *("networks.block_chain", "networks.cache", "networks.chain", "networks.checks", "networks.positions"),
        *("networks.rounding", "networks.wording"),
    },
    "networks.planning": {
        *("networks", "networks.block_chain", "networks.chain", "networks.checks", "networks.schedules"),
        *("networks.rounding", "networks.tracker", "networks.wording"),
    },
    "networks.torch_models": {"networks.planning", "networks.schedules", "networks.wording"},
    "networks": {
        *("networks.activations", "networks.buffers", "networks.cache", "networks.chain", "networks.checks"),
        *("networks.layer_lists", "networks.layers", "networks.losses", "networks.optimizers", "networks.positions"),
        *("networks.rounding", "networks.schedules", "networks.tracker", "networks.wording", "networks.workspace"),
    },
    FACADE: {
        *("networks", "networks.layer_lists", "networks.optimizers", "networks.planning", "networks.schedules"),
        "networks.tracker",
    },
    "harness.errors": set(),
    "harness.sizes": {"networks.chain", "networks.rounding"},
    "harness.files": {"networks.wording"},
    "harness.provenance": set(),
    "harness.experiment": {
        *("harness.files", "harness.provenance", "harness.sizes", FACADE, "networks", "networks.chain"),
        *("networks.layer_lists", "networks.schedules", "networks.wording"),
    },
    "harness.worker": {
        *("harness.provenance", "harness.experiment", FACADE, "networks", "networks.buffers", "networks.optimizers"),
        *("networks.planning", "networks.rounding", "networks.schedules", "networks.wording"),
    },
    "harness.worker.models": {
        *("harness.experiment", "harness.worker", "networks.planning", "networks.rounding", "networks.schedules"),
        *("networks.torch_models", "networks.wording"),
    },
    "harness.results": {
        *("harness.errors", "harness.files", "harness.experiment", "networks.schedules", "networks.wording"),
    },
    "harness.execute": {
        *(*GROUND, "harness.experiment", "harness.results", "networks.planning", "networks.schedules"),
        "networks.wording",
    },
    "harness.analysis": {
        *("harness.experiment", "harness.sizes", "networks", "networks.block_chain", "networks.chain"),
        *("networks.layer_lists", "networks.planning", "networks.schedules", "networks.tracker"),
    },
    "harness.plots": {
        *("harness.analysis", "harness.experiment", "harness.sizes", "networks.planning", "networks.rounding"),
        "networks.wording",
    },
    "harness.report": {
        *("harness.analysis", "harness.experiment", "harness.results", "harness.sizes"),
        *("networks.planning", "networks.schedules", "networks.tracker"),
    },
    "harness.commands": {
        *(*GROUND, "harness.experiment", "harness.results", "harness.execute", "harness.analysis", "harness.plots"),
        "harness.report",
        *(FACADE, "networks", "networks.chain", "networks.checks", "networks.layer_lists", "networks.schedules"),
        *("networks.planning", "networks.wording"),
    },
    "harness": {
        "harness.commands",
        "harness.errors",
        "harness.execute",
        "harness.plots",
        "harness.results",
        FACADE,
    },
}
"""Every room, and the others that it may import from. A module in no room of its own belongs to the one around it."""


def room_of(module: str) -> str:
    if module == "networks":
        return FACADE
    return max((room for room in MAY_IMPORT if f"{module}.".startswith(f"{room}.")), key=len)


def test_the_modules_are_found():
    assert {"networks", "networks.cache", "networks.schedules.periodic", "harness.worker.__main__"} <= MODULES.keys()
    assert "networks.perceptron" in direct("networks.network")
    assert "numpy" in top_level("networks.network")
    assert {"harness.worker.__main__", "harness.worker.probes", "harness.experiment.cell"} <= reachable(
        "harness.worker.__main__"
    )
    assert room_of("harness.worker.steps.torch") == "harness.worker"
    assert (room_of("networks.network"), room_of("networks")) == ("networks", FACADE)


@pytest.mark.parametrize("module", MODULES)
def test_each_room_imports_only_the_rooms_it_may(module: str):
    room = room_of(module)
    for other in direct(module):
        assert room_of(other) in {room, *MAY_IMPORT[room]}, f"{module} imports {other}"


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_each_room_needs_all_that_it_may_import(room: str):
    """So that the table says what is, not what might be."""
    used = {room_of(other) for module in MODULES if room_of(module) == room for other in direct(module)}
    assert MAY_IMPORT[room] <= used | {room}, MAY_IMPORT[room] - used


def test_imports_never_run_in_a_circle():
    """Neither between modules, whose packages' `__init__` gather what lies in them, nor between rooms."""
    graph = {name: direct(name) - set(PACKAGES) for name in MODULES.keys() - set(PACKAGES)}
    assert list(TopologicalSorter(graph).static_order())  # raises CycleError
    assert list(TopologicalSorter(MAY_IMPORT).static_order())


def test_of_networks_only_the_facade_and_models_of_the_users_know_planning():
    rooms = {room for room, others in MAY_IMPORT.items() if "networks.planning" in others}
    assert {room for room in rooms if not room.startswith("harness")} == {FACADE, "networks.torch_models"}


def test_the_harness_has_few_files_of_its_own():
    assert len([path for path in MODULES.values() if path.parent == ROOT / "harness"]) <= 6


GATHERING = {"harness", "networks", "networks.schedules", "networks.schedules.blocks", "networks.torch_models"}
"""The packages that users import from, and `blocks`. Their `__init__` also gathers names."""


@pytest.mark.parametrize("package", PACKAGES)
def test_each_package_says_what_it_is_and_defines_nothing(package: str):
    tree = ast.parse(MODULES[package].read_text())
    assert ast.get_docstring(tree)
    assert len(tree.body) == 1 or package in GATHERING


@pytest.mark.parametrize("package", PACKAGES)
def test_each_package_has_tests_in_a_folder_of_the_same_path(package: str):
    assert list((ROOT / "tests" / MODULES[package].parent.relative_to(ROOT)).glob("test_*.py"))


def named(package: str) -> set[str]:
    """The modules and rooms that the docstring of a package names in full, and those of the ground."""
    text = ast.get_docstring(ast.parse(MODULES[package].read_text())) or ""
    return {*re.findall(r"`((?:networks|harness)\b[\w.]*)`", text), *(GROUND if "the ground" in text else ())}


@pytest.mark.parametrize("room", sorted(set(PACKAGES) & MAY_IMPORT.keys() - {"networks"}))
def test_each_room_names_what_it_may_import(room: str):
    """`networks` stands for its facade, for the modules beside it, or for both. Its own docstring is for users."""
    assert named(room) == {other.removesuffix(".__init__") for other in MAY_IMPORT[room]}


@pytest.mark.parametrize("package", sorted(set(PACKAGES) - MAY_IMPORT.keys()))
def test_a_package_within_a_room_names_only_what_the_room_may_import(package: str):
    room = room_of(package)
    assert {room_of(name) for name in named(package)} <= {room, *MAY_IMPORT[room]}


OPTIONAL = {"networks.schedules.checkpoint_schedules": {"checkpoint_schedules"}}
"""What a module imports only when it is called, where it is installed."""


@pytest.mark.parametrize("module", sorted(set(in_room("networks")) - set(in_room("networks.torch_models"))))
def test_networks_import_numpy_and_the_standard_library_only(module: str):
    allowed = {"networks", "numpy", *sys.stdlib_module_names}
    assert top_level(module) <= allowed | OPTIONAL.get(module, set())


@pytest.mark.parametrize("module", in_room("networks.torch_models"))
def test_models_of_the_users_import_torch_beside_them(module: str):
    assert top_level(module) <= {"networks", "numpy", "torch", *sys.stdlib_module_names}


def test_torch_is_imported_in_three_rooms_alone():
    importing = {room_of(module) for module in MODULES if "torch" in top_level(module)}
    assert importing == {"networks.torch_models", "harness.worker", "harness.worker.models"}


def test_store_all_knows_nothing_of_schedules():
    """`Network` is the plain control flow that the other is compared with."""
    for module in ("networks.network", "networks.perceptron"):
        assert not direct(module) & {"networks.checkpointing", *in_room("networks.schedules")}, module


def test_networks_do_not_know_their_dry_run():
    for module in ("networks.perceptron", "networks.network", "networks.checkpointing", "networks.training"):
        assert "networks.trace" not in direct(module), module


RUN_A_NETWORK = {
    *("networks.network", "networks.checkpointing", "networks.perceptron", "networks.training", "networks.layers"),
    *("networks.Network", "networks.NetworkWithCheckpointing", "networks.train"),
}


@pytest.mark.parametrize("module", sorted(set(in_room("harness")) - set(in_room("harness.worker"))))
def test_the_parent_process_measures_nothing_and_runs_no_network(module: str):
    assert not reachable(module) & set(in_room("harness.worker"))
    assert not {*imports(module), *direct(module)} & RUN_A_NETWORK


def test_a_framework_is_imported_by_its_own_module_alone():
    for framework in ("torch", "jax", "sklearn"):
        importing = {module for module in in_room("harness.worker.steps") if framework in top_level(module)}
        assert importing == {f"harness.worker.steps.{framework}"}


def test_all_of_memray_is_in_one_module():
    assert [module for module in MODULES if "memray" in top_level(module)] == ["harness.worker.probes"]


def test_the_worker_loads_no_plotting_and_no_tables():
    """They take over a second to import, and their allocations would be the measured process's."""
    for module in set().union(*map(reachable, in_room("harness.worker"))):
        assert not top_level(module) & {"pandas", "seaborn", "matplotlib", "pydantic", "typer", "rich"}, module
