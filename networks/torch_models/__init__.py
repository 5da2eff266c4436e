"""A PyTorch model of the user's own, as a chain of blocks.

It imports PyTorch, `networks.planning`, `networks.schedules` and `networks.wording`. No folder beside it
imports PyTorch.

profile = harness.profile_blocks(model, sample, loss=loss)
model = planned(model, profile.plan(budget_bytes=2 * 2**30))
"""

from networks.torch_models.blocks import Blocks, blocks_of
from networks.torch_models.planned_model import planned

__all__ = ["Blocks", "blocks_of", "planned"]
