"""Models under plans, for tests that need the plan and not its figures."""

from harness.worker.models.meters import TensorMeter
from harness.worker.models.profile import profile_model
from networks.planning.own_models import BlockProfile
from tests.support.torch_chains import mean_square


def measured_plan(model, inputs, cut, share=0.3):
    """A plan that holds about this share of what plain autograd does. The model is left as it was."""
    row = profile_model(model, inputs, mean_square, cut, TensorMeter())
    model.zero_grad()
    profile = BlockProfile.from_row(row)
    plain = profile.plan(budget_bytes=10**9)
    smallest = plain.smallest_budget_bytes
    return profile.plan(budget_bytes=smallest + int(share * max(0, plain.predicted_peak_bytes - smallest)) + 1)
