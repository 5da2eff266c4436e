"""A U-shaped net in fresh processes under memray: its skips cross several borders, and each is counted once."""

from pathlib import Path

import pytest

pytest.importorskip("torch")

from harness.execute.models import OwnModel
from networks.planning.block_rows import cost_of
from networks.schedules.blocks.taped import smallest_budget

UNET = OwnModel.in_file(f"{Path(__file__).parents[3] / 'examples/models/unet.py'}:make")


@pytest.fixture(scope="module")
def profile():
    return UNET.profile()


@pytest.mark.parametrize(("gradients", "shares"), [("kept", (0, 0.3, 0.7)), ("freed", (0.1, 0.5))])
def test_a_u_shaped_nets_peaks_are_as_predicted(profile, gradients, shares):
    chain = profile.chain(gradients)
    expected = {
        "plain": (cost_of(chain, "plain()").peak_bytes, "plain"),
        "torch checkpoint": (cost_of(chain, "torch_checkpoint(2)").peak_bytes, {"torch_checkpoint": 2}),
    }
    most, least = expected["plain"][0], cost_of(chain, f"taped(budget_bytes={smallest_budget(chain)})").peak_bytes
    for share in shares:
        plan = profile.plan(
            budget_bytes=int(least + share * (most - least)) + profile.allowance_bytes, gradients=gradients
        )
        expected[plan.best.schedule] = plan.predicted_peak_bytes, {"plan": plan.to_json()}
    for name, (predicted, variant) in expected.items():
        assert UNET.peak_bytes(variant, gradients=gradients) == pytest.approx(predicted, rel=0.005), name
