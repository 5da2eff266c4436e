"""Multi-layer perceptrons that trade memory for computation, and a tracker that accounts for every byte."""

from networks.checkpointing import NetworkWithCheckpointing
from networks.dry_run import Trace, dry_run
from networks.network import Network
from networks.planning.planner import Plan, plan
from networks.tracker import CacheTracker

__all__ = ["CacheTracker", "Network", "NetworkWithCheckpointing", "Plan", "Trace", "dry_run", "plan"]
