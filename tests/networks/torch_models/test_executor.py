"""A chain under any schedule trains as plain autograd does, bit for bit: losses, gradients, weights, buffers."""

import warnings

import pytest

torch = pytest.importorskip("torch")

from torch import nn

from tests.support.torch_chains import SCHEDULES, Calling, Chained, assert_trains_as_plain, by_chance, mlp


class Residual(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        return torch.relu(x + self.second(torch.relu_(self.norm(self.first(x)))))


def residual_net():
    torch.manual_seed(0)
    last = nn.Sequential(nn.Flatten(), nn.Linear(4 * 16, 5))
    return Chained(nn.Conv2d(3, 4, 3, padding=1), *(Residual(4) for _ in range(6)), last), (torch.randn(4, 3, 4, 4),)


def encoder():
    torch.manual_seed(0)
    layers = (nn.TransformerEncoderLayer(8, 2, 16, dropout=0.2, batch_first=True) for _ in range(6))
    return Chained(nn.Linear(3, 8), *layers), (torch.randn(2, 5, 3),)


def u_shaped():
    """Borders of one to four tensors: skips, which pass by, an integer one and one without gradient."""
    torch.manual_seed(0)
    down = Calling(lambda self, x, i, c: (torch.relu(self.a(x)), i, c), a=nn.Linear(6, 8))
    deep = Calling(lambda self, skip, i, c: (skip, torch.tanh(self.b(skip)) * c, i), b=nn.Linear(8, 8))
    deeper = Calling(lambda self, skip, x, i: (skip, x, torch.tanh(self.c(x)), i + 1), c=nn.Linear(8, 4))
    pick = Calling(lambda self, skip, x, y, i: (skip, x, self.d(y) + self.e(i)), d=nn.Linear(4, 8))
    pick.e = nn.Embedding(9, 8)
    up = Calling(lambda self, skip, x, y: (skip, self.f(torch.cat([x, y], 1))), f=nn.Linear(16, 8))
    out = Calling(lambda self, skip, x: (self.g(torch.cat([skip, x], 1)), skip.sum()), g=nn.Linear(16, 3))
    return Chained(down, deep, deeper, pick, up, out), (torch.randn(5, 6), torch.arange(5), torch.rand(5, 1))


def recurrent():
    torch.manual_seed(0)
    cell = Calling(lambda self, x, h: (x, torch.tanh(self.inner(x) + self.outer(self.drop(h)))), inner=nn.Linear(4, 6))
    cell.outer, cell.drop = nn.Linear(6, 6), nn.Dropout(0.2)
    return Chained(*[cell] * 8), (torch.randn(3, 4), torch.randn(3, 6))


def spectral():
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        older = [nn.utils.spectral_norm(nn.Linear(6, 6)) for _ in range(3)]
    newer = [nn.utils.parametrizations.spectral_norm(nn.Linear(6, 6)) for _ in range(3)]
    layers = (nn.Sequential(layer, nn.Tanh()) for layer in (*older, *newer))
    return Chained(*layers, nn.Linear(6, 2)), (torch.randn(4, 6),)


def frozen(*numbers):
    def make():
        model, inputs = mlp()
        for number in numbers:
            model.stages[number].requires_grad_(False)
        return model, inputs

    return make


class Scaled(torch.autograd.Function):
    """Reads what it saved once, or once for each tensor; it has an argument and context that are no tensors."""

    @staticmethod
    def forward(ctx, x, weight, power, at_once):
        ctx.save_for_backward(x, weight)
        ctx.power, ctx.at_once = power, at_once
        return x**power * weight

    @staticmethod
    def backward(ctx, delta):
        x, weight = ctx.saved_tensors if ctx.at_once else (ctx.saved_tensors[0], ctx.saved_tensors[1])
        slope = ctx.power * x ** (ctx.power - 1) * weight
        return delta * slope, (delta * x**ctx.power).sum(0), None, None


def own_functions(at_once):
    def make():
        torch.manual_seed(0)
        stage = (lambda self, x: Scaled.apply(torch.tanh(self.inner(x)), self.inner.bias, 2, at_once),)
        return Chained(*(Calling(*stage, inner=nn.Linear(4, 4)) for _ in range(5))), (torch.randn(3, 4),)

    return make


def saves_nothing():
    """Blocks of which autograd saves no tensor, between others."""
    torch.manual_seed(0)
    pairs = ((nn.Sequential(nn.Linear(6, 6), nn.Tanh()), Calling(shifted, inner=nn.Linear(6, 6))) for _ in range(4))
    return Chained(*(stage for pair in pairs for stage in pair)), (torch.ones(2, 6),)


def shifted(self, x):
    return x + self.inner.bias


MODELS = {
    "mlp": mlp,
    "residual net, batch-norm, in place": residual_net,
    "encoder, dropout": encoder,
    "u-shaped": u_shaped,
    "recurrent, one block, dropout": recurrent,
    "spectral norm": spectral,
    "frozen at the start": frozen(0, 1, 2),
    "frozen between": frozen(3, 6),
    "function that reads once": own_functions(True),
    "function that reads twice": own_functions(False),
    "blocks that save nothing": saves_nothing,
}


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("model", MODELS)
def test_steps_are_those_of_plain_autograd_to_the_bit(model, schedule):
    assert_trains_as_plain(MODELS[model], SCHEDULES[schedule])


@pytest.mark.parametrize("seed", range(40))
def test_so_are_they_under_schedules_by_chance(seed):
    make = list(MODELS.values())[seed % len(MODELS)]
    assert_trains_as_plain(make, by_chance(seed, seed % 7 / 10, drops=seed % 3 / 4))


def test_reruns_nest_four_deep():
    model = assert_trains_as_plain(lambda: mlp(17), SCHEDULES["halving"], steps=1)
    assert model.calls.count(1) > 4  # the forward pass, and once from each level of the tree
    assert model.calls.count(17) == 2
