"""What the package offers by its own name, and how it shows itself."""

from importlib import import_module
from pkgutil import iter_modules

import pytest

import networks
from docs.site import names
from networks import Network, NetworkWithCheckpointing, dry_run, plan
from networks.schedules import revolve

LAYERS = (64, *[128] * 31, 10)
LONG = tuple(range(1, 1000))
FITTING = plan(LAYERS, batch=1024, budget_bytes=6 * 2**20)


@pytest.mark.parametrize(
    "name",
    [
        *("Network", "NetworkWithCheckpointing", "CacheTracker", "SGD", "Adam", "train", "schedules"),
        *("dry_run", "Trace", "plan", "Plan", "max_depths"),
    ],
)
def test_what_documents_use_comes_from_the_package_itself(name):
    assert name in networks.__all__
    assert name in dir(networks)
    assert hasattr(networks, name)


def test_an_export_is_what_its_module_has_and_what_type_checkers_see():
    exports = names.exports("networks")
    assert {*exports, "schedules", "__version__"} == set(networks.__all__)
    for export, (module, name) in exports.items():
        assert getattr(networks, export) is getattr(import_module(module), name)


def test_no_module_has_the_name_of_an_export():
    """Python puts a module, when it is imported, in the place of what has its name on the package."""
    modules = {module.name for module in iter_modules(networks.__path__)}
    assert modules & set(networks.__all__) == {"schedules"}


def test_what_is_no_export_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'networks' has no attribute 'Netwrok'"):
        networks.Netwrok  # noqa: B018


@pytest.mark.parametrize(
    ("value", "line"),
    [
        (Network(LAYERS), "<Network 64,128x31,10, relu, float32>"),
        (
            NetworkWithCheckpointing((4, 8, 3), checkpoint_frequency=2, activation="tanh", dtype="float64"),
            "<NetworkWithCheckpointing 4,8,3, tanh, float64, periodic(2, recompute='segment')>",
        ),
        (
            NetworkWithCheckpointing((4, 8, 3), schedule=revolve(slots=2)),
            "<NetworkWithCheckpointing 4,8,3, relu, float32, revolve(slots=2)>",
        ),
        (
            dry_run(LAYERS, batch=1024),
            "<Trace 64,128x31,10, batch 1,024, float32: peak 16,557,608 bytes, 32 forward steps>",
        ),
        (
            FITTING,
            f"<Plan {FITTING.schedule.__name__}: peak {FITTING.predicted_peak_bytes:,} bytes, "
            f"allowance {FITTING.allowance_bytes:,} bytes, {FITTING.forward_steps} forward steps>",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_it_is_shown_in_one_line_that_tells_it_from_others(value, line):
    assert repr(value) == line


@pytest.mark.parametrize(
    "value", [Network(LONG), dry_run(LONG, batch=1), FITTING.best], ids=["network", "trace", "row"]
)
def test_the_line_is_short_however_large_the_thing_is(value):
    assert "\n" not in repr(value)
    assert len(repr(value)) < 300
