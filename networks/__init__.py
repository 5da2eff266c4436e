"""Multi-layer perceptrons that trade memory for computation, and a tracker that accounts for every byte.

It imports NumPy and the standard library. Only `networks.torch_models` imports more: PyTorch.
"""

from networks import schedules
from networks.checkpointing import NetworkWithCheckpointing
from networks.dry_run import Trace, dry_run
from networks.layer_lists import format_layers, parse_layers
from networks.network import Network
from networks.optimizers import SGD, Adam
from networks.planning.planner import Plan, max_depths, plan
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
