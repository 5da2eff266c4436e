"""Chains of PyTorch blocks for tests, run plainly or under a schedule, and schedules that are hard on the executor."""

import random
from functools import partial

import torch
from torch import nn

from networks.block_chain import Block, BlockChain
from networks.schedules.blocks import block_schedule
from networks.torch_models.executor import Facts, execute


class Chained(nn.Module):
    """Stages, each called with the tensors that the one before returned. `keep` None is plain autograd."""

    def __init__(self, *stages):
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.calls = []

    def forward(self, *x, keep=None):
        steps = [partial(self._called, number) for number in range(1, len(self.stages) + 1)]
        if keep is not None:
            return execute(steps, [facts_of(f"stage {i}", stage) for i, stage in enumerate(self.stages, 1)], keep, x)
        for step in steps:
            x = step(x)
        return x

    def _called(self, number, border):
        self.calls.append(number)
        returned = self.stages[number - 1](*border)
        return returned if isinstance(returned, tuple) else (returned,)


def facts_of(name, block):
    buffers = tuple((module, buffer) for module in block.modules() for buffer in module._buffers)
    return Facts(name, random=any(isinstance(module, nn.Dropout) for module in block.modules()), buffers=buffers)


class Calling(nn.Module):
    """A stage made of a function of its own modules and the border: `function(self, *border)`."""

    def __init__(self, function, **modules):
        super().__init__()
        self.function = function
        for name, module in modules.items():
            setattr(self, name, module)

    def forward(self, *border):
        return self.function(self, *border)


def mlp(depth=8, width=6):
    torch.manual_seed(0)
    layers = [nn.Sequential(nn.Linear(width, width), nn.Tanh()) for _ in range(depth - 1)]
    return Chained(*layers, nn.Linear(width, 3)), (torch.randn(5, width),)


def mean_square(output):
    return sum(tensor.float().square().mean() for tensor in output if tensor.requires_grad)


def trained(model, inputs, keep=None, *, steps=3, update=None):
    """Losses, gradients, weights, buffers and the generator's state over some steps, from one seed."""
    torch.manual_seed(3)
    optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1, momentum=0.9)
    seen = []
    for number in range(steps):
        optimiser.zero_grad(set_to_none=True)
        scaled = tuple(x * (1 + number / 10) if x.is_floating_point() else x for x in inputs)
        loss = (update or backward)(model, scaled, keep)
        seen += [loss, *gradients(model)]
        optimiser.step()
    return [*seen, *(p.detach().clone() for p in model.parameters()), *model.buffers(), torch.get_rng_state()]


def backward(model, inputs, keep):
    loss = mean_square(model(*inputs, keep=keep))
    loss.backward()
    return loss.detach()


def gradients(model):
    return [p.grad.detach().clone() for p in model.parameters() if p.grad is not None]


def assert_same_bits(seen, expected):
    assert len(seen) == len(expected) > 0
    for one, other in zip(seen, expected, strict=True):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)


def assert_trains_as_plain(make, keep, **how):
    """`make()` returns a model and its inputs, the same each time; `keep` is given the number of blocks."""
    model, inputs = make()
    expected = trained(model, inputs, **how)
    model, inputs = make()
    seen = trained(model, inputs, keep(len(model.stages)), **how)
    assert_same_bits(seen, expected)
    return model


def chain_of(depth, flops=None):
    sizes = {"made_bytes": (1,), "tape_bytes": 2, "run_bytes": 1, "taped_run_bytes": 3, "backward_bytes": 2}
    flops = flops or [1] * depth
    blocks = (
        Block(name=str(i), gradient_bytes=0, delta_bytes=1, forward_flops=work, **sizes)
        for i, work in enumerate(flops, 1)
    )
    return BlockChain(blocks=tuple(blocks), loss_forward_bytes=1, loss_backward_bytes=1)


def scheduled(text):
    return lambda depth: block_schedule(text)(chain_of(depth))


def by_chance(seed, share, *, drops=0.0):
    """Hold about `share` of all positions, and drop about `drops` of what is held each time it is asked."""

    def keep(cached, start, stop):
        chance = random.Random(f"{seed} {sorted(cached)} {start} {stop}")
        held = {position for position in cached if position in (0, start) or chance.random() >= drops}
        return {*held, *(position for position in range(start + 1, stop + 1) if chance.random() < share)}

    return lambda depth: keep


def halving(depth):
    """Hold the middle of what is asked for, each time: reruns nest as deep as a binary tree, and no tape is kept."""
    return lambda cached, start, stop: {*(p for p in cached if p < stop), (start // 2 + (stop + 1) // 2) // 2 * 2}


def outputs_of_reruns(depth):
    """Hold nothing in the forward pass, and every output and tape that a rerun comes by."""
    return lambda cached, start, stop: {0} if stop == 2 * depth else {*cached, *range(start, stop)}


def nothing(depth):
    """Hold nothing but the tape of the last block, whose backward pass comes first."""
    return lambda cached, start, stop: {0, 2 * depth - 1}


SCHEDULES = {
    "nothing held": nothing,
    "revolve(slots=2)": scheduled("revolve(slots=2)"),
    "torch_checkpoint(3)": scheduled("torch_checkpoint(3)"),
    "plain()": scheduled("plain()"),
    "halving": halving,
    "reruns keep": outputs_of_reruns,
    "chance, few": by_chance(1, 0.15),
    "chance, half": by_chance(2, 0.5),
    "chance, drops": by_chance(3, 0.5, drops=0.3),
}
