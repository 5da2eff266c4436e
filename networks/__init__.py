"""Multi-layer perceptrons that trade memory for computation, and a tracker that accounts for every byte."""

from networks.cache import CacheTracker
from networks.checkpointing import NetworkWithCheckpointing
from networks.dry_run import Trace, dry_run
from networks.network import Network

__all__ = ["CacheTracker", "Network", "NetworkWithCheckpointing", "Trace", "dry_run"]
