"""What a rerun cannot repeat is an error that names the block, and what fails leaves everything as it was."""

import random

import pytest

torch = pytest.importorskip("torch")

from torch import nn

from networks.torch_models.conditions import parameters_of
from tests.support.torch_chains import (
    SCHEDULES,
    Calling,
    Chained,
    assert_same_bits,
    gradients,
    mean_square,
    mlp,
    nothing,
    scheduled,
)


def linears(depth=5, *others):
    torch.manual_seed(0)
    return Chained(*(nn.Sequential(nn.Linear(4, 4), nn.Tanh()) for _ in range(depth)), *others, nn.Linear(4, 2))


X = torch.linspace(-1, 1, 12).reshape(3, 4)


def in_place(model):
    with torch.no_grad():
        model.stages[1][0].weight.mul_(2)


def bias_alone(model):
    """No block saves a bias."""
    with torch.no_grad():
        model.stages[1][0].bias.add_(1)


def by_an_optimiser(model):
    parameters = list(model.stages[:3].parameters())
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    torch.optim.SGD(parameters, lr=0.1).step()


def by_a_checkpoint(model):
    model.stages[1].load_state_dict({name: value * 2 for name, value in model.stages[1].state_dict().items()})


CHANGES = in_place, bias_alone, by_an_optimiser, by_a_checkpoint


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_parameter_changed_between_the_passes(change):
    model = linears()
    loss = mean_square(model(X, keep=nothing(6)))
    change(model)
    with pytest.raises(RuntimeError, match=r"a parameter of block stage [123] was changed between"):
        loss.backward()


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_parameter_changed_under_autocast_where_only_casts_are_saved(change):
    model = linears()
    with torch.autocast("cpu", torch.bfloat16):
        loss = mean_square(model(X, keep=nothing(6)))
    change(model)
    with pytest.raises(RuntimeError, match=r"a parameter of block stage [123] was changed between"):
        loss.backward()


def test_a_parameter_changed_of_a_block_whose_tape_is_held_is_autograds_own_error():
    model = linears()
    loss = mean_square(model(X, keep=lambda cached, start, stop: {*cached, 0, 3, 5, 7, 9, 11}))
    in_place(model)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_a_parameter_changed_between_two_backward_passes():
    model = linears()
    loss = mean_square(model(X, keep=nothing(6)))
    loss.backward(retain_graph=True)
    bias_alone(model)
    with pytest.raises(RuntimeError, match=r"a parameter of block stage 2 was changed between"):
        torch.autograd.grad(loss, model.stages[0][0].weight)


def test_the_parameters_of_a_block_are_the_leaves_it_read():
    model = linears(2)
    x = model.stages[0](X)
    since = torch.autograd._get_sequence_nr()
    y = model.stages[1](x)
    assert {*parameters_of((y, y.detach()), since=since)} == {*model.stages[1].parameters()}
    assert {*parameters_of((y,), since=0)} == {*model.stages[:2].parameters()}


def test_an_input_written_over_between_the_passes():
    model, x = linears(), X.clone()
    loss = mean_square(model(x, keep=nothing(6)))
    x.zero_()
    with pytest.raises(RuntimeError, match=r"what the first block was given was written over between"):
        loss.backward()


def test_a_held_border_written_over_between_the_passes():
    model, seen = linears(), []
    model.stages[2].register_forward_pre_hook(lambda module, border: seen.append(border[0]))
    loss = mean_square(model(X, keep=scheduled("torch_checkpoint(2)")(6)))
    with torch.no_grad():
        seen[0].zero_()
    with pytest.raises(RuntimeError, match=r"what block stage 2 returned was written over between"):
        loss.backward()


def test_a_block_that_writes_over_what_its_backward_pass_needs():
    """Plain autograd refuses this model, too. A rerun that ends before the write gives the right gradients."""
    model = linears(2, Calling(lambda self, x: x.exp().mul_(2)), nn.Tanh())
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        mean_square(model(X)).backward()
    with pytest.raises(RuntimeError, match=r"block stage 3 wrote over a tensor \(3, 4\) that its backward pass needs"):
        mean_square(model(X, keep=SCHEDULES["reruns keep"](5))).backward()


class Whimsical(nn.Module):
    """Does something else each time it is run: `forms[0]` first, then `forms[1]`."""

    def __init__(self, *forms):
        super().__init__()
        self.linear, self.forms, self.count = nn.Linear(4, 4), forms, 0

    def forward(self, x):
        self.count += 1
        return self.forms[min(self.count, 2) - 1](self.linear(x))


def narrow(x):
    return torch.tanh(x[:, :2]).repeat(1, 2)


def lower(x):
    return torch.tanh(x.bfloat16()).float()


WHIMS = {
    "fewer": (lambda x: torch.tanh(x).sin(), torch.tanh),
    "shapes": (torch.tanh, narrow),
    "types": (torch.tanh, lower),
    "order": (lambda x: x.exp().mean(1, keepdim=True).sin() * x, lambda x: x.mean(1, keepdim=True).exp().sin() * x),
}


@pytest.mark.parametrize("whim", WHIMS)
def test_a_block_that_saves_something_else_when_it_is_run_again(whim):
    model = linears(2, Whimsical(*WHIMS[whim]))
    loss = mean_square(model(X, keep=nothing(4)))
    with pytest.raises(
        RuntimeError, match=r"block stage 3 saved .* when it was first run and .* run again: it must do"
    ):
        loss.backward()


@pytest.mark.parametrize("other", [lambda x: x.double(), lambda x: x[:2], lambda x: (x, x)])
@pytest.mark.parametrize("schedule", ["nothing held", "reruns keep"])
def test_a_block_that_returns_something_else_when_it_is_run_again(schedule, other):
    """In a rerun without and with its tape."""
    model = linears(2, Whimsical(lambda x: x, other), nn.Tanh(), nn.Tanh())
    loss = mean_square(model(X, keep=SCHEDULES[schedule](6)))
    with pytest.raises(RuntimeError, match=r"block stage 3 (returned|saved) .* when it was first run and .* run again"):
        loss.backward()


def test_a_block_that_saves_more_when_it_is_run_again_with_its_tape_for_a_later_one():
    model = linears(2, Whimsical(torch.tanh, lambda x: torch.tanh(x).sin()), nn.Tanh(), nn.Tanh())
    loss = mean_square(model(X, keep=SCHEDULES["reruns keep"](6)))
    with pytest.raises(RuntimeError, match=r"block stage 3 saved 3 tensors when it was first run and 4 when"):
        loss.backward()


def test_pythons_randomness_is_not_repeated():
    chance = random.Random(1)  # 0.13, 0.85: another branch in the rerun
    branch = Calling(lambda self, x: x.sin() if chance.random() < 0.5 else x.sum(1, keepdim=True).exp() * x)
    loss = mean_square(linears(2, branch)(X, keep=nothing(4)))
    with pytest.raises(RuntimeError, match=r"block stage 3 saved float32 \(3, 4\) .* and float32 \(3, 1\) when"):
        loss.backward()


def test_a_block_with_a_backward_pass_of_its_own_is_refused_unless_its_tape_is_kept():
    def slope(self, x):
        output = self.inner(x).tanh().sum()
        return x + torch.autograd.grad(output, self.inner.weight, create_graph=True)[0].sum()

    def step(keep):
        torch.manual_seed(0)
        model = Chained(nn.Linear(4, 4), Calling(slope, inner=nn.Linear(4, 4)), nn.Tanh(), nn.Linear(4, 2))
        mean_square(model(X, keep=keep)).backward()
        return gradients(model)

    with pytest.raises(RuntimeError, match=r"block stage 2 runs a backward pass of its own .*: keep its tape and"):
        step(nothing(4))
    assert_same_bits(step(lambda cached, start, stop: {*cached, 3, 4}), step(None))


@pytest.mark.parametrize(
    "transform",
    [
        lambda run: torch.func.grad(lambda x: run(x).sum())(X),
        lambda run: torch.vmap(run)(X[:, None]),
    ],
)
def test_the_transforms_of_torch_func_are_refused(transform):
    model, _ = mlp(4, 4)
    with pytest.raises(
        RuntimeError, match=r"torch\.func\.grad, torch\.vmap and their like .*: give them the plain model"
    ):
        transform(lambda x: model(x, keep=nothing(4))[0])


class Breaking(nn.Module):
    """Batch-norm and dropout, and an exception in its run number `breaks`."""

    def __init__(self, breaks):
        super().__init__()
        self.norm, self.drop, self.breaks = nn.BatchNorm1d(4), nn.Dropout(0.5), breaks

    def forward(self, x):
        x = self.drop(self.norm(x))
        self.breaks -= 1
        if not self.breaks:
            raise KeyError("broken")
        return x.sin()


def surroundings(model):
    """All that a failing step could leave behind, besides gradients."""
    modes = torch.is_grad_enabled(), torch.is_autocast_enabled("cpu"), torch.is_autocast_cache_enabled()
    x = torch.ones(3, requires_grad=True)
    x.exp().sum().backward()  # a saved-tensor hook that is left would drop what exp saves
    return [*(buffer.clone() for buffer in model.buffers()), torch.get_rng_state(), torch.tensor(modes), x.grad]


@pytest.mark.parametrize("schedule", ["nothing held", "reruns keep", "chance, half"])
def test_an_exception_in_a_block_leaves_what_plain_autograd_leaves(schedule):
    left = []
    for keep in (None, SCHEDULES[schedule](5)):
        model = linears(2, Breaking(1), nn.Tanh())
        torch.manual_seed(3)
        with torch.autocast("cpu", torch.bfloat16), pytest.raises(KeyError, match="broken"):
            model(X, keep=keep)
        left.append(surroundings(model))
    assert_same_bits(*left)


@pytest.mark.parametrize("schedule", ["nothing held", "reruns keep", "torch_checkpoint(3)"])
def test_an_exception_in_a_rerun_leaves_everything_as_it_was(schedule):
    model = linears(2, Breaking(2), nn.Tanh())
    buffers = [*model.buffers()]
    with torch.autocast("cpu", torch.bfloat16):
        loss = mean_square(model(X, keep=SCHEDULES[schedule](5)))
    before = surroundings(model)
    with pytest.raises(KeyError, match="broken"):
        loss.backward()
    assert_same_bits(surroundings(model), before)
    assert all(one is other for one, other in zip(model.buffers(), buffers, strict=True))
