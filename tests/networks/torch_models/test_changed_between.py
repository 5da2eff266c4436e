"""What a block reads and somebody changed between the passes: an error that names it, or what plain autograd does."""

import copy

import pytest

torch = pytest.importorskip("torch")

from torch import nn

from networks.torch_models.planned_model import planned
from tests.support.planned_models import measured_plan


class Layer(nn.Module):
    """Reads a trained and a frozen weight, a buffer and a mask, and writes another buffer with what is there."""

    def __init__(self, width=4):
        super().__init__()
        self.linear, self.frozen = nn.Linear(width, width), nn.Parameter(torch.rand(width), requires_grad=False)
        self.register_buffer("shift", torch.rand(width))
        self.register_buffer("last", torch.zeros(width))

    def forward(self, x, mask):
        self.last.zero_()
        return torch.tanh(self.linear(x) * self.frozen * self.shift * mask)


class Masked(nn.Module):
    """The last layer is the widest, so a plan within few bytes holds no tape of those before it."""

    def __init__(self, depth=5):
        super().__init__()
        wide = nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 4))
        self.layers = nn.ModuleList([*(Layer() for _ in range(depth)), wide])

    def forward(self, x, mask):
        for layer in self.layers[:-1]:
            x = layer(x, mask)
        return self.layers[-1](x)


class Unmasked(Masked):
    """A mask of its own, which is neither parameter nor buffer; inside, it serves all of its layers."""

    def __init__(self, depth=5):
        super().__init__(depth)
        self.mask = torch.rand(3, 4)

    def forward(self, x):
        return super().forward(x, self.mask)


def staged(model):
    """Modules that are the model together, given as a list of callables."""

    class Stage(nn.Module):
        def __init__(self, layer):
            super().__init__()
            self.layer = layer

        def forward(self, x, mask):
            return self.layer(x, mask), mask

    return [*map(Stage, model.layers[:-2]), *model.layers[-2:]]


CUTS = {"layers": lambda model: "layers", "auto": lambda model: "auto", "callables": staged}


@pytest.fixture(params=CUTS)
def case(request):
    torch.manual_seed(0)
    model, inputs = Masked(), (torch.rand(3, 4), torch.rand(3, 4))
    cut = CUTS[request.param](model)
    plan = measured_plan(model, inputs, cut, share=0)
    under = planned(model, plan, None if isinstance(cut, str) else cut)
    under(*inputs)  # it is cut here
    return model, under, inputs


def frozen(model, inputs):
    model.layers[1].frozen.add_(1)


def buffer(model, inputs):
    model.layers[1].shift.mul_(2)


def mask(model, inputs):
    inputs[1].mul_(2)


def bias_that_is_frozen(model, inputs):
    model.layers[1].linear.bias.add_(1)


CHANGES = {
    frozen: r"frozen of block .*1.* was changed between",
    buffer: r"shift of block .*1.* was changed between",
    mask: r"a given tensor \(3, 4\) of block .* was changed between|was written over between",
    bias_that_is_frozen: r"linear.bias of block .*1.* was changed between",
}


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_what_needs_no_gradient_and_is_changed_between_the_passes(case, change):
    model, under, inputs = case
    loss = under(*inputs).sum()
    with torch.no_grad():
        change(model, inputs)
    with pytest.raises(RuntimeError, match=CHANGES[change]):
        loss.backward()


def test_the_attribute_of_a_model_that_all_layers_are_given():
    for cut in ("layers", "auto"):
        model, x = Unmasked(), torch.rand(3, 4)
        loss = planned(model, measured_plan(model, (x,), cut, share=0))(x).sum()
        model.mask.mul_(2)
        with pytest.raises(RuntimeError, match=r"(a given tensor \(3, 4\)|mask) of block .* was changed between"):
            loss.backward()


@pytest.mark.parametrize("computed", [False, True])
def test_weights_that_are_swapped_in_for_the_forward_pass_serve_the_reruns(case, computed):
    """As leaves and as values that were computed of others. The buffers are swapped, too."""
    model, under, inputs = case
    seen = []
    for run in (under, copy.deepcopy(model)):
        leaves = {name: (p.detach() * 2).requires_grad_(p.requires_grad) for name, p in model.named_parameters()}
        buffers = {name: value * 2 for name, value in model.named_buffers()}
        weights = {name: leaf * 3 for name, leaf in leaves.items()} if computed else leaves
        before = [*run.parameters(), *run.buffers()]
        loss = torch.func.functional_call(run, {**weights, **buffers}, inputs).sum()
        loss.backward()
        assert all(one is other for one, other in zip([*run.parameters(), *run.buffers()], before, strict=True))
        assert all(parameter.grad is None for parameter in run.parameters())
        seen.append([leaf.grad for leaf in leaves.values() if leaf.requires_grad])
    for one, other in zip(*seen, strict=True):
        assert torch.equal(one, other)


def test_a_parameter_that_is_replaced_between_the_passes_still_gets_its_gradient(case):
    model, under, inputs = case
    seen = []
    for run, layer in ((under, model.layers[1]), *[(other := copy.deepcopy(model), other.layers[1])]):
        loss, weight = run(*inputs).sum(), layer.linear.weight
        layer.linear.weight = nn.Parameter(torch.zeros(4, 4))
        loss.backward()
        assert layer.linear.weight.grad is None
        layer.linear.weight = nn.Parameter(weight.detach())
        seen.append(weight.grad)
    assert torch.equal(*seen)


def stepped(parameter):
    with torch.no_grad():
        parameter.sub_(parameter.grad)


def test_an_optimiser_that_steps_in_the_backward_pass_changes_what_is_done_with(case):
    model, under, inputs = case
    plain = copy.deepcopy(model)
    for run in (under, plain):
        for parameter in run.parameters():
            if parameter.requires_grad:
                parameter.register_post_accumulate_grad_hook(stepped)
        run(*inputs).sum().backward()
    for one, other in zip(under.parameters(), plain.parameters(), strict=True):
        assert torch.equal(one, other)
