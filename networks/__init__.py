"""Multi-layer perceptrons that trade memory for computation, and a tracker that accounts for every byte.

It imports NumPy and the standard library. Only `networks.torch_models` imports more: PyTorch. What the package exports
is imported when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from networks import schedules
    from networks.checkpointing import NetworkWithCheckpointing
    from networks.layer_lists import format_layers, parse_layers
    from networks.network import Network
    from networks.optimizers import SGD, Adam
    from networks.planning.planner import Plan, max_depths, plan
    from networks.trace import Trace, dry_run
    from networks.tracker import CacheTracker
    from networks.training import Epoch, train

__version__ = "0.1.0"

__all__ = [
    "SGD",
    "Adam",
    "CacheTracker",
    "Epoch",
    "Network",
    "NetworkWithCheckpointing",
    "Plan",
    "Trace",
    "__version__",
    "dry_run",
    "format_layers",
    "max_depths",
    "parse_layers",
    "plan",
    "schedules",
    "train",
]

_HOMES = {
    "networks.checkpointing": {"NetworkWithCheckpointing"},
    "networks.layer_lists": {"format_layers", "parse_layers"},
    "networks.network": {"Network"},
    "networks.optimizers": {"SGD", "Adam"},
    "networks.planning.planner": {"Plan", "max_depths", "plan"},
    "networks.trace": {"Trace", "dry_run"},
    "networks.tracker": {"CacheTracker"},
    "networks.training": {"Epoch", "train"},
}


def __getattr__(name: str) -> Any:
    if name == "schedules":
        return import_module("networks.schedules")
    for home, names in _HOMES.items():
        if name in names:
            globals()[name] = export = getattr(import_module(home), name)
            return export
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
