"""Peaks of steps in fresh processes under memray, beside what is predicted of them."""

from pathlib import Path

import pytest

pytest.importorskip("torch")

from harness.execute.models import OwnModel
from networks.planning.model_rows import cost_of
from networks.schedules.blocks.taped import smallest_budget

UNET = OwnModel.in_file(f"{Path(__file__).parents[3] / 'examples/models/unet.py'}:make")

TANH = """
import torch
from torch import nn

def make():
    layers = [part for _ in range(8) for part in (nn.Linear(64, 64), nn.Tanh())]
    return nn.Sequential(*layers), torch.ones(8192, 64), lambda y: (y * y).mean()
"""

DEEP = """
import torch
from torch import nn

def make():
    blocks = [nn.Sequential(nn.LayerNorm(32), nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 32)) for _ in range(60)]
    return nn.Sequential(*blocks), torch.ones(128, 32), lambda y: (y * y).mean(), blocks
"""


@pytest.fixture(scope="module")
def profile():
    return UNET.profile()


@pytest.mark.parametrize(("gradients", "shares"), [("kept", (0, 0.3, 0.7)), ("freed", (0.1, 0.5))])
def test_a_u_shaped_nets_peaks_are_as_predicted(profile, gradients, shares):
    """Its skips cross several borders, and each is counted once."""
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


def test_no_budget_is_passed_where_many_small_blocks_have_small_tapes(tmp_path):
    """What autograd and the executor note of each block is then a large part of the peak."""
    (tmp_path / "deep.py").write_text(DEEP)
    model = OwnModel.in_file(f"{tmp_path / 'deep.py'}:make")
    profile = model.profile()
    least, most = profile.budgets()
    for share in (0, 0.5, 0.97):
        budget_bytes = int(least + share * (most - least))
        plan = profile.plan(budget_bytes=budget_bytes)
        assert plan.work > 1
        assert model.peak_bytes({"plan": plan.to_json()}, gradients="kept") <= budget_bytes, share


def test_torchs_own_checkpoint_takes_what_is_predicted_where_the_last_segment_fills_the_peak(tmp_path):
    """It runs the last segment again, too, so all of that segment's outputs are alive beside the first delta."""
    (tmp_path / "tanh.py").write_text(TANH)
    model = OwnModel.in_file(f"{tmp_path / 'tanh.py'}:make")
    chain = model.profile().chain()
    for every in (4, 6, 8):
        predicted = cost_of(chain, f"torch_checkpoint({every})").peak_bytes
        assert model.peak_bytes({"torch_checkpoint": every}, gradients="kept") == pytest.approx(predicted, rel=0.005), (
            every
        )


def test_a_net_of_parts_that_take_a_few_bytes_is_profiled():
    """A mean of a few bytes is measured as less than nothing once the graph is taken away."""
    profile = OwnModel.in_file(f"{Path(__file__).parents[3] / 'examples/models/residual.py'}:make", "auto").profile()
    assert len(profile.blocks) == 27
    assert min(block.backward_bytes for block in profile.blocks) > 0
