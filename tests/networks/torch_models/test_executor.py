"""A chain under any schedule trains as plain autograd does, bit for bit."""

import random

import pytest

torch = pytest.importorskip("torch")

from torch import nn
from torch.nn import functional

from networks.torch_models.executor import Facts, execute


class Residual(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        return torch.relu(x + self.second(functional.dropout(torch.relu(self.norm(self.first(x))), 0.1)))


def network():
    torch.manual_seed(0)
    ends = nn.Conv2d(3, 4, 3, padding=1), nn.Sequential(nn.Flatten(), nn.Linear(4 * 16, 10))
    return nn.Sequential(ends[0], *(Residual(4) for _ in range(6)), ends[1])


def facts_of(model):
    for name, block in model.named_children():
        buffers = tuple((module, buffer) for module in block.modules() for buffer in module._buffers)
        yield Facts(name, random=isinstance(block, Residual), buffers=buffers)


def run_under(model, keep, x):
    blocks = [lambda border, block=block: (block(*border),) for block in model]
    (output,) = execute(blocks, tuple(facts_of(model)), keep, (x,))
    return output


def trained(model, run):
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    x, y = torch.randn(4, 3, 4, 4), torch.randint(0, 10, (4,))
    seen = []
    for _ in range(3):
        optimiser.zero_grad(set_to_none=True)
        loss = functional.cross_entropy(run(model, x), y)
        loss.backward()
        seen += [loss.detach(), *(parameter.grad.clone() for parameter in model.parameters())]
        optimiser.step()
    return [*seen, *model.buffers(), torch.get_rng_state()]


def keep_by_chance(seed, share):
    """Hold about `share` of all positions; what was held once is held to its end."""

    def keep(cached, start, stop):
        chance = random.Random(f"{seed} {sorted(cached)} {start} {stop}")
        return {*cached, *(position for position in range(start + 1, stop + 1) if chance.random() < share)}

    return keep


@pytest.mark.parametrize("share", [0, 0.1, 0.3, 0.6, 1])
@pytest.mark.parametrize("seed", range(4))
def test_steps_are_those_of_plain_autograd_to_the_bit(seed, share):
    expected = trained(network(), lambda model, x: model(x))
    seen = trained(network(), lambda model, x: run_under(model, keep_by_chance(seed, share), x))
    assert len(seen) == len(expected)
    for one, other in zip(seen, expected, strict=True):
        assert torch.equal(one, other)
