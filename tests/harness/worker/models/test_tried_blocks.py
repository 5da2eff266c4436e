"""What a run of each block shows: whether blocks that look equal are, and which buffers are written."""

import pytest

torch = pytest.importorskip("torch")

from torch import nn

from harness.worker.models.effects import operations_of
from harness.worker.models.meters import TensorMeter
from harness.worker.models.profile import profile_model
from networks.planning.own_models import BlockProfile
from networks.torch_models.blocks import blocks_of

SAMPLE = torch.ones(64, 16)


class Times:
    """An object that no fingerprint looks into."""

    def __init__(self, times):
        self.times = times


class Repeated(nn.Module):
    def __init__(self, times):
        super().__init__()
        self.linear, self.hidden = nn.Linear(16, 16), Times(times)

    def forward(self, x):
        for _ in range(self.hidden.times):
            x = torch.tanh(x)
        return self.linear(x)


class Kept(torch.autograd.Function):
    """Gives its input, and keeps it so many times."""

    @staticmethod
    def forward(ctx, x, times):
        ctx.save_for_backward(*[x + number for number in range(times)])
        return x * 1

    @staticmethod
    def backward(ctx, delta):
        return delta, None


def profiled(*blocks):
    model = nn.Sequential(*blocks)
    return BlockProfile.from_row(profile_model(model, (SAMPLE,), lambda y: (y * y).mean(), None, TensorMeter()))


def test_blocks_with_equal_fingerprints_are_measured_each_if_they_run_other_operations():
    blocks = [Repeated(1), Repeated(1), Repeated(1), Repeated(6), Repeated(6)]
    _, second, third, fourth, fifth = blocks_of(nn.Sequential(*blocks), SAMPLE).fingerprints
    assert second == third == fourth == fifth
    _, second, third, fourth, fifth = profiled(*blocks).blocks
    assert second.tape_bytes == third.tape_bytes
    assert fourth.tape_bytes == fifth.tape_bytes == second.tape_bytes + 5 * SAMPLE.nbytes


@pytest.mark.parametrize("times", [1, 2])
def test_operations_tell_what_is_kept_for_the_backward_pass(times):
    x = (SAMPLE.clone().requires_grad_(),)
    one, other = (operations_of(lambda border, n=n: (Kept.apply(border[0], n),), x) for n in (1, times))
    assert (one == other) == (times == 1)


class Looked(nn.Linear):
    """Has a table that a sentinel fills, and counts its calls."""

    def __init__(self):
        super().__init__(16, 16)
        self.register_buffer("table", torch.full((3,), float("nan")))
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        return super().forward(x) + self.table.nan_to_num().sum()


def test_a_buffer_of_nan_is_written_only_by_a_block_that_writes_it():
    first, second = profiled(Looked(), Looked()).blocks
    assert (first.buffers, second.buffers) == (("0.calls",), ("1.calls",))
