"""Multi-layer perceptrons that trade memory for computation, and a tracker that accounts for every byte."""

from networks.cache import CacheTracker
from networks.checkpointing import NetworkWithCheckpointing
from networks.dry_run import Trace, dry_run
from networks.network import Network
from networks.planner import Plan, plan

__all__ = ["CacheTracker", "Network", "NetworkWithCheckpointing", "Plan", "Trace", "dry_run", "plan"]
