"""A PyTorch model of the user's own, as a chain of blocks.

It imports PyTorch, and planning, schedules and wording of `networks`. Only this folder and two of `harness.worker`
import PyTorch.

profile = harness.profile_blocks(model, sample, loss=loss)
model = planned(model, profile.plan(budget_bytes=2 * 2**30))
"""

from networks.torch_models.blocks import Blocks, blocks_of
from networks.torch_models.planned_model import planned

__all__ = ["Blocks", "blocks_of", "planned"]
