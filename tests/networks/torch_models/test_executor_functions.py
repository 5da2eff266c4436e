"""Functions of the user's: their backward pass may ask for what it saved as often as it likes."""

import pytest

torch = pytest.importorskip("torch")

from torch import nn

from tests.support.torch_chains import Calling, Chained, nothing, trained


def product(reads):
    """Multiplies two tensors. Its backward pass asks `reads` times for what it saved."""

    class Product(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, weight):
            ctx.save_for_backward(x, weight)
            return x * weight

        @staticmethod
        def backward(ctx, delta):
            for _ in range(reads - 1):
                assert len(ctx.saved_tensors) == 2
            x, weight = ctx.saved_tensors
            return delta * weight, delta * x

    return Product


def chain(depth, function):
    torch.manual_seed(0)
    stages = [
        Calling(lambda self, x: torch.tanh(function.apply(x, self.weight)), weight=nn.Parameter(torch.rand(6)))
        for _ in range(depth)
    ]
    return Chained(*stages), (torch.rand(5, 6),)


@pytest.mark.parametrize("depth", [1, 3])
def test_what_is_asked_for_twice_is_not_run_again(depth):
    once, twice = (chain(depth, product(reads)) for reads in (1, 3))
    expected = trained(*chain(depth, product(1)))
    for model, inputs in (once, twice):
        assert all(map(torch.equal, trained(model, inputs, nothing(depth)), expected))
    assert once[0].calls == twice[0].calls


def test_a_retained_graph_gives_the_same_gradients_again():
    model, inputs = chain(3, product(2))
    (output,) = model(*inputs, keep=nothing(3))
    first, second = (torch.autograd.grad(output.sum(), [*model.parameters()], retain_graph=True) for _ in range(2))
    assert all(map(torch.equal, first, second))
