"""Other frameworks, measured beside this project's networks by the same harness.

A *peer* is written `framework.variant`, as in `torch.checkpoint`. Each framework's module here builds one from a cell;
a worker alone loads it, once a cell asks for it.
"""

from collections.abc import Mapping

OWN = "networks"
"""The framework of this project's own cells."""

PEERS: Mapping[str, bool] = {
    "torch.store-all": False,
    "torch.checkpoint": True,
    "torch.checkpoint_sequential": True,
    "torch.compile": False,
    "torch.compile_budget": False,
    "jax.store-all": False,
    "jax.checkpoint": True,
    "jax.scan": False,
    "jax.scan_checkpoint": True,
    "sklearn.backprop": False,
}
"""Every peer, and whether it takes a `checkpoint_frequency`: n, where one after in n is saved."""

FRAMEWORKS = tuple(dict.fromkeys(peer.partition(".")[0] for peer in PEERS))
