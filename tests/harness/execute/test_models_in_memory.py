"""A model that a program has in memory is profiled in another process, as it would train here."""

import subprocess
import sys
import threading

import pytest

pytest.importorskip("torch")

import torch
from torch import nn

from harness.execute.models import profile_blocks
from harness.provenance import ROOT
from networks.torch_models import planned

SAMPLE = torch.ones(256, 16)

NET = """
import torch
from torch import nn

class Layer(nn.Linear):
    def forward(self, x):
        return torch.tanh(super().forward(x))
"""

TRAIN = """
import sys
sys.path.append({root!r})
import torch
from mynet import Layer
from harness import profile_blocks
from networks.torch_models import planned

def mean(y):
    return (y * y).mean()

if __name__ == "__main__":
    torch.set_num_threads(1)
    model = torch.nn.Sequential(*(Layer(16, 16) for _ in range(3)))
    x = torch.ones(256, 16)
    profile = profile_blocks(model, x, loss=mean)
    mean(planned(model, profile.plan(budget_bytes=10**7))(x)).backward()
    print(len(profile.blocks))
"""


def square(y):
    return (y * y).mean()


def layers():
    return nn.Sequential(*(part for _ in range(3) for part in (nn.Linear(16, 16), nn.Tanh())))


def test_its_class_may_stand_in_a_module_beside_the_program(tmp_path):
    (tmp_path / "mynet.py").write_text(NET)
    (tmp_path / "train.py").write_text(TRAIN.format(root=str(ROOT)))
    done = subprocess.run([sys.executable, tmp_path / "train.py"], cwd=tmp_path, capture_output=True, text=True)
    assert done.stderr == ""
    assert done.stdout == "3\n"


def test_a_planned_model_is_profiled_as_the_model_that_it_plans():
    torch.set_num_threads(1)  # as in its profile
    model = layers()
    profile = profile_blocks(model, SAMPLE, loss=square)
    under = planned(model, profile.plan(budget_bytes=10**7))
    again = profile_blocks(under, SAMPLE[:128], loss=square)
    assert [block.name for block in again.blocks] == [block.name for block in profile.blocks]
    assert square(planned(under, again.plan(budget_bytes=10**7))(SAMPLE[:128])).requires_grad


def test_the_default_dtype_goes_along():
    class Added(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(16, 16)

        def forward(self, x):
            return self.linear(x) @ torch.eye(16)

    torch.set_default_dtype(torch.float64)
    try:
        profile = profile_blocks(nn.Sequential(Added(), Added()), SAMPLE.double(), loss=square)
    finally:
        torch.set_default_dtype(torch.float32)
    assert profile.blocks[0].made_bytes == (SAMPLE.double().nbytes,)


def test_what_cannot_be_copied_is_told_in_one_line():
    model = layers()
    model.lock = threading.Lock()
    with pytest.raises(ValueError, match=r"^model, sample and loss must be picklable, for another process: cannot "):
        profile_blocks(model, SAMPLE, loss=square)
