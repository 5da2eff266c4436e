"""Schedules: which activations to hold, as pure functions over integers; see `signature` for what one is.

A factory makes a schedule, as in `revolve(slots=4)`. A factory's module imports the types from `signature`.

This folder imports `networks.block_chain`, `networks.cache`, `networks.chain`, `networks.checks`, `networks.positions`,
`networks.rounding` and `networks.wording`, and no network.
"""

from networks.schedules.checkpoint_schedules import checkpoint_schedules, from_checkpoint_schedules
from networks.schedules.evicting import evicting
from networks.schedules.greedy import greedy
from networks.schedules.optimal import optimal
from networks.schedules.periodic import periodic
from networks.schedules.registry import REGISTERED
from networks.schedules.revolve import revolve, revolve_forward_steps
from networks.schedules.signature import Keep, Schedule
from networks.schedules.spec import FACTORIES
from networks.schedules.sqrt import sqrt
from networks.schedules.store_all import store_all

__all__ = [
    "FACTORIES",
    "REGISTERED",
    "Keep",
    "Schedule",
    "checkpoint_schedules",
    "evicting",
    "from_checkpoint_schedules",
    "greedy",
    "optimal",
    "periodic",
    "revolve",
    "revolve_forward_steps",
    "sqrt",
    "store_all",
]
